//! The operator, and how it is described.

use std::sync::Arc;

use gristmill::traits::{AnyOperator, Operator, Outputs, RowError, Rows};
use gristmill::words::{ElementType, Span};
use serde::{Deserialize, Serialize};

use super::by_rows;
use super::by_span::{self, Recent};
use super::stat::{Stat, Summary};
use super::values::Values;
use crate::span_text;

/// Rows that a window may hold unless the node says otherwise.
pub const MAX_ROWS_DEFAULT: usize = 100_000;
/// Rows that a window may hold whatever the node says: 16 MB of state for each key. A lag of texts takes 24 MB for as many, and
/// what texts of more than 23 bytes have.
pub const MAX_ROWS_LIMIT: usize = 1_000_000;

/// How far back a window goes from its row, which is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// So many rows, its own among them.
    Rows(usize),
    /// The rows of so much event time: those less than this older, and its own.
    Span(Span),
}

/// A window of the last `rows` rows, its own among them.
pub fn rows(rows: usize) -> Window {
    Window::Rows(rows)
}

/// A window of the last `span` of event time: open at its old end, so a row exactly `span` older is not in it.
pub fn span(span: impl Into<Span>) -> Window {
    Window::Span(span.into())
}

/// Statistics of the last rows, one for each provided stream: see [the module](super).
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Rolling {
    window: Window,
    summary: Summary,
    max_rows: usize,
}

/// Several statistics over one window, in the order of the provided streams.
///
/// ```
/// use std::time::Duration;
/// use gristmill::topology::provide;
/// use gristmill::Stream;
/// use gristmill_operators::rolling::{self, Stat, rows, span};
/// const VIBRATION: Stream<f32> = Stream::new("vibration"); // mm/s
/// const MEAN: Stream<f32> = Stream::new("vibration.mean"); // mm/s
/// const STD: Stream<f64> = Stream::new("vibration.std"); // mm/s
/// const TREND: Stream<f32> = Stream::new("vibration.trend"); // mm/s²
/// let over_rows = provide((MEAN, STD)).needs(VIBRATION).by(rolling::stats(rows(60), [Stat::Mean, Stat::Std]));
/// let over_time = provide(TREND).needs(VIBRATION).by(rolling::slope(span(Duration::from_secs(60))).min_rows(10));
/// assert_eq!(over_rows.provides.len(), 2);
/// assert_eq!(over_time.provides.len(), 1);
/// ```
pub fn stats(window: Window, stats: impl IntoIterator<Item = Stat>) -> Rolling {
    Rolling { window, summary: Summary::new(stats.into_iter().collect()), max_rows: MAX_ROWS_DEFAULT }
}

macro_rules! one {
    ($($name:ident $stat:ident $what:literal),+ $(,)?) => {$(
        #[doc = concat!($what, " of the values in the window; see [`Stat::", stringify!($stat), "`].")]
        pub fn $name(window: Window) -> Rolling {
            stats(window, [Stat::$stat])
        }
    )+};
}
one!(
    mean Mean "Mean",
    std Std "Standard deviation",
    min Min "Smallest",
    max Max "Largest",
    rms Rms "Root of the mean of the squares",
    slope Slope "Slope by least squares, a second or a row,",
    count Count "Number",
    sum Sum "Sum",
);

impl Rolling {
    /// What the standard deviation takes off the number of values: 0 (the population's) unless said, 1 for that of
    /// a sample. Missing where there are no more values than this.
    pub fn ddof(mut self, ddof: u32) -> Self {
        self.summary.ddof = ddof;
        self
    }

    /// With fewer values than this in its window, a row's statistics are missing; 1 unless said.
    pub fn min_rows(mut self, rows: usize) -> Self {
        self.summary.min_rows = rows;
        self
    }

    /// Rows that a window of time may hold; the row that would be one more fails. [`MAX_ROWS_DEFAULT`] unless said.
    pub fn max_rows(mut self, rows: usize) -> Self {
        self.max_rows = rows;
        self
    }
}

crate::types::accepts_floats!(Rolling);

/// What is remembered of a key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum History {
    /// The last rows but one of a window of rows.
    Rows(Values),
    /// The rows of a window of time.
    Span(Box<Recent>),
}

impl Operator for Rolling {
    type State = History;

    fn name(&self) -> &'static str {
        "rolling"
    }

    fn parameters(&self) -> String {
        match self.window {
            Window::Rows(rows) => format!("rows {rows} {}", self.summary),
            Window::Span(span) => format!("span {span} {} max_rows {}", self.summary, self.max_rows),
        }
    }

    fn check(&self, needs: &[ElementType], provides: &[ElementType]) -> Result<(), String> {
        self.summary.check(needs, provides)?;
        let most = match self.window {
            Window::Rows(0) => return Err("`rows` is 0; a window has at least 1".to_owned()),
            Window::Span(span) if span <= Span::ZERO => return Err("`span` is not above 0".to_owned()),
            Window::Rows(rows) => rows,
            Window::Span(_) => self.max_rows,
        };
        if most > MAX_ROWS_LIMIT {
            return Err(format!("a window of up to {most} rows is more than {MAX_ROWS_LIMIT}"));
        }
        let least = self.summary.min_rows.max(self.summary.ddof as usize + 1);
        if least > most {
            return Err(format!("it wants at least {least} rows (`min_rows`, `ddof`) of a window of up to {most}"));
        }
        Ok(())
    }

    fn start(&self) -> History {
        match self.window {
            Window::Rows(_) => History::Rows(Values::default()),
            Window::Span(_) => History::Span(Box::default()),
        }
    }

    fn can_fail(&self) -> bool {
        matches!(self.window, Window::Span(_))
    }

    fn prefetch(&self, state: &History) {
        if let History::Rows(held) = state {
            held.prefetch();
        }
    }

    fn run(&self, state: &mut History, rows: &Rows<'_>, out: &mut Outputs<'_>) -> Result<(), RowError> {
        match (self.window, state) {
            (Window::Rows(length), History::Rows(held)) => {
                by_rows::run(&self.summary, length, held, rows.column(0), out);
                Ok(())
            }
            (Window::Span(span), History::Span(recent)) => {
                by_span::run(&self.summary, (span, self.max_rows), recent, rows, out)
            }
            _ => Err(RowError::new("the state is of a window of another kind")),
        }
    }
}

/// How a manifest describes it: `{"rows": 60, "stats": ["mean", "std"]}` or `{"span": "60s", "stats": ["slope"]}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// The window's rows; or else `span`.
    pub rows: Option<usize>,
    /// The window's event time, as text: `500ms`, `60s`, `5min`, `2h`; or else `rows`.
    #[serde(default, deserialize_with = "span_text::optional")]
    pub span: Option<Span>,
    /// One for each provided stream, in their order.
    pub stats: Vec<Stat>,
    /// See [`Rolling::ddof`].
    #[serde(default)]
    pub ddof: u32,
    /// See [`Rolling::min_rows`].
    #[serde(default = "crate::parameters::one")]
    pub min_rows: usize,
    /// See [`Rolling::max_rows`]; only with `span`.
    pub max_rows: Option<usize>,
}

impl TryFrom<Parameters> for Rolling {
    type Error = String;

    fn try_from(parameters: Parameters) -> Result<Self, String> {
        let window = match (parameters.rows, parameters.span) {
            (Some(_), None) if parameters.max_rows.is_some() => return Err("`max_rows` goes with `span`".to_owned()),
            (Some(rows), None) => Window::Rows(rows),
            (None, Some(span)) => Window::Span(span),
            _ => return Err("give either `rows` or `span`".to_owned()),
        };
        let rolling = stats(window, parameters.stats).ddof(parameters.ddof).min_rows(parameters.min_rows);
        Ok(rolling.max_rows(parameters.max_rows.unwrap_or(MAX_ROWS_DEFAULT)))
    }
}

/// A rolling operator as a manifest describes it ([`Parameters`]).
///
/// # Errors
/// A text that says what is wrong with the parameters or the types.
pub fn from_parameters(
    parameters: &serde_json::Value,
    needs: &[ElementType],
    provides: &[ElementType],
) -> Result<Arc<dyn AnyOperator>, String> {
    crate::parameters::checked(Rolling::try_from(crate::parameters::read::<Parameters>(parameters)?)?, needs, provides)
}
