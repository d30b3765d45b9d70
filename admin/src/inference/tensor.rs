//! Columns as tensors: datatypes, shapes, and values as JSON or as bytes in little-endian order.

use std::fmt;

use gristmill::words::{Column, ColumnRef, ElementType};
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

/// The protocol's name of a type.
pub(super) fn datatype(element: ElementType) -> &'static str {
    match element {
        ElementType::F32 | ElementType::Vector(_) => "FP32",
        ElementType::F64 => "FP64",
        ElementType::I64 => "INT64",
        ElementType::Bool => "BOOL",
        ElementType::Str => "BYTES",
    }
}

/// The shape of a column whose length is not known.
pub(super) fn shape(element: ElementType) -> Vec<i64> {
    match element {
        ElementType::Vector(width) => vec![-1, i64::from(width)],
        _ => vec![-1],
    }
}

/// Values in each row.
pub(super) fn width(element: ElementType) -> usize {
    match element {
        ElementType::Vector(width) => usize::from(width),
        _ => 1,
    }
}

/// Fills a column from a JSON list, which may be nested, in its order; null is missing.
pub(super) struct FromJson<'c> {
    column: &'c mut Column,
    left: usize,
}

impl<'c> FromJson<'c> {
    /// Takes as many values, and no more.
    pub(super) fn new(column: &'c mut Column, values: usize) -> Self {
        Self { column, left: values }
    }

    /// Reads a list.
    pub(super) fn read(mut self, text: &str) -> Result<(), String> {
        let mut json = serde_json::Deserializer::from_str(text);
        (&mut self).deserialize(&mut json).map_err(|error| error.to_string())?;
        match self.left {
            0 => Ok(()),
            left => Err(format!("{left} values less than the shape says")),
        }
    }

    fn one<E: Error>(&mut self) -> Result<(), E> {
        self.left = self.left.checked_sub(1).ok_or_else(|| E::custom("more values than the shape says"))?;
        Ok(())
    }

    fn number<E: Error>(&mut self, number: f64) -> Result<(), E> {
        self.one()?;
        match &mut *self.column {
            Column::F32(values) | Column::Vector { values, .. } => values.push(number as f32),
            Column::F64(values) => values.push(number),
            _ => return Err(E::custom(format!("{number} is not of the tensor's datatype"))),
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for &mut FromJson<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut FromJson<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of values")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(&mut *self)?.is_some() {}
        Ok(())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.number(number)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        let Column::I64(_) = self.column else { return self.number(number as f64) };
        self.one()?;
        if let Column::I64(values) = &mut *self.column {
            values.push(number);
        }
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        match i64::try_from(number) {
            Ok(number) => self.visit_i64(number),
            Err(_) => self.number(number as f64),
        }
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.one()?;
        match &mut *self.column {
            Column::Bool(values) => values.push(Some(value)),
            _ => return Err(E::custom(format!("{value} is not of the tensor's datatype"))),
        }
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.one()?;
        match &mut *self.column {
            Column::Str(values) => values.push(Some(text.into())),
            _ => return Err(E::custom("a text is not of the tensor's datatype")),
        }
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.one()?;
        match &mut *self.column {
            Column::F32(values) | Column::Vector { values, .. } => values.push(f32::NAN),
            Column::F64(values) => values.push(f64::NAN),
            Column::I64(values) => values.push(i64::MIN),
            Column::Bool(values) => values.push(None),
            Column::Str(values) => values.push(None),
        }
        Ok(())
    }
}

/// A column of so many values from bytes.
pub(super) fn from_bytes(element: ElementType, bytes: &[u8], values: usize) -> Result<Column, String> {
    let of_size = |size: usize| {
        let expected = values.checked_mul(size).filter(|expected| *expected == bytes.len());
        expected.map(|_| ()).ok_or_else(|| format!("{} bytes are not {values} values of {size}", bytes.len()))
    };
    Ok(match element {
        ElementType::F32 | ElementType::Vector(_) => {
            of_size(4)?;
            let values = bytes.as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect();
            match element {
                ElementType::Vector(width) => Column::Vector { width: usize::from(width), values },
                _ => Column::F32(values),
            }
        }
        ElementType::F64 => {
            of_size(8)?;
            Column::F64(bytes.as_chunks().0.iter().map(|chunk| f64::from_le_bytes(*chunk)).collect())
        }
        ElementType::I64 => {
            of_size(8)?;
            Column::I64(bytes.as_chunks().0.iter().map(|chunk| i64::from_le_bytes(*chunk)).collect())
        }
        ElementType::Bool => {
            of_size(1)?;
            let value = |byte: &u8| match byte {
                0 => Ok(Some(false)),
                1 => Ok(Some(true)),
                byte => Err(format!("a BOOL is 0 or 1, not {byte}")),
            };
            Column::Bool(bytes.iter().map(value).collect::<Result<_, _>>()?)
        }
        ElementType::Str => Column::Str(texts(bytes, values)?),
    })
}

/// Texts, each behind its length in four bytes.
fn texts<S: for<'t> From<&'t str>>(mut bytes: &[u8], values: usize) -> Result<Vec<Option<S>>, String> {
    let mut texts = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = u32::from_le_bytes(*length) as usize;
        let (text, rest) = rest.split_at_checked(length).ok_or("a text is longer than the tensor")?;
        texts.push(Some(S::from(std::str::from_utf8(text).map_err(|_| "a text is not UTF-8")?)));
        bytes = rest;
    }
    match (bytes.is_empty(), texts.len() == values) {
        (true, true) => Ok(texts),
        _ => Err(format!("it has not the {values} texts that its shape says")),
    }
}

/// A column as bytes; `None` when a value is missing that bytes cannot say.
pub(super) fn to_bytes(column: &Column) -> Option<Vec<u8>> {
    Some(match column {
        Column::F32(values) | Column::Vector { values, .. } => {
            values.iter().flat_map(|value| value.to_le_bytes()).collect()
        }
        Column::F64(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Column::I64(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Column::Bool(values) => values.iter().map(|value| value.map(u8::from)).collect::<Option<_>>()?,
        Column::Str(values) => {
            let mut bytes = Vec::new();
            for text in values {
                let text = text.as_ref()?;
                bytes.extend(u32::try_from(text.len()).ok()?.to_le_bytes());
                bytes.extend(text.bytes());
            }
            bytes
        }
    })
}

/// A column as a flat JSON list; what is missing, and what is no finite number, is null.
pub(super) struct AsJson<'c>(pub(super) ColumnRef<'c>);

impl Serialize for AsJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            // Numbers that are not finite are written as null.
            ColumnRef::F32(values) | ColumnRef::Vector { values, .. } => serializer.collect_seq(values),
            ColumnRef::F64(values) => serializer.collect_seq(values),
            ColumnRef::I64(values) => {
                let mut list = serializer.serialize_seq(Some(values.len()))?;
                for value in values {
                    list.serialize_element(&(*value != i64::MIN).then_some(value))?;
                }
                list.end()
            }
            ColumnRef::Bool(values) => serializer.collect_seq(values),
            ColumnRef::Str(values) => serializer.collect_seq(values.iter().map(Option::as_deref)),
        }
    }
}
