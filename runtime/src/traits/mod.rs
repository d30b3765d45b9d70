//! What implementors write. None of it names an actor.

pub mod clock;
pub mod erased;
pub mod key_runs;
pub mod model;
pub mod operator;
pub mod sink;
pub mod source;

pub use clock::Clock;
pub use erased::{AnyOperator, AnyTable};
pub use key_runs::KeyRuns;
pub use model::{Digest, Format, LoadError, Model, Port, ScoreError};
pub(crate) use operator::BadReadings;
pub use operator::{Operator, Outputs, OwnRows, RowError, Rows, State};
pub use sink::{Done, Sink, SinkError, SinkFrame, SinkRow, SinkWriter};
pub use source::{Axes, Batch, Decode, RawRecord, Records, RowsRecord, Source, SourceError};
