//! From text to words.

use super::error::Place;

/// The longest expression, in bytes.
pub const LENGTH_MAX: usize = 4096;

/// A word of an expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A stream, or a function where a parenthesis follows.
    Name(String),
    /// A name in backticks: always a stream.
    Quoted(String),
    /// `@name`: an attribute.
    Attribute(String),
    Integer(i64),
    Float(f64),
    Text(String),
    /// An operator, a bracket, or one of the words `and`, `or`, `not`, `true`, `false`.
    Sign(&'static str),
    End,
}

const SIGNS: [&str; 16] = ["==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "(", ")", "[", "]", ","];
const WORDS: [&str; 5] = ["and", "or", "not", "true", "false"];
/// What people write who come from other languages, and what it is here.
const FOREIGN: [(&str, &str); 8] = [
    ("&&", "`and`"),
    ("||", "`or`"),
    ("&", "`and`"),
    ("|", "`or`"),
    ("!", "`not`"),
    ("**", "`pow(a, b)`"),
    ("^", "`pow(a, b)`"),
    ("=", "`==`"),
];

type Failed = (Place, String);

/// The words of a text, with their places; the last is [`Token::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, Place)>, Failed> {
    if text.len() > LENGTH_MAX {
        let place = Place { start: 0, end: 1 };
        let problem =
            format!("the expression has {} bytes; the limit is {LENGTH_MAX}: split it into nodes", text.len());
        return Err(place.error(problem));
    }
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (token, length) = token(&text[at..], first)
            .map_err(|(length, problem)| Place { start: at, end: at + length }.error(problem))?;
        tokens.push((token, Place { start: at, end: at + length }));
        at += length;
    }
    let end = Place { start: text.len(), end: text.len() };
    tokens.push((Token::End, end));
    Ok(tokens)
}

/// The first word of `rest` and its bytes.
fn token(rest: &str, first: char) -> Result<(Token, usize), (usize, String)> {
    match first {
        '`' => enclosed(rest, '`').map(|(name, length)| (Token::Quoted(name), length)),
        '"' | '\'' => enclosed(rest, first).map(|(text, length)| (Token::Text(text), length)),
        '@' => match &rest[1..] {
            quoted if quoted.starts_with('`') => {
                enclosed(quoted, '`').map(|(name, length)| (Token::Attribute(name), length + 1))
            }
            name => match name_length(name) {
                0 => Err((1, "no name follows; write @name for an attribute".to_owned())),
                length => Ok((Token::Attribute(name[..length].to_owned()), length + 1)),
            },
        },
        '0'..='9' => number(rest),
        '.' if rest[1..].starts_with(|next: char| next.is_ascii_digit()) => {
            Err((1, "a number begins with a digit: write 0.5".to_owned()))
        }
        letter if letter.is_ascii_alphabetic() || letter == '_' => {
            let name = &rest[..name_length(rest)];
            let word = WORDS.into_iter().find(|word| *word == name);
            Ok((word.map_or_else(|| Token::Name(name.to_owned()), Token::Sign), name.len()))
        }
        _ => sign(rest, first),
    }
}

fn sign(rest: &str, first: char) -> Result<(Token, usize), (usize, String)> {
    let of = |sign: &'static str| rest.starts_with(sign);
    let foreign = FOREIGN.into_iter().find(|(sign, _)| of(sign));
    match (SIGNS.into_iter().find(|sign| of(sign)), foreign) {
        (Some(sign), foreign) if foreign.is_none_or(|(foreign, _)| foreign.len() <= sign.len()) => {
            Ok((Token::Sign(sign), sign.len()))
        }
        (_, Some((sign, here))) => Err((sign.len(), format!("`{sign}` is no operator; write {here}"))),
        _ => {
            let shown = first.escape_debug();
            Err((
                first.len_utf8(),
                format!(
                    "`{shown}` means nothing here; a name with other characters than letters, digits, `_` and `.` stands in backticks"
                ),
            ))
        }
    }
}

/// What stands between two `quote`s, the first of which begins `rest`, and the bytes of it all.
fn enclosed(rest: &str, quote: char) -> Result<(String, usize), (usize, String)> {
    match rest[1..].find(quote) {
        Some(0) if quote == '`' => Err((2, "there is no name between the backticks".to_owned())),
        Some(length) => Ok((rest[1..=length].to_owned(), length + 2)),
        None => Err((rest.len(), format!("the closing {quote} is missing"))),
    }
}

/// Bytes of the name that `text` begins with: letters, digits, `_`, and dots within.
fn name_length(text: &str) -> usize {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
    let length = text.bytes().take_while(|byte| inside(*byte)).count();
    text[..length].trim_end_matches('.').len()
}

fn number(rest: &str) -> Result<(Token, usize), (usize, String)> {
    let bytes = rest.as_bytes();
    let digits = |from: usize| from + bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut end = digits(0);
    let mut whole = true;
    if bytes.get(end) == Some(&b'.') {
        let after = digits(end + 1);
        if after == end + 1 {
            return Err((end + 1, format!("digits must follow the point: write {}0", &rest[..=end])));
        }
        (end, whole) = (after, false);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let signed = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let after = digits(end + 1 + signed);
        if after > end + 1 + signed {
            (end, whole) = (after, false);
        }
    }
    let more = name_length(&rest[end..]);
    if more > 0 {
        let all = end + more;
        return Err((
            all,
            format!("`{}` is no number; a name that begins with a digit stands in backticks", &rest[..all]),
        ));
    }
    let text = &rest[..end];
    if whole {
        let value =
            text.parse().map_err(|_| (end, format!("`{text}` is beyond 64 bits; write {text}.0 for a float")))?;
        return Ok((Token::Integer(value), end));
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok((Token::Float(value), end)),
        _ => Err((end, format!("`{text}` is beyond the range of f64"))),
    }
}
