//! The supervisor: it owns the running plan and changes it: validate, stage, switch, drain, retire.

mod class;
mod deploy;
mod deployment;
mod error;
pub mod node_state;
mod prepare;
mod trial;

pub(crate) use class::{ClassState, Doors, HISTORY_MAX};
pub(crate) use deploy::{drain_and_retire, phase, switch, try_and_stage};
pub use deployment::{Applied, Deployment};
pub use error::{DeployError, TrialError, TrialErrors};
pub use node_state::NodeState;
pub(crate) use prepare::{Staged, prepare};
pub(crate) use trial::try_declared;
