//! Models in use, by content: what was loaded once is loaded no second time.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use sha2::{Digest as _, Sha256};

use crate::traits::{Digest, Format, LoadError, Model};

/// A format whose models are one in memory where their content is equal, as long as somebody uses them: it keeps none
/// alive. Each registered format has models of its own, since another one may read the same bytes otherwise.
pub(super) struct Shared<F> {
    format: F,
    models: Mutex<Models>,
}

#[derive(Default)]
struct Models {
    by_digest: HashMap<Digest, Weak<dyn Model>>,
    /// How many there may be before those that are gone are dropped.
    most: usize,
}

/// Fewer entries than this are not worth a sweep.
const SWEEP_FROM: usize = 64;

impl<F: Format> Shared<F> {
    pub(super) fn of(format: F) -> Self {
        Self { format, models: Mutex::default() }
    }

    /// The model in use with this digest.
    fn known(&self, digest: Digest) -> Option<Arc<dyn Model>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner).by_digest.get(&digest)?.upgrade()
    }

    /// The model in use with the same digest, else this one, which is in use from now on.
    fn share(&self, model: Arc<dyn Model>) -> Arc<dyn Model> {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = models.by_digest.get(&model.digest()).and_then(Weak::upgrade) {
            return known;
        }
        if models.by_digest.len() >= models.most.max(SWEEP_FROM) {
            models.by_digest.retain(|_, model| model.strong_count() > 0);
            models.by_digest.shrink_to_fit();
            models.most = 2 * models.by_digest.len();
        }
        models.by_digest.insert(model.digest(), Arc::downgrade(&model));
        model
    }
}

impl<F: Format> Format for Shared<F> {
    fn name(&self) -> &str {
        self.format.name()
    }

    fn load(&self, bytes: &[u8]) -> Result<Arc<dyn Model>, LoadError> {
        if let Some(model) = self.known(Digest(Sha256::digest(bytes).into())) {
            return Ok(model);
        }
        self.format.load(bytes).map(|model| self.share(model))
    }

    /// What lies beside the file is part of the content, so the model is loaded before it can be compared.
    fn load_file(&self, path: &Path) -> Result<Arc<dyn Model>, LoadError> {
        self.format.load_file(path).map(|model| self.share(model))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traits::model::fixture::Content;

    struct Contents;

    impl Format for Contents {
        fn name(&self) -> &str {
            "contents"
        }
        fn load(&self, bytes: &[u8]) -> Result<Arc<dyn Model>, LoadError> {
            Ok(Arc::new(Content(Digest(Sha256::digest(bytes).into()))))
        }
    }

    fn entries(format: &Shared<Contents>) -> usize {
        format.models.lock().unwrap_or_else(PoisonError::into_inner).by_digest.len()
    }

    #[test]
    fn equal_content_is_one_model_as_long_as_somebody_uses_it() -> Result<(), LoadError> {
        let format = Shared::of(Contents);
        let first = format.load(b"a")?;
        assert!(Arc::ptr_eq(&first, &format.load(b"a")?));
        assert!(!Arc::ptr_eq(&first, &format.load(b"b")?));
        assert!(!Arc::ptr_eq(&first, &Shared::of(Contents).load(b"a")?), "another format shares nothing");
        let gone = Arc::downgrade(&first);
        drop(first);
        assert!(gone.upgrade().is_none(), "it keeps no model alive");
        Ok(())
    }

    #[test]
    fn models_that_are_gone_leave_nothing_behind() -> Result<(), LoadError> {
        let format = Shared::of(Contents);
        let load = |number: usize| format.load(&number.to_le_bytes());
        for number in 0..100 * SWEEP_FROM {
            load(number)?;
        }
        assert!(entries(&format) <= SWEEP_FROM, "{} entries", entries(&format));
        let used = (0..10 * SWEEP_FROM).map(load).collect::<Result<Vec<_>, _>>()?;
        for number in 0..100 * SWEEP_FROM {
            load(number)?;
        }
        assert!(entries(&format) <= 2 * used.len(), "{} entries of {} models", entries(&format), used.len());
        Ok(())
    }
}
