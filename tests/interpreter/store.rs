//! Keeps states in memory between two runs of an engine.

use std::sync::{Arc, Mutex, PoisonError};

use gristmill::state::{Kept, StateError, StateStore, Stored};
use gristmill::words::Class;

/// The state of the one class of cases.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<Option<Saved>>>);

/// What was saved, and whether the source knows of it.
type Saved = (Vec<u8>, bool);

impl MemoryStore {
    fn with<T>(&self, look: impl FnOnce(&mut Option<(Vec<u8>, bool)>) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was saved last, unless a start has taken it.
    pub fn saved(&self) -> Option<Vec<u8>> {
        self.with(|saved| saved.as_ref().map(|(bytes, _)| bytes.clone()))
    }
}

impl StateStore for MemoryStore {
    fn load(&self, _class: &Class) -> Result<Kept, StateError> {
        let stored =
            |(bytes, told): &(Vec<u8>, bool)| Stored { bytes: bytes.clone(), told: *told, place: "memory".to_owned() };
        Ok(self.with(|saved| saved.as_ref().map_or(Kept::Nothing, |saved| Kept::State(stored(saved)))))
    }

    fn save(
        &self,
        _class: &Class,
        next: &mut dyn FnMut() -> Result<Option<Vec<u8>>, StateError>,
    ) -> Result<(), StateError> {
        let mut bytes = Vec::new();
        while let Some(piece) = next()? {
            bytes.extend(piece);
        }
        self.with(|saved| *saved = Some((bytes, false)));
        Ok(())
    }

    fn told(&self, _class: &Class) -> Result<(), StateError> {
        self.with(|saved| saved.iter_mut().for_each(|(_, told)| *told = true));
        Ok(())
    }

    fn taken(&self, _class: &Class) -> Result<(), StateError> {
        self.with(|saved| *saved = None);
        Ok(())
    }
}
