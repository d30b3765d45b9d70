//! What was deployed, kept in a folder, so that a restart runs it again: artifacts by content, a file for each revision,
//! an audit log. Plain files: nothing here knows what runs.
//!
//! Every file is written aside, made durable, and renamed: a process that is killed leaves the old file or the new one.
//!
//! ```text
//! DIR/lock                        held by the process that uses the folder
//! DIR/format                      the version of this layout
//! DIR/artifacts/sha256/ab/abcd…   manifests and models, by the SHA-256 of their content
//! DIR/revisions/00000000000000000007.json
//! DIR/audit.jsonl                 a line for everything that was done or refused
//! DIR/aside/                      files that are being written
//! ```

mod artifacts;
pub mod disk;
mod error;
mod folder;
mod record;

pub use artifacts::{UNREFERRED_KEPT, digest_of};
pub use error::RegistryError;
pub use folder::{AuditLine, REVISIONS_KEPT, RegistryFolder};
pub use record::{ClassContent, Decided, Idempotency, Kind, Record, SetRef, Verdict};
