//! Constants: their declared size is checked against the bytes present before anything is allocated.

use std::borrow::Cow;
use std::sync::Arc;

use gristmill::traits::LoadError;
use smol_str::SmolStr;

use super::budget::{Budget, Part};
use super::node::few;
use super::proto::{TensorProto, element};
use super::scan::RANK_MAX;

/// A constant of the graph.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    pub(crate) dims: Vec<usize>,
    pub(crate) data: Data,
}

/// Its elements, the last dimension running fastest. What can be labels is shared with all that use it as such.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    Floats(Vec<f32>),
    Ints(Arc<[i64]>),
    Strings(Arc<[SmolStr]>),
}

impl Data {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Floats(values) => values.len(),
            Self::Ints(values) => values.len(),
            Self::Strings(values) => values.len(),
        }
    }
}

impl Tensor {
    /// Reads a constant; `external` holds its bytes when they lie in another file.
    ///
    /// # Errors
    /// When the declared size is not that of the data, the element type is not supported, or the budget is spent.
    pub(crate) fn read(proto: &TensorProto, external: Option<&[u8]>, budget: &mut Budget) -> Result<Self, LoadError> {
        let name = &proto.name;
        let refused = |reason: String| LoadError { reason };
        if proto.dims.len() > RANK_MAX {
            let dims = few(&proto.dims);
            return Err(refused(format!("tensor `{name}` is {dims}: {RANK_MAX} dimensions are allowed")));
        }
        let mut count = 1_usize;
        let mut dims = Vec::with_capacity(proto.dims.len());
        for dim in &proto.dims {
            let dim = usize::try_from(*dim)
                .map_err(|_| refused(format!("tensor `{name}` has a negative dimension {dim}")))?;
            count = count
                .checked_mul(dim)
                .ok_or_else(|| refused(format!("tensor `{name}` declares too many elements: {}", few(&proto.dims))))?;
            dims.push(dim);
        }
        let raw: &[u8] = external.unwrap_or(&proto.raw_data);
        budget.take(Part::Constants, 1, bytes(proto, raw))?;
        let data = match proto.data_type {
            element::FLOAT if raw.is_empty() => Data::Floats(proto.float_data.clone()),
            element::FLOAT => Data::Floats(words(raw, name)?.map(f32::from_le_bytes).collect()),
            element::INT64 if raw.is_empty() => Data::Ints(proto.int64_data[..].into()),
            element::INT64 => Data::Ints(words(raw, name)?.map(i64::from_le_bytes).collect()),
            element::INT32 | element::BOOL if raw.is_empty() => {
                Data::Ints(proto.int32_data.iter().map(|value| i64::from(*value)).collect())
            }
            element::INT32 => Data::Ints(words(raw, name)?.map(|word| i64::from(i32::from_le_bytes(word))).collect()),
            element::BOOL => Data::Ints(raw.iter().map(|byte| i64::from(*byte)).collect()),
            element::STRING => Data::Strings(proto.string_data.iter().map(|bytes| text(bytes)).collect()),
            other => {
                let element = element::name(other);
                return Err(refused(format!(
                    "tensor `{name}` holds {element}; float, int32, int64, bool and string are supported"
                )));
            }
        };
        if data.len() != count {
            let (dims, has) = (few(&proto.dims), data.len());
            return Err(refused(format!("tensor `{name}` declares {count} elements ({dims}) and has {has}")));
        }
        Ok(Self { dims, data })
    }

    /// Its elements as floats; integers are converted.
    pub(crate) fn floats(&self) -> Option<Cow<'_, [f32]>> {
        match &self.data {
            Data::Floats(values) => Some(Cow::Borrowed(values)),
            Data::Ints(values) => Some(values.iter().map(|value| *value as f32).collect()),
            Data::Strings(_) => None,
        }
    }
}

/// The bytes that a constant takes.
fn bytes(proto: &TensorProto, raw: &[u8]) -> usize {
    match proto.data_type {
        element::FLOAT => raw.len().max(size_of_val(&proto.float_data[..])),
        element::INT64 => raw.len().max(size_of_val(&proto.int64_data[..])),
        element::INT32 => (2 * raw.len()).max(2 * size_of_val(&proto.int32_data[..])),
        element::BOOL => (8 * raw.len()).max(2 * size_of_val(&proto.int32_data[..])),
        element::STRING => text_bytes(&proto.string_data),
        _ => 0, // refused
    }
}

/// The bytes that strings take, as text: a byte that is none becomes a sign of three.
pub(crate) fn text_bytes(strings: &[Vec<u8>]) -> usize {
    strings.iter().map(|bytes| size_of::<SmolStr>() + 3 * bytes.len()).sum()
}

/// Text of an attribute or constant; what is not UTF-8 is replaced.
pub(crate) fn text(bytes: &[u8]) -> SmolStr {
    String::from_utf8_lossy(bytes).into()
}

fn words<'a, const N: usize>(raw: &'a [u8], name: &str) -> Result<impl Iterator<Item = [u8; N]> + 'a, LoadError> {
    let (words, rest) = raw.as_chunks::<N>();
    if rest.is_empty() {
        Ok(words.iter().copied())
    } else {
        Err(LoadError { reason: format!("tensor `{name}` has {} bytes, not a multiple of {N}", raw.len()) })
    }
}
