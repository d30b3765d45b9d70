//! One object: its fields in any order, then its rows.

use std::borrow::Cow;
use std::fmt;

use gristmill::traits::source::AxisStreams;
use gristmill::words::{Key, Time};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::decode::Json;
use super::fields::{Field, Fields, Role};
use super::shape::{KeyFrom, TimeFrom};
use super::value::{CellSeed, StepSeed, TextSeed, TimeSeed};
use crate::codec::cell::{Cell, DECODED_BYTES_MAX, Place, RowsOut, When};
use crate::codec::names::key_of;
use crate::codec::time::Nanos;

/// Room for values that stays between records.
const CELLS_KEPT_MAX: usize = 256;

/// The stream that a tag names.
#[derive(Clone, Copy, Debug)]
enum Tagged {
    Stream(Place),
    Unknown,
}

/// What a thread keeps for a decoder between records.
#[derive(Debug, Default)]
pub(super) struct Kept {
    fields: Fields,
    cells: Vec<(Place, Cell)>,
}

impl Kept {
    /// A new record begins.
    pub(super) fn begin(&mut self) {
        self.fields.begin();
        self.cells.clear();
        self.cells.shrink_to(CELLS_KEPT_MAX);
    }
}

/// What has been read of the object at hand; used again for each object of a record.
pub(super) struct Object<'a> {
    json: &'a Json,
    axes: &'a [AxisStreams],
    log_time: Option<Time>,
    fields: &'a mut Fields,
    pub(super) out: RowsOut<'a>,
    /// The key of all objects of the record.
    key: Option<Key>,
    own_key: bool,
    time: Option<Time>,
    start: Option<Nanos>,
    step: Option<Nanos>,
    tag: Option<Tagged>,
    /// How many of its fields have been read.
    fields_read: usize,
    cells: &'a mut Vec<(Place, Cell)>,
    /// What the arrays of rows in `cells` take.
    array_bytes: usize,
}

impl<'a> Object<'a> {
    pub(super) fn new(
        json: &'a Json,
        axes: &'a [AxisStreams],
        log_time: Option<Time>,
        key: Option<Key>,
        Kept { fields, cells }: &'a mut Kept,
        out: RowsOut<'a>,
    ) -> Self {
        Self {
            json,
            axes,
            log_time,
            fields,
            out,
            key,
            own_key: false,
            time: None,
            start: None,
            step: None,
            tag: None,
            fields_read: 0,
            cells,
            array_bytes: 0,
        }
    }

    #[inline]
    fn field(&mut self, name: &str) -> Field {
        let at = self.fields_read;
        self.fields_read += 1;
        self.fields.field(at, name, self.json, self.axes)
    }

    /// Reads a value of the stream, or as many as there is room for.
    #[inline]
    fn seed(&self, place: Place) -> CellSeed {
        CellSeed { element: place.element, room: Some(DECODED_BYTES_MAX.saturating_sub(self.array_bytes)) }
    }

    #[inline]
    fn keep(&mut self, place: Place, cell: Cell) {
        if let Cell::Many(column) = &cell {
            self.array_bytes += column.len() * place.element.row_bytes();
        }
        self.cells.push((place, cell));
    }

    fn set_key(&mut self, text: &str) -> Result<(), String> {
        if std::mem::replace(&mut self.own_key, true) {
            return Err("the key is there twice".to_owned());
        }
        match &self.key {
            Some(key) if &**key == text => Ok(()),
            Some(key) => Err(format!("rows of `{key}` and of `{}` in one record", text.escape_debug())),
            None => {
                self.key = Some(key_of(text)?);
                Ok(())
            }
        }
    }

    fn set_tag(&mut self, text: &str) -> Result<(), String> {
        if self.tag.is_some() {
            return Err("there twice".to_owned());
        }
        let stream = match self.json.shape.key {
            Some(KeyFrom::Tag(separator)) => {
                let (key, stream) = text
                    .rsplit_once(separator)
                    .ok_or_else(|| format!("`{}` has no `{separator}` between key and stream", text.escape_debug()))?;
                self.set_key(key)?;
                stream
            }
            _ => text,
        };
        let place = self.fields.stream(stream, self.json, self.axes);
        self.tag = Some(place.map_or(Tagged::Unknown, Tagged::Stream));
        Ok(())
    }

    fn finish(&mut self, value: Option<&RawValue>) -> Result<(), String> {
        if let Some(value) = value {
            match self.tag {
                None => return Err("a value without a tag".to_owned()),
                Some(Tagged::Unknown) => {}
                Some(Tagged::Stream(place)) => {
                    let mut json = serde_json::Deserializer::from_str(value.get());
                    let cell = self
                        .seed(place)
                        .deserialize(&mut json)
                        .map_err(|error| format!("field `{}`: {error} of the value", self.role_name(Role::Value)))?;
                    self.keep(place, cell);
                }
            }
        }
        let from_record = self.json.shape.key == Some(KeyFrom::Record);
        let (true, Some(key)) = (self.own_key || from_record, self.key.clone()) else {
            return Err(match &self.json.shape.key {
                Some(KeyFrom::Tag(_)) => format!("no tag: field `{}` is missing", self.role_name(Role::Tag)),
                _ => format!("no key: field `{}` is missing", self.role_name(Role::Key)),
            });
        };
        let when = self.when()?;
        self.out.append(&key, when, self.cells)?;
        (self.fields_read, self.array_bytes) = (0, 0);
        (self.own_key, self.time, self.start, self.step, self.tag) = (false, None, None, None, None);
        Ok(())
    }

    fn when(&mut self) -> Result<When, String> {
        if let Some(start) = self.start {
            let Some(step) = self.step else {
                return Err(format!("a series without its step: field `{}` is missing", self.role_name(Role::Step)));
            };
            return Ok(When::Series { start, step });
        }
        let time = if self.json.shape.time == Some(TimeFrom::Log) { self.log_time } else { self.time };
        let Some(time) = time else {
            let role = if self.json.shape.time.is_some() { Role::Time } else { Role::Start };
            return Err(format!("no time: field `{}` is missing", self.role_name(role)));
        };
        for (place, cell) in self.cells.iter_mut() {
            match cell {
                // No values are a reading that is not there.
                Cell::Many(column) if column.is_empty() => *cell = Cell::Absent,
                Cell::Many(column) => {
                    return Err(format!(
                        "field `{}` has {} values and one time; a series has a start and a step",
                        stream_name(self.axes, *place),
                        column.len()
                    ));
                }
                _ => {}
            }
        }
        Ok(When::At(time))
    }

    fn role_name(&self, role: Role) -> &str {
        self.json.roles.iter().find(|(_, other)| **other == role).map_or("", |(name, _)| name)
    }

    fn role<'de, A: MapAccess<'de>>(
        &mut self,
        role: Role,
        map: &mut A,
        value: &mut Option<&'de RawValue>,
    ) -> Result<(), A::Error> {
        let unit = self.json.shape.unit;
        match role {
            Role::Key => {
                let text: Cow<'de, str> = map.next_value_seed(TextSeed)?;
                self.set_key(&text).map_err(A::Error::custom)
            }
            Role::Tag => {
                let text: Cow<'de, str> = map.next_value_seed(TextSeed)?;
                self.set_tag(&text).map_err(A::Error::custom)
            }
            Role::Time => once(&mut self.time, map.next_value_seed(TimeSeed { unit })?.map(Nanos::time)),
            Role::Start => once(&mut self.start, map.next_value_seed(TimeSeed { unit })?),
            Role::Step => once(&mut self.step, Some(map.next_value_seed(StepSeed { unit })?)),
            // The type of a value is told by its tag: where that comes later, the value's text waits for it.
            Role::Value => match self.tag {
                _ if value.is_some() => Err(A::Error::custom("there twice")),
                None => {
                    *value = Some(map.next_value::<&RawValue>()?);
                    Ok(())
                }
                Some(Tagged::Unknown) => map.next_value::<IgnoredAny>().map(drop),
                Some(Tagged::Stream(place)) => {
                    let cell = map.next_value_seed(self.seed(place))?;
                    self.keep(place, cell);
                    Ok(())
                }
            },
        }
    }
}

fn stream_name(axes: &[AxisStreams], place: Place) -> &str {
    &axes[usize::from(place.axis)].streams[usize::from(place.column)].0
}

fn once<T, E: Error>(slot: &mut Option<T>, value: Option<T>) -> Result<(), E> {
    if slot.is_some() {
        return Err(E::custom("there twice"));
    }
    *slot = value;
    Ok(())
}

/// Says in which field an error was; the error keeps its place in the text.
#[cold]
fn in_field<E: Error>(name: &str, error: &E) -> E {
    E::custom(format_args!("field `{name}`: {error}"))
}

/// Reads one object into [`Object`] and appends its rows.
pub(super) struct ObjectSeed<'o, 'a> {
    pub(super) object: &'o mut Object<'a>,
}

impl<'de> DeserializeSeed<'de> for ObjectSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ObjectSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let object = self.object;
        let mut value = None;
        while let Some(field) = map.next_key_seed(FieldSeed { object })? {
            match field {
                Field::Unknown => drop(map.next_value::<IgnoredAny>()?),
                Field::Stream(place) => match map.next_value_seed(object.seed(place)) {
                    Ok(cell) => object.keep(place, cell),
                    Err(error) => return Err(in_field(stream_name(object.axes, place), &error)),
                },
                Field::Role(role) => {
                    object
                        .role(role, &mut map, &mut value)
                        .map_err(|error| in_field(object.role_name(role), &error))?;
                }
            }
        }
        object.finish(value).map_err(A::Error::custom)
    }
}

/// Tells what a field is by its name.
struct FieldSeed<'o, 'a> {
    object: &'o mut Object<'a>,
}

impl<'de> DeserializeSeed<'de> for FieldSeed<'_, '_> {
    type Value = Field;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Field, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for FieldSeed<'_, '_> {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Field, E> {
        Ok(self.object.field(name))
    }
}
