//! The repository's sources as text, for tests that read them.

use std::fs;
use std::path::{Path, PathBuf};

/// A text file of the repository.
#[derive(Clone, Debug)]
pub struct Source {
    /// The path from the root of the repository, with `/` between its parts.
    pub path: String,
    /// What is in the file.
    pub text: String,
    /// Rust only: the text with comments, strings and letters in quotes as blanks; lines and columns stay.
    pub code: String,
}

impl Source {
    /// A source from memory.
    #[must_use]
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), code: blank(text) }
    }

    /// The lines of `code` with their numbers from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The line, from 1, of a place in the text or the code.
    #[must_use]
    pub fn line_of(&self, place: usize) -> usize {
        1 + self.code.as_bytes()[..place].iter().filter(|byte| **byte == b'\n').count()
    }
}

/// Reads every `*.rs` and `Cargo.toml` of the repository, sorted by path.
///
/// # Panics
/// If a folder or file cannot be read.
#[must_use]
pub fn repository() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the repository");
    let mut files = Vec::new();
    walk(root, &mut files);
    files.sort();
    let read = |file: &PathBuf| {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
        let path =
            file.strip_prefix(root).expect("files are found below the root").to_string_lossy().replace('\\', "/");
        Source::new(&path, &text)
    };
    files.iter().map(read).collect()
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()));
    for entry in entries.flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.to_string_lossy();
        let skipped = name.starts_with('.') || name == "target" || name == "node_modules";
        if path.is_dir() && !skipped {
            walk(&path, files);
        } else if path.is_file() && (name == "Cargo.toml" || name.ends_with(".rs")) {
            files.push(path);
        }
    }
}

/// Replaces what is not code by blanks, byte by byte, and keeps the ends of lines.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut place = 0;
    while place < bytes.len() {
        let end = token_end(bytes, place);
        if let Some(end) = end {
            for byte in &mut code[place..end] {
                if *byte != b'\n' {
                    *byte = b' ';
                }
            }
        }
        place = end.unwrap_or(place + 1);
    }
    String::from_utf8(code).expect("whole tokens were replaced by ASCII")
}

/// Where the comment, string or quoted letter ends that begins at `start`; `None` if none does.
fn token_end(bytes: &[u8], start: usize) -> Option<usize> {
    let rest = &bytes[start..];
    let length = match rest {
        [b'/', b'/', ..] => find(rest, b"\n").unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment(rest),
        [b'"', ..] => quoted(rest),
        [b'r', ..] if !in_word(bytes, start) => raw_string(rest)?,
        [b'\'', ..] => letter(rest)?,
        _ => return None,
    };
    Some(start + length)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// Whether the letter at `place` goes on a word; `b` and `c` before a raw string do not count.
fn in_word(bytes: &[u8], place: usize) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80;
    match bytes[..place] {
        [.., before, b'b' | b'c'] => is_word(before),
        [b'b' | b'c'] => false,
        [.., before] => is_word(before),
        [] => false,
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut place) = (0_usize, 0);
    while place < rest.len() {
        match &rest[place..] {
            [b'/', b'*', ..] => (depth, place) = (depth + 1, place + 2),
            [b'*', b'/', ..] => (depth, place) = (depth - 1, place + 2),
            _ => place += 1,
        }
        if depth == 0 {
            break;
        }
    }
    place
}

fn quoted(rest: &[u8]) -> usize {
    let mut place = 1;
    while place < rest.len() {
        match rest[place] {
            b'\\' => place += 2,
            b'"' => return place + 1,
            _ => place += 1,
        }
    }
    rest.len()
}

fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
    let opening = 1 + hashes + 1;
    if rest.get(opening - 1) != Some(&b'"') {
        return None; // a word, or a raw identifier
    }
    let closing = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
    Some(find(&rest[opening..], &closing).map_or(rest.len(), |place| opening + place + closing.len()))
}

/// `'x'` and `'\n'`, but not the lifetime `'x`.
fn letter(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        return find(&rest[3..], b"'").map(|place| place + 4);
    }
    let text = std::str::from_utf8(&rest[1..rest.len().min(6)]);
    let valid = text.map_or_else(|error| error.valid_up_to(), str::len);
    let first = std::str::from_utf8(&rest[1..=valid]).ok()?.chars().next()?;
    let end = 1 + first.len_utf8();
    (rest.get(end) == Some(&b'\'')).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_left() {
        let cases = [
            ("a // b", "a     "),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"a("b \" c", d)"#, "a(        , d)"),
            (r##"a(r#"b " c"#, d)"##, "a(          , d)"),
            (r#"a(br"\", d)"#, "a(b    , d)"),
            (r"a('b', '\'', '\u{7f}', d)", "a(   ,     ,         , d)"),
            ("fn a<'b>(c: &'b str)", "fn a<'b>(c: &'b str)"),
            ("bar(\"x\")", "bar(   )"),
            ("r#type", "r#type"),
            ("'ü' + ü", "     + ü"),
        ];
        for (text, code) in cases {
            assert_eq!(blank(text), code, "in `{text}`");
        }
    }

    #[test]
    fn lines_keep_their_numbers() {
        let source = Source::new("a.rs", "\"\n\n\"\n/*\n*/ word");
        assert_eq!(source.code.find("word").map(|place| source.line_of(place)), Some(5));
    }
}
