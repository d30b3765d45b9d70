//! Artifacts by content: equal ones are loaded once.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use gristmill::traits::{Digest, Format, LoadError, Model};

use super::digest::of_bytes;

/// The models in use, by the digest of their content. It keeps no model alive.
#[derive(Debug, Default)]
pub struct Cache {
    models: Mutex<HashMap<Digest, Weak<dyn Model>>>,
}

/// Entries of models that are gone are dropped when the table has doubled beyond this.
const SWEEP_FROM: usize = 64;

impl Cache {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// The model in these bytes, loaded if nobody uses it yet.
    ///
    /// # Errors
    /// As [`Format::load`].
    pub fn load(&self, format: &dyn Format, bytes: &[u8]) -> Result<Arc<dyn Model>, LoadError> {
        if let Some(model) = self.get(of_bytes(bytes)) {
            return Ok(model);
        }
        format.load(bytes).map(|model| self.share(model))
    }

    /// The model in a file; its external data count, so the file is read before the cache can know it.
    ///
    /// # Errors
    /// As [`Format::load_file`].
    pub fn load_file(&self, format: &dyn Format, path: &Path) -> Result<Arc<dyn Model>, LoadError> {
        format.load_file(path).map(|model| self.share(model))
    }

    /// The model with this digest, if somebody uses it.
    pub fn get(&self, digest: Digest) -> Option<Arc<dyn Model>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner).get(&digest)?.upgrade()
    }

    /// The model with the same digest that is in use, else this one, which is then the one in use.
    pub fn share(&self, model: Arc<dyn Model>) -> Arc<dyn Model> {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = models.get(&model.digest()).and_then(Weak::upgrade) {
            return known;
        }
        if models.len() >= SWEEP_FROM && models.len() == models.capacity() {
            models.retain(|_, model| model.strong_count() > 0);
        }
        models.insert(model.digest(), Arc::downgrade(&model));
        model
    }

    /// Models in use.
    pub fn len(&self) -> usize {
        let models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        models.values().filter(|model| model.strong_count() > 0).count()
    }

    /// Whether no model is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Linear;

    #[test]
    fn equal_content_is_one_model_as_long_as_somebody_uses_it() -> Result<(), LoadError> {
        let cache = Cache::new();
        let make = |bias| Linear::new(&[1.0, 2.0], bias).map(|model| Arc::new(model) as Arc<dyn Model>);
        let first = cache.share(make(0.0)?);
        assert!(Arc::ptr_eq(&first, &cache.share(make(0.0)?)));
        assert!(!Arc::ptr_eq(&first, &cache.share(make(1.0)?)));
        assert_eq!(cache.len(), 1);
        let digest = first.digest();
        drop(first);
        assert!(cache.get(digest).is_none() && cache.is_empty());
        Ok(())
    }
}
