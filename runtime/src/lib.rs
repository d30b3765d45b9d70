//! Dataflow runtime that serves thousands of machine-learning models over high-frequency sensor streams.

mod actor;
pub mod clock;
#[doc(hidden)]
pub mod defect;
pub mod deployer;
pub mod explain;
mod handle;
pub mod harness;
pub mod in_process;
pub mod letters;
mod limits;
mod metrics;
mod options;
pub mod prefetch;
pub mod registry;
mod runtime;
pub mod state;
mod supervisor;
pub mod topology;
pub mod traits;
pub mod words;

pub use actor::Counts;
pub use actor::driver::{DriveOptions, SwitchPosition};
pub use actor::guard::Quarantine;
pub use actor::intake::{BadRow, IntakeCounts, IntakePolicy};
pub use explain::Explanation;
pub use handle::{ActorReport, Handle, NodeReport, Preview, ReplayedRow, Report, RunError, Subscription};
pub use harness::{Bench, BenchOptions};
pub use limits::{Limit, limits};
pub use metrics::SECONDS_BUCKETS;
pub use options::Options;
pub use runtime::{Builder, Runtime, StartError};
pub use supervisor::{Applied, DeployError, Deployment, NodeState, TrialError, TrialErrors, node_state};
pub use topology::Topology;
pub use words::{Attribute, Element, ElementType, Stream, Value};

/// The program of the front page is compiled and run as a test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
