//! From what the user wants to what runs: nodes, their resolution, plans and their differences. Pure functions over
//! plain data.

pub mod attribute_file;
pub mod attributes;
mod axes;
pub mod bits;
pub mod build;
pub(crate) mod check;
mod cycles;
pub mod declared;
pub mod diff;
pub mod function;
pub mod graph;
pub mod held;
pub(crate) mod key_graph;
pub mod manifest;
mod names;
pub mod need;
pub mod node;
pub mod plan;
mod print;
pub mod problem;
pub mod registry;
pub mod replay;
pub mod resolve;
mod resolve_base;
mod resolve_key;
pub mod resolve_members;
pub mod scorer;
pub mod selector;
pub mod sensor;
mod shared;
pub mod twins;
pub mod variant;

pub use attribute_file::read_attributes;
pub use attributes::{AttributeError, Attributes, KeyAttributes};
pub use build::{IntoNode, all_models, matching, provide, sink};
pub use function::{Accepts, Logic};
pub use graph::Topology;
pub use manifest::{Manifest, ManifestErrors, TopologyFile};
pub use need::{Need, NeedKind, optional, previous};
pub use node::{Ask, Family, Missing, Node, NodeKind, RowRule, SinkNode, Slow, Work};
pub use registry::{Factory, Registry, nearest};
pub use selector::{Pattern, Selector};
pub use sensor::{BadReading, Cleaning, sensor};
