//! Names and numbers that mean something: each has a type of its own.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest name of a key, stream, node, class or topology, in bytes.
pub const NAME_BYTES_MAX: usize = 200;

/// Why a text cannot be a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing there.
    #[error("the name of a {kind} is empty")]
    Empty {
        /// What was to be named.
        kind: &'static str,
    },
    /// Longer than [`NAME_BYTES_MAX`].
    #[error("the name of a {kind} has {bytes} bytes; the limit is {NAME_BYTES_MAX}")]
    TooLong {
        /// What was to be named.
        kind: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// A character that names do not have.
    #[error(
        "the name of a {kind}, `{name}`, has `{character}` in it; names are letters, digits and . _ - : / with no `..`, and start with a letter or digit"
    )]
    Character {
        /// What was to be named.
        kind: &'static str,
        /// The text, control characters escaped.
        name: String,
        /// The first character that is not allowed, escaped.
        character: String,
    },
}

/// Checks the name of a stream, node, class or topology: ASCII letters, digits, `.`, `_`, `-`, `:` and `/`.
///
/// # Errors
/// [`NameError`], which says what is wrong and what is allowed.
pub fn check_name(kind: &'static str, name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { kind });
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong { kind, bytes: name.len() });
    }
    let refuse = |character: char| NameError::Character {
        kind,
        name: name.escape_debug().to_string(),
        character: character.escape_debug().to_string(),
    };
    for (index, character) in name.chars().enumerate() {
        let fine = character.is_ascii_alphanumeric() || (index > 0 && matches!(character, '.' | '_' | '-' | ':' | '/'));
        if !fine {
            return Err(refuse(character));
        }
    }
    if name.contains("..") { Err(refuse('.')) } else { Ok(()) }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(Arc<str>);

        impl $type {
            /// The text of the name; nothing is checked here.
            pub fn new(name: impl Into<Arc<str>>) -> Self {
                Self(name.into())
            }

            /// The text of the name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Deref for $type {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $type {
            fn from(name: &str) -> Self {
                Self(name.into())
            }
        }

        impl From<String> for $type {
            fn from(name: String) -> Self {
                Self(name.into())
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
    };
}

name!(
    /// The identity that rows belong to: a device, a machine, a line.
    Key
);
name!(
    /// The name of a node, unique in its topology: its first provided stream unless given; `name@key` when it is
    /// limited to one key.
    NodeId
);
name!(
    /// The name of a stream.
    StreamName
);
name!(
    /// What a key is ("pump"); a topology is written for a class.
    Class
);
name!(
    /// The name of a bound source or sink.
    Binding
);

macro_rules! number {
    ($(#[$doc:meta])* $type:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub $inner);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// The rising number of a plan.
    Revision(u64)
);
number!(
    /// The number of a shard, from 0.
    ShardIndex(u16)
);
number!(
    /// The place of a key in its shard's dense tables, in order of first arrival.
    KeyIndex(u32)
);
number!(
    /// A partition of a source, numbered by the runtime over all sources.
    PartitionIndex(u32)
);
number!(
    /// The place of a record in its partition.
    Offset(i64)
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_refused_by_what_is_wrong_with_them() {
        for good in ["wear", "vibration.rms", "P-101:a/b_2", "0"] {
            assert_eq!(check_name("node", good), Ok(()));
        }
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        for bad in ["", "../x", "a/../b", "%2e", "a#b", "a\0", "a\nb", "ｗear", ".x", "-x", "a b", &long] {
            assert!(check_name("node", bad).is_err(), "{bad:?}");
        }
    }
}
