//! What is kept of keys from one process to the next: saved when a system stops in order, restored when it starts. See
//! docs/adr/0007-saved-state.md.
//!
//! A class has one file: a head, a record for each key, an end. Each record is in an envelope of its own, so that it can
//! be checked, and read, alone.
//!
//! ```text
//! DIR/lock                  held by the process that uses the folder
//! DIR/format                the version of this layout
//! DIR/saved/CLASS.state     saved by a stop; the source has been told how far it goes
//! DIR/untold/CLASS.state    the same, but the source may not know
//! DIR/previous/CLASS.state  what a start has taken: never taken again
//! DIR/aside/                files that are being written
//! ```

pub mod envelope;
mod error;
pub(crate) mod fit;
mod folder;
mod key;
mod part;
mod report;
mod snapshot;
mod store;

pub use error::StateError;
pub use folder::StateFolder;
pub use key::{IntakeRecord, KeyRecord, NodeRecord, OperatorRecord};
pub(crate) use part::{AxisClock, History, KeyAlign, KeyHealth, Waiting};
pub use report::{RefusedState, RestoreReport};
pub(crate) use snapshot::SnapshotWriter;
pub use snapshot::{Checked, Damage, Head, Snapshot, check, read};
pub use store::{Kept, StateStore, Stored};
