//! Actors: they carry out what plans say. Frames go from the shard's intake through the actors of nodes to sinks.

mod align;
mod all_keys;
mod alone;
mod attempt;
pub(crate) mod cell;
mod compute;
pub(crate) mod control;
pub(crate) mod driver;
pub(crate) mod explain;
mod frame;
mod gather;
pub(crate) mod guard;
pub(crate) mod install;
pub(crate) mod intake;
pub(crate) mod keeper;
mod key_order;
mod lanes;
mod launch;
pub(crate) mod ledger;
mod loops;
mod missing;
mod node;
mod output;
mod own_actor;
mod pace;
pub(crate) mod pool;
mod rows_in;
mod run_queue;
pub(crate) mod saving;
pub(crate) mod shard;
mod sink;
mod slow;
pub(crate) mod tally;
mod whole;

pub use cell::Counts;
pub(crate) use frame::Flush;
