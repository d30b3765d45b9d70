//! A plant that was never built: machines with sensors, days, wear and repairs, the same for the same seed.
//!
//! ```
//! use gristmill_operators::simulate;
//!
//! // A hundred machines, ten rows a second of each, a day's worth as fast as it can be taken.
//! let plant = simulate::plant(100).seed(1).rate(10.0).rows(864_000).partitions(4);
//! assert!(plant.machine(3).failing || plant.machine(3).wear(plant.start_time()) == 0.0);
//! ```

mod machine;
mod plant;

pub use machine::Machine;
pub use plant::{Plant, plant};
