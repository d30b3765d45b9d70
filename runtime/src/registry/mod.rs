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
//! DIR/audit-00000001.jsonl        older lines
//! DIR/numbers                     up to which numbers were given to changes without a record
//! DIR/aside/                      files that are being written
//! ```

mod artifacts;
mod audit;
pub mod disk;
mod error;
mod folder;
mod numbers;
mod record;

pub use artifacts::{UNREFERRED_KEPT, digest_of};
pub use audit::{AUDIT_FILE_BYTES, AUDIT_FILES, AuditLine};
pub use error::RegistryError;
pub use folder::{REVISIONS_KEPT, RegistryFolder};
pub(crate) use numbers::Numbers;
pub use record::{ClassContent, Decided, Idempotency, Kind, Record, SetRef, Verdict};
