//! Values of fields: texts, times and cells of a stream's type.

use std::borrow::Cow;
use std::fmt;

use gristmill::traits::source::ABSENT_F32;
use gristmill::words::{Column, ElementType};
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Unexpected, Visitor};
use smol_str::SmolStr;

use crate::codec::cell::{Cell, ROWS_PER_RECORD_MAX, checked_i64, infinite, push, to_f32, to_i64, too_large};
use crate::codec::time::{Nanos, TimeUnit, step_of_float, time_of_float, time_of_integer, time_of_text};

macro_rules! any {
    ($seed:ty, $value:ty) => {
        impl<'de> DeserializeSeed<'de> for $seed {
            type Value = $value;

            #[inline]
            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<$value, D::Error> {
                deserializer.deserialize_any(self)
            }
        }
    };
}

/// A key or tag: a text or a whole number.
pub(super) struct TextSeed;

impl<'de> DeserializeSeed<'de> for TextSeed {
    type Value = Cow<'de, str>;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TextSeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a whole number")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(number.to_string()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(number.to_string()))
    }
}

/// A time; `None` for null.
pub(super) struct TimeSeed {
    pub(super) unit: TimeUnit,
}

any!(TimeSeed, Option<Nanos>);

impl Visitor<'_> for TimeSeed {
    type Value = Option<Nanos>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or an RFC 3339 text")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Option<Nanos>, E> {
        time_of_integer(number, self.unit).map(Some).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Option<Nanos>, E> {
        self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Option<Nanos>, E> {
        time_of_float(number, self.unit).map(Some).map_err(E::custom)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<Nanos>, E> {
        time_of_text(text).map(Some).map_err(E::custom)
    }

    fn visit_unit<E: Error>(self) -> Result<Option<Nanos>, E> {
        Ok(None)
    }
}

/// The time between the rows of a series.
pub(super) struct StepSeed {
    pub(super) unit: TimeUnit,
}

any!(StepSeed, Nanos);

impl Visitor<'_> for StepSeed {
    type Value = Nanos;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Nanos, E> {
        self.visit_f64(number as f64)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Nanos, E> {
        self.visit_f64(number as f64)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Nanos, E> {
        step_of_float(number, self.unit).map_err(E::custom)
    }
}

/// Bytes of values for which an array of rows has room at first.
const FIRST_ROWS_BYTES: usize = 4_096;

/// A value of a stream, or an array of them.
#[derive(Clone, Copy)]
pub(super) struct CellSeed {
    pub(super) element: ElementType,
    /// Bytes that an array of rows may take; nothing within one.
    pub(super) room: Option<usize>,
}

any!(CellSeed, Cell);

impl CellSeed {
    #[inline]
    fn number(self, number: f64, unexpected: Unexpected<'_>) -> Result<Cell, Refused> {
        match self.element {
            ElementType::F32 => to_f32(number).map(Cell::F32).map_err(Refused::Text),
            ElementType::F64 => Ok(Cell::F64(number)),
            ElementType::I64 => to_i64(number).map(Cell::I64).map_err(Refused::Text),
            _ => Err(Refused::of(unexpected)),
        }
    }

    fn refuse<E: Error>(self, refused: &Refused) -> E {
        match refused {
            Refused::Text(text) => E::custom(text),
            Refused::Number(number) => E::invalid_type(Unexpected::Float(*number), &self),
            Refused::Whole(number) => E::invalid_type(Unexpected::Signed(*number), &self),
        }
    }

    /// The rest of an array whose first value was read. A value that is not there takes as much as one that is.
    fn rows<'de, A: SeqAccess<'de>>(self, first: Cell, room: usize, mut array: A) -> Result<Cell, A::Error> {
        let row_bytes = self.element.row_bytes().max(1);
        let rows_max = ROWS_PER_RECORD_MAX.min(room / row_bytes);
        let rows = array.size_hint().unwrap_or(16).min(1 + FIRST_ROWS_BYTES / row_bytes);
        let mut column = Column::with_capacity(self.element, rows);
        push(&mut column, first);
        while let Some(cell) = array.next_element_seed(RowSeed { element: self.element })? {
            if column.len() >= rows_max {
                return Err(match rows_max {
                    ROWS_PER_RECORD_MAX => A::Error::custom(format_args!("more than {ROWS_PER_RECORD_MAX} values")),
                    _ => A::Error::custom(too_large()),
                });
            }
            push(&mut column, cell);
        }
        Ok(Cell::Many(column))
    }

    /// The rest of a vector whose first value was read.
    fn vector<'de, A: SeqAccess<'de>>(self, first: f32, width: usize, mut array: A) -> Result<Cell, A::Error> {
        let mut values = Vec::with_capacity(width);
        values.push(first);
        while let Some(value) = array.next_element_seed(FloatSeed)? {
            values.push(value);
            if values.len() > width {
                return Err(A::Error::custom(format_args!("more than {width} values; the stream is f32[{width}]")));
            }
        }
        if values.len() < width {
            return Err(A::Error::custom(format_args!("{} values; the stream is f32[{width}]", values.len())));
        }
        Ok(Cell::Vector(values))
    }
}

/// Why a number is no value of the stream.
enum Refused {
    Text(String),
    Number(f64),
    Whole(i64),
}

impl Refused {
    fn of(unexpected: Unexpected<'_>) -> Self {
        match unexpected {
            Unexpected::Signed(number) => Self::Whole(number),
            Unexpected::Float(number) => Self::Number(number),
            _ => Self::Text("not a value of the stream".to_owned()),
        }
    }
}

impl<'de> Visitor<'de> for CellSeed {
    type Value = Cell;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.element)
    }

    #[inline]
    fn visit_f64<E: Error>(self, number: f64) -> Result<Cell, E> {
        self.number(number, Unexpected::Float(number)).map_err(|refused| self.refuse(&refused))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Cell, E> {
        if self.element == ElementType::I64 {
            return checked_i64(number).map(Cell::I64).map_err(E::custom);
        }
        self.number(number as f64, Unexpected::Signed(number)).map_err(|refused| self.refuse(&refused))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Cell, E> {
        match i64::try_from(number) {
            Ok(number) => self.visit_i64(number),
            Err(_) if self.element == ElementType::I64 => {
                Err(E::custom(format_args!("{number} is out of the range of i64")))
            }
            Err(_) => self.visit_f64(number as f64),
        }
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Cell, E> {
        if self.element == ElementType::Bool {
            Ok(Cell::Bool(value))
        } else {
            Err(E::invalid_type(Unexpected::Bool(value), &self))
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Cell, E> {
        if self.element == ElementType::Str {
            return Ok(Cell::Str(SmolStr::new(text)));
        }
        // JSON has no infinite numbers: who has one writes it as a text.
        match (self.element, infinite(text)) {
            (ElementType::F32, Some(number)) => Ok(Cell::F32(number as f32)),
            (ElementType::F64, Some(number)) => Ok(Cell::F64(number)),
            _ => Err(E::invalid_type(Unexpected::Str(text), &self)),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<Cell, E> {
        Ok(Cell::Absent)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Cell, A::Error> {
        let within = || A::Error::custom(WITHIN_ROWS);
        let ElementType::Vector(width) = self.element else {
            let room = self.room.ok_or_else(within)?;
            return match array.next_element_seed(RowSeed { element: self.element })? {
                None => Ok(Cell::Many(Column::with_capacity(self.element, 0))),
                Some(first) => self.rows(first, room, array),
            };
        };
        match array.next_element_seed(VectorOrFloatSeed { width })? {
            None => Ok(Cell::Many(Column::with_capacity(self.element, 0))),
            Some(VectorOrFloat::Float(first)) => self.vector(first, usize::from(width), array),
            Some(VectorOrFloat::Vector(first)) => self.rows(first, self.room.ok_or_else(within)?, array),
        }
    }
}

const WITHIN_ROWS: &str = "an array within an array of values";

/// A value within an array of rows: no array again, unless the stream is one of vectors.
struct RowSeed {
    element: ElementType,
}

impl<'de> DeserializeSeed<'de> for RowSeed {
    type Value = Cell;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cell, D::Error> {
        match (CellSeed { element: self.element, room: None }).deserialize(deserializer)? {
            // There is no room for an array of values, so this one is empty: a vector that is not there.
            Cell::Many(_) => Ok(Cell::Absent),
            cell => Ok(cell),
        }
    }
}

/// One `f32` of a vector; null is a reading that is not there.
struct FloatSeed;

impl<'de> DeserializeSeed<'de> for FloatSeed {
    type Value = f32;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<f32, D::Error> {
        match (CellSeed { element: ElementType::F32, room: None }).deserialize(deserializer)? {
            Cell::F32(value) => Ok(value),
            Cell::Absent => Ok(ABSENT_F32),
            _ => Err(D::Error::custom(WITHIN_ROWS)),
        }
    }
}

enum VectorOrFloat {
    Vector(Cell),
    Float(f32),
}

/// The first value of an array for a stream of vectors: a number of the vector, or the vector of the first row.
struct VectorOrFloatSeed {
    width: u16,
}

any!(VectorOrFloatSeed, VectorOrFloat);

impl<'de> Visitor<'de> for VectorOrFloatSeed {
    type Value = VectorOrFloat;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number or f32[{}]", self.width)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<VectorOrFloat, E> {
        to_f32(number).map(VectorOrFloat::Float).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<VectorOrFloat, E> {
        self.visit_f64(number as f64)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<VectorOrFloat, E> {
        self.visit_f64(number as f64)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<VectorOrFloat, E> {
        let number = infinite(text).ok_or_else(|| E::invalid_type(Unexpected::Str(text), &self))?;
        Ok(VectorOrFloat::Float(number as f32))
    }

    fn visit_unit<E: Error>(self) -> Result<VectorOrFloat, E> {
        Ok(VectorOrFloat::Float(ABSENT_F32))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<VectorOrFloat, A::Error> {
        let seed = CellSeed { element: ElementType::Vector(self.width), room: None };
        let Some(first) = array.next_element_seed(FloatSeed)? else {
            return Ok(VectorOrFloat::Vector(Cell::Absent));
        };
        seed.vector(first, usize::from(self.width), array).map(VectorOrFloat::Vector)
    }
}
