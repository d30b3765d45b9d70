//! The supervisor: it owns the running plan and changes it: validate, stage, switch, drain, retire.

mod class;
mod deploy;
mod error;

pub(crate) use class::{ClassState, Started};
pub use deploy::{Applied, Deployment};
pub(crate) use deploy::{apply, phase, prepare};
pub use error::DeployError;
