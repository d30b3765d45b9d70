//! Where states are kept between two processes.

use super::error::StateError;
use crate::words::Class;

/// Keeps the state of a class from a stop in order to the next start. One process has it at a time.
pub trait StateStore: Send + Sync + 'static {
    /// What the last process left of a class.
    ///
    /// # Errors
    /// When it cannot be read.
    fn load(&self, class: &Class) -> Result<Kept, StateError>;

    /// Keeps a state in place of all that there was, in pieces that `next` gives until it gives none. When this comes
    /// back it is durable; until then nothing counts.
    ///
    /// # Errors
    /// When it cannot be written, or what `next` says; then there is what there was.
    fn save(
        &self,
        class: &Class,
        next: &mut dyn FnMut() -> Result<Option<Vec<u8>>, StateError>,
    ) -> Result<(), StateError>;

    /// The source of the class knows how far the saved state goes.
    ///
    /// # Errors
    /// When that cannot be written.
    fn told(&self, class: &Class) -> Result<(), StateError>;

    /// A process goes on with the saved state: nobody else may, whatever becomes of this one.
    ///
    /// # Errors
    /// When that cannot be written.
    fn taken(&self, class: &Class) -> Result<(), StateError>;
}

impl<S: StateStore + ?Sized> StateStore for std::sync::Arc<S> {
    fn load(&self, class: &Class) -> Result<Kept, StateError> {
        (**self).load(class)
    }

    fn save(
        &self,
        class: &Class,
        next: &mut dyn FnMut() -> Result<Option<Vec<u8>>, StateError>,
    ) -> Result<(), StateError> {
        (**self).save(class, next)
    }

    fn told(&self, class: &Class) -> Result<(), StateError> {
        (**self).told(class)
    }

    fn taken(&self, class: &Class) -> Result<(), StateError> {
        (**self).taken(class)
    }
}

/// What is kept of a class.
#[derive(Debug)]
pub enum Kept {
    /// Nothing: no process has saved it yet.
    Nothing,
    /// The last process did not stop in order; what it had begun with is over.
    Interrupted,
    /// What was saved last.
    State(Stored),
}

/// A saved state.
#[derive(Debug)]
pub struct Stored {
    /// Its records.
    pub bytes: Vec<u8>,
    /// Whether the source knows how far it goes.
    pub told: bool,
    /// Where it is, for people.
    pub place: String,
}
