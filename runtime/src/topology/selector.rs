//! To which keys a node applies.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::attributes::KeyAttributes;
use crate::words::{Key, StreamName, Value};

/// To which keys of the class a node applies. Where two nodes provide one name, the more specific selector wins: an
/// exact key before an attribute before a pattern before the class; two of one kind go by priority.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selector {
    /// All keys of the class.
    #[default]
    Class,
    /// Keys whose name matches: `*` stands for any text, `?` for one character.
    Pattern(Pattern),
    /// Keys whose attribute has this value.
    Attribute {
        /// The attribute.
        name: StreamName,
        /// Its value.
        value: Value,
    },
    /// One key.
    Key(Key),
}

impl Selector {
    /// Whether it takes a key with these attributes.
    pub fn takes(&self, key: &Key, attributes: &KeyAttributes) -> bool {
        match self {
            Self::Class => true,
            Self::Pattern(pattern) => pattern.matches(key),
            Self::Attribute { name, value } => attributes.get(name) == Some(value),
            Self::Key(only) => only == key,
        }
    }

    /// Whether no key is taken by both, whatever it is called and whatever is known of it: two values of one attribute, two
    /// keys, a key that a pattern does not match, two patterns that begin differently.
    pub fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Attribute { name, value }, Self::Attribute { name: other, value: wants }) => {
                name == other && value != wants
            }
            (Self::Key(key), Self::Key(other)) => key != other,
            (Self::Key(key), Self::Pattern(pattern)) | (Self::Pattern(pattern), Self::Key(key)) => {
                !pattern.matches(key)
            }
            (Self::Pattern(one), Self::Pattern(other)) => {
                let (one, other) = (one.beginning(), other.beginning());
                !one.starts_with(other) && !other.starts_with(one)
            }
            _ => false,
        }
    }

    /// How specific it is: more wins.
    pub fn rank(&self) -> u8 {
        match self {
            Self::Class => 0,
            Self::Pattern(_) => 1,
            Self::Attribute { .. } => 2,
            Self::Key(_) => 3,
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Class => f.write_str("*"),
            Self::Pattern(pattern) => f.write_str(&pattern.0),
            Self::Attribute { name, value } => write!(f, "{name}={value}"),
            Self::Key(key) => f.write_str(key),
        }
    }
}

/// A text in which `*` stands for any text and `?` for one character.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pattern(pub String);

impl Pattern {
    /// What stands before the first star or question mark.
    fn beginning(&self) -> &str {
        self.0.split(['*', '?']).next().unwrap_or_default()
    }

    /// Whether `text` matches, in time linear in both for one `*` and never more than their product.
    pub fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut at, mut read, mut star) = (0, 0, None);
        while read < text.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    star = Some((at, read));
                    at += 1;
                }
                Some(b'?') => (at, read) = (at + 1, next_character(text, read)),
                Some(byte) if *byte == text[read] => (at, read) = (at + 1, read + 1),
                _ => match &mut star {
                    Some((star_at, star_read)) => {
                        *star_read += 1;
                        (at, read) = (*star_at + 1, *star_read);
                    }
                    None => return false,
                },
            }
        }
        pattern[at..].iter().all(|byte| *byte == b'*')
    }
}

fn next_character(text: &[u8], mut at: usize) -> usize {
    at += 1;
    while at < text.len() && text[at] & 0xc0 == 0x80 {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text, matches) in [
            ("*", "", true),
            ("P1*", "P101", true),
            ("P1*", "P201", false),
            ("*1", "P101", true),
            ("P?01", "Pé01", true),
            ("P?01", "P01", false),
            ("a*b*c", "a_b_b_c", true),
            ("a*b*c", "a_c_b", false),
            ("P101", "P1011", false),
        ] {
            assert_eq!(Pattern(pattern.into()).matches(text), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn selectors_that_have_no_key_in_common() {
        let pattern = |text: &str| Selector::Pattern(Pattern(text.into()));
        let site = |value: i64| Selector::Attribute { name: "site".into(), value: Value::I64(value) };
        let key = |key: &str| Selector::Key(key.into());
        for (one, other, apart) in [
            (site(1), site(2), true),
            (site(1), site(1), false),
            (key("P1"), key("P2"), true),
            (key("P1"), pattern("M*"), true),
            (key("P1"), pattern("?1"), false),
            (pattern("P1*"), pattern("P2*"), true),
            (pattern("P*"), pattern("P2*"), false),
            (pattern("*1"), pattern("*2"), false),
            (site(1), pattern("P*"), false),
            (site(1), Selector::Class, false),
        ] {
            assert_eq!((one.excludes(&other), other.excludes(&one)), (apart, apart), "{one} {other}");
        }
    }
}
