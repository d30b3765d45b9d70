//! Bodies in parts (RFC 7578), as `curl -F` sends them. The body is there as a whole and bounded, so that parts are
//! slices of it.

use crate::problem::Problem;

/// The longest head of a part, in bytes.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// A part of a form.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part<'b> {
    /// The name of its field.
    pub(crate) name: String,
    /// Its content.
    pub(crate) content: &'b [u8],
}

/// The parts of a body.
pub(crate) fn parts<'b>(content_type: &str, body: &'b [u8], most: usize) -> Result<Vec<Part<'b>>, Problem> {
    let bad = |reason: &str| Problem::new("bad-body", format!("the multipart body {reason}"));
    let boundary = boundary(content_type).ok_or_else(|| bad("has no boundary in its Content-Type"))?;
    let first = format!("--{boundary}");
    let between = format!("\r\n--{boundary}");
    let mut rest = body.strip_prefix(first.as_bytes()).ok_or_else(|| bad("does not begin with its boundary"))?;
    let mut parts = Vec::new();
    loop {
        if rest.starts_with(b"--") {
            return Ok(parts);
        }
        rest = rest.strip_prefix(b"\r\n").ok_or_else(|| bad("has a boundary without an end of line"))?;
        let head_end = find(&rest[..rest.len().min(HEAD_BYTES_MAX)], b"\r\n\r\n");
        let head_end = head_end.ok_or_else(|| bad("has a part whose head does not end, or is longer than 8 KiB"))?;
        let head = std::str::from_utf8(&rest[..head_end]).map_err(|_| bad("has a part whose head is not UTF-8"))?;
        let name = field_name(head).ok_or_else(|| bad("has a part without a name"))?;
        let content = &rest[head_end + 4..];
        let end = find(content, between.as_bytes()).ok_or_else(|| bad("ends within a part"))?;
        if parts.len() == most {
            return Err(bad(&format!("has more than {most} parts, the limit")));
        }
        parts.push(Part { name, content: &content[..end] });
        rest = &content[end + between.len()..];
    }
}

fn boundary(content_type: &str) -> Option<&str> {
    let (_, rest) = content_type.split_once("boundary=")?;
    let boundary = rest.split(';').next()?.trim().trim_matches('"');
    ((1..=70).contains(&boundary.len()) && boundary.is_ascii()).then_some(boundary)
}

/// The `name` of the part's Content-Disposition.
fn field_name(head: &str) -> Option<String> {
    let line = head.split("\r\n").find(|line| line.to_ascii_lowercase().starts_with("content-disposition:"))?;
    let (_, rest) = line.split_once("; name=")?;
    let rest = rest.strip_prefix('"')?;
    let (mut name, mut escaped) = (String::new(), false);
    for letter in rest.chars() {
        match letter {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return Some(name.replace("%22", "\"")),
            letter => {
                name.push(letter);
                escaped = false;
            }
        }
    }
    None
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut from = 0;
    while let Some(place) = text[from..].iter().position(|byte| *byte == first) {
        if text[from + place..].starts_with(wanted) {
            return Some(from + place);
        }
        from += place + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=x";

    #[test]
    fn parts_are_told_apart_and_any_beginning_of_them_is_refused() {
        let body = b"--x\r\nContent-Disposition: form-data; name=\"manifest\"\r\n\r\n{}\r\n--x\r\n\
            content-disposition: form-data; name=\"a \\\"b\"; filename=\"c\"\r\nContent-Type: d/e\r\n\r\n\r\n--y\r\n--x--\r\n";
        let found = parts(TYPE, body, 2).expect("it is whole");
        let expected = [("manifest", &b"{}"[..]), ("a \"b", &b"\r\n--y"[..])];
        let expected: Vec<_> =
            expected.map(|(name, content)| Part { name: name.to_owned(), content }).into_iter().collect();
        assert_eq!(found, expected);
        assert!(parts(TYPE, body, 1).is_err());
        assert!(parts("multipart/form-data", body, 2).is_err());
        let whole = body.len() - 2; // the last end of line may be missing
        for end in 0..whole {
            assert!(parts(TYPE, &body[..end], 2).is_err(), "{end} bytes");
        }
    }
}
