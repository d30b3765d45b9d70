//! What the tables `[limits]`, `[source]` and `[sink.NAME]` of a topology file mean.

mod fields;
mod files;
mod limits;
mod observed;
mod record;
mod sink;
mod source;

pub(crate) use fields::{Fields, Problem};
pub(crate) use files::Files;
pub(crate) use limits::limits;
pub(crate) use observed::{Counted, Letters, Observed, Traffic};
pub(crate) use sink::sink;
pub(crate) use source::{FileKind, Input, Intake, replaced, source};
