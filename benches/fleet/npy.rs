//! A small reader of NumPy files: `f64`, little endian, in the order of C.

/// A file is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a file of the workload is malformed: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// Reads an array of this shape.
///
/// # Errors
/// When the file has another shape or type.
pub fn read(bytes: &[u8], shape: &[usize]) -> Result<Vec<f64>, Malformed> {
    let rest = bytes.strip_prefix(b"\x93NUMPY\x01\x00").ok_or(Malformed("no array of version 1"))?;
    let (length, rest) = rest.split_first_chunk::<2>().ok_or(Malformed("no header"))?;
    let (header, mut rest) =
        rest.split_at_checked(usize::from(u16::from_le_bytes(*length))).ok_or(Malformed("half a header"))?;
    let header = std::str::from_utf8(header).map_err(|_| Malformed("a header that is no text"))?;
    let shape_text = shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let wanted = ["'descr': '<f8'", "'fortran_order': False", &format!("'shape': ({shape_text})")];
    if !wanted.iter().all(|wanted| header.contains(wanted)) {
        return Err(Malformed("an array of another shape or type"));
    }
    let values = numbers(&mut rest, shape.iter().product(), f64::from_le_bytes)?;
    if rest.is_empty() { Ok(values) } else { Err(Malformed("bytes are left over")) }
}

/// Reads so many numbers of `N` bytes each from the front.
///
/// # Errors
/// When there are too few bytes.
pub fn numbers<T, const N: usize>(
    rest: &mut &[u8],
    count: usize,
    number: impl Fn([u8; N]) -> T,
) -> Result<Vec<T>, Malformed> {
    let (own, after) = rest.split_at_checked(count * N).ok_or(Malformed("too few numbers"))?;
    *rest = after;
    Ok(own.as_chunks::<N>().0.iter().map(|bytes| number(*bytes)).collect())
}
