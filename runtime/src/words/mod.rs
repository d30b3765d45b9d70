//! Plain data: names, types, columns, times. No actors, no I/O, no clock.

pub mod column;
mod column_mut;
pub mod element;
pub mod id;
pub mod stream;
pub mod time;
pub mod trace;

pub use column::{Column, ColumnRef};
pub use column_mut::ColumnMut;
pub use element::{Element, ElementType, Value};
pub use id::{
    Binding, Class, Key, KeyIndex, NAME_BYTES_MAX, NodeId, Offset, PartitionIndex, Revision, ShardIndex, StreamName,
    check_name,
};
pub use stream::{Attribute, Stream};
pub use time::{Cause, Position, Span, Time};
pub use trace::{TraceParent, Traces};
