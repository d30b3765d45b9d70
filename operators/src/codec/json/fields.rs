//! What a field is by its name. Records of a source have the same fields in the same order, so each is compared with
//! the one that stood at its place in the object before, and searched only where it differs.

use gristmill::traits::source::AxisStreams;

use super::decode::Json;
use crate::codec::cell::Place;
use crate::codec::names::Names;

/// Longer objects are searched from here on, and longer names always: a hostile record must not grow what is kept.
const FIELDS_KEPT_MAX: usize = 64;
const NAME_BYTES_KEPT_MAX: usize = 128;

/// What a field of its own meaning is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Key,
    Time,
    Tag,
    Value,
    Start,
    Step,
}

/// What a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Role(Role),
    Stream(Place),
    Unknown,
}

/// See the module; kept between records.
#[derive(Debug, Default)]
pub(super) struct Fields {
    names: Names,
    /// The fields of the object before, by place.
    order: Vec<(String, Field)>,
    /// The version of `names` that `order` is of.
    version: u64,
}

impl Fields {
    /// A new record begins.
    pub(super) fn begin(&mut self) {
        self.names.begin();
    }

    /// What the field is that stands at `at` in its object.
    #[inline]
    pub(super) fn field(&mut self, at: usize, name: &str, json: &Json, axes: &[AxisStreams]) -> Field {
        if let Some((known, field)) = self.order.get(at)
            && known == name
            && self.version == self.names.version()
        {
            let field = *field;
            let stands = match field {
                Field::Role(_) => true,
                Field::Stream(place) => self.names.stands(place, axes),
                Field::Unknown => self.names.compare(axes),
            };
            if stands {
                return field;
            }
        }
        self.search(at, name, json, axes)
    }

    #[inline(never)]
    fn search(&mut self, at: usize, name: &str, json: &Json, axes: &[AxisStreams]) -> Field {
        let field = match json.roles.get(name) {
            Some(role) => Field::Role(*role),
            None => self.stream(name, json, axes).map_or(Field::Unknown, Field::Stream),
        };
        if self.version != self.names.version() {
            self.version = self.names.version();
            self.order.clear();
        }
        if at <= self.order.len() && at < FIELDS_KEPT_MAX && name.len() <= NAME_BYTES_KEPT_MAX {
            if at == self.order.len() {
                self.order.push((String::new(), field));
            }
            let (known, of) = &mut self.order[at];
            known.clear();
            known.push_str(name);
            *of = field;
        }
        field
    }

    /// Where the stream goes that records call `name`; `None` when nobody asked for it.
    pub(super) fn stream(&mut self, name: &str, json: &Json, axes: &[AxisStreams]) -> Option<Place> {
        self.names.place(name, axes, &json.shape.renamed)
    }
}

#[cfg(test)]
mod tests {
    use gristmill::words::{ElementType, StreamName};

    use super::*;
    use crate::codec::json::json;

    fn axes(names: &[&str]) -> [AxisStreams; 1] {
        [AxisStreams { streams: names.iter().map(|name| (StreamName::from(*name), ElementType::F32)).collect() }]
    }

    fn places(fields: &mut Fields, json: &Json, names: &[&str], axes: &[AxisStreams]) -> Vec<Field> {
        fields.begin();
        names.iter().enumerate().map(|(at, name)| fields.field(at, name, json, axes)).collect()
    }

    fn stream(column: u16) -> Field {
        Field::Stream(Place { axis: 0, column, element: ElementType::F32 })
    }

    #[test]
    fn what_a_field_is_does_not_depend_on_records_before() {
        let json = json(|r| r.key("device").time("ts"));
        let (both, swapped, one) = (axes(&["a", "b"]), axes(&["b", "a"]), axes(&["b"]));
        let key = Field::Role(Role::Key);
        let mut fields = Fields::default();
        for _ in 0..2 {
            assert_eq!(places(&mut fields, &json, &["device", "a", "b"], &both), [key, stream(0), stream(1)]);
            assert_eq!(places(&mut fields, &json, &["a", "device", "b"], &both), [stream(0), key, stream(1)]);
            // The axes changed: streams elsewhere, unknown, and known again.
            assert_eq!(places(&mut fields, &json, &["a", "device", "b"], &swapped), [stream(1), key, stream(0)]);
            assert_eq!(places(&mut fields, &json, &["a", "device", "b"], &one), [Field::Unknown, key, stream(0)]);
            assert_eq!(places(&mut fields, &json, &["a", "a", "b"], &both), [stream(0), stream(0), stream(1)]);
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let json = json(|r| r.key("device").time("ts"));
        let long = "x".repeat(NAME_BYTES_KEPT_MAX + 1);
        let names: Vec<String> = (0..1_000).map(|number| format!("f{number}")).chain([long.clone()]).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut fields = Fields::default();
        assert!(places(&mut fields, &json, &names, &axes(&["a"])).iter().all(|field| *field == Field::Unknown));
        assert_eq!(fields.order.len(), FIELDS_KEPT_MAX);
        assert_eq!(places(&mut fields, &json, &[&long, "a"], &axes(&["a"])), [Field::Unknown, stream(0)]);
        assert!(fields.order.iter().all(|(name, _)| name.len() <= NAME_BYTES_KEPT_MAX));
    }
}
