//! Statistics of the last rows: `rolling::mean(rows(60))`, `rolling::rms(span(Duration::from_secs(10)))`,
//! `rolling::stats(rows(60), [Stat::Mean, Stat::Std])`.
//!
//! A statistic depends on the rows inside its window and on nothing else: every window is added up anew, so nothing
//! drifts, and what a row gets does not depend on how rows are cut into calls. That costs time in proportion to the
//! rows of the window, for each row. A row that lacks the value does not come to the operator; where the node lets
//! it pass, it takes up a row of its window and is left out of what is computed.

mod by_rows;
pub(crate) mod by_span;
pub(crate) mod kernel;
mod operator;
pub(crate) mod stat;
#[cfg(test)]
mod tests;
pub(crate) mod values;

pub use by_span::Recent;
pub use operator::{
    History, MAX_ROWS_DEFAULT, MAX_ROWS_LIMIT, Parameters, Rolling, Window, count, from_parameters, max, mean, min,
    rms, rows, slope, span, stats, std, sum,
};
pub use stat::Stat;
pub use values::Values;
