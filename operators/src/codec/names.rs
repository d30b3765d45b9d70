//! From the names in a record to columns: an index that is kept between records and checked against the axes of each.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use gristmill::traits::source::AxisStreams;
use gristmill::words::{Key, StreamName};

use super::cell::Place;

type Map<V> = HashMap<Box<str>, V, BuildHasherDefault<rustc_hash::FxHasher>>;

/// Streams by the names that records give them. The axes come anew with each record and differ only after a
/// deployment: what is found is compared with them, and what is not found is believed after one whole comparison.
#[derive(Debug, Default)]
pub(crate) struct Names {
    axes: Vec<AxisStreams>,
    places: Map<Place>,
    /// How often `places` was made anew.
    version: u64,
    /// Whether `axes` was compared since [`Names::begin`].
    compared: bool,
}

impl Names {
    /// A new record begins.
    pub(crate) fn begin(&mut self) {
        self.compared = false;
    }

    /// Where the stream goes that records call `name`; `None` when nobody asked for it.
    #[inline]
    pub(crate) fn place(
        &mut self,
        name: &str,
        axes: &[AxisStreams],
        renamed: &HashMap<Box<str>, StreamName>,
    ) -> Option<Place> {
        match self.places.get(name) {
            Some(place) if self.stands(*place, axes) => return Some(*place),
            None if self.compared => return None,
            _ => {}
        }
        if !self.compare(axes) {
            self.rebuild(axes, renamed);
        }
        self.places.get(name).copied()
    }

    /// Of what was found under another version nothing is known.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Whether what was found before still goes to `place`.
    #[inline]
    pub(crate) fn stands(&self, place: Place, axes: &[AxisStreams]) -> bool {
        if self.compared {
            return true;
        }
        let (axis, column) = (usize::from(place.axis), usize::from(place.column));
        match (self.axes.get(axis), axes.get(axis)) {
            (Some(known), Some(axis)) => axis.streams.get(column) == known.streams.get(column),
            _ => false,
        }
    }

    /// Whether the axes are those that are known, so that what was not found still is not there.
    pub(crate) fn compare(&mut self, axes: &[AxisStreams]) -> bool {
        self.compared = self.compared || self.axes == axes;
        self.compared
    }

    fn rebuild(&mut self, axes: &[AxisStreams], renamed: &HashMap<Box<str>, StreamName>) {
        self.axes = axes.to_vec();
        self.version += 1;
        self.compared = true;
        self.places.clear();
        let mut by_stream: HashMap<&str, Place> = HashMap::new();
        for (axis, streams) in axes.iter().enumerate() {
            for (column, (name, element)) in streams.streams.iter().enumerate() {
                let (Ok(axis), Ok(column)) = (u16::try_from(axis), u16::try_from(column)) else { continue };
                by_stream.entry(name).or_insert(Place { axis, column, element: *element });
            }
        }
        // A name that is renamed no longer means the stream that is called so.
        for (name, place) in &by_stream {
            if !renamed.contains_key(*name) {
                self.places.insert((*name).into(), *place);
            }
        }
        for (name, stream) in renamed {
            if let Some(place) = by_stream.get(stream.as_str()) {
                self.places.insert(name.clone(), *place);
            }
        }
    }
}

/// A text as a key.
pub(crate) fn key_of(text: &str) -> Result<Key, String> {
    const KEY_BYTES_MAX: usize = gristmill::words::id::NAME_BYTES_MAX;
    if text.is_empty() {
        return Err("the key is empty".to_owned());
    }
    if text.len() > KEY_BYTES_MAX {
        return Err(format!("the key has {} bytes; the limit is {KEY_BYTES_MAX}", text.len()));
    }
    if let Some(character) = text.chars().find(|character| character.is_control()) {
        return Err(format!("the key has the control character `{}` in it", character.escape_debug()));
    }
    Ok(Key::new(text))
}
