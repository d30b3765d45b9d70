//! Operators: the logic of a node. It is part of the plan and shared by all keys; what it remembers of a key is its
//! `State`, which the engine keeps, restores after a failure, and saves.

use std::fmt;
use std::ops::Range;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::words::{Column, ColumnMut, ColumnRef, ElementType, Time};

/// What an operator remembers of one key. Implemented for everything that can be cloned and written down.
pub trait State: Clone + Serialize + DeserializeOwned + Send + 'static {}

impl<T: Clone + Serialize + DeserializeOwned + Send + 'static> State for T {}

/// The logic of a node, for one key at a time.
///
/// An operator works row by row: what it writes into a row depends on that row, on the rows before it, and on nothing
/// else. How many rows come in one call is up to the engine, so state must be the same whether ten rows come in one
/// call or in ten. Most operators are closures (see [`crate::topology::provide`]); this trait is for those with state.
pub trait Operator: fmt::Debug + Send + Sync + 'static {
    /// What it remembers of one key; `()` for nothing.
    type State: State;

    /// Its name in plans and manifests, such as `rolling`.
    fn name(&self) -> &'static str;

    /// All that decides its results, as text: two operators of the same name and parameters are the same, and a node
    /// keeps its state when it is deployed again with the same.
    fn parameters(&self) -> String;

    /// Which version of [`Operator::State`] it writes; raise it when the meaning or layout of the state changes.
    fn state_version(&self) -> u32 {
        1
    }

    /// Is told the names and types of the needs and the provided streams of the node that it stands in, before
    /// [`Operator::check`]. An attribute is called `@name`, and an earlier value `previous(name)`. Most do not care.
    fn wire(&mut self, _needs: &[(String, ElementType)], _provides: &[(String, ElementType)]) {}

    /// Refuses needs and provides that it cannot work with.
    ///
    /// # Errors
    /// A text that says what it takes.
    fn check(&self, needs: &[ElementType], provides: &[ElementType]) -> Result<(), String>;

    /// The state of a key before its first row.
    fn start(&self) -> Self::State;

    /// Computes some rows of one key. Rows that lack a needed value do not come here, unless the node passes them.
    ///
    /// # Errors
    /// When a row cannot be computed. The engine restores the state, finds the row by computing them one by one,
    /// sends it to the dead letters and goes on. A panic is treated alike.
    fn run(&self, state: &mut Self::State, rows: &Rows<'_>, out: &mut Outputs<'_>) -> Result<(), RowError>;

    /// Whether [`Operator::run`] can fail or panic. Only those that can pay for a copy of the state.
    fn can_fail(&self) -> bool {
        true
    }

    /// Whether it makes rows of its own ([`Outputs::emit`]), as windows do, instead of one for each row it gets.
    fn own_rows(&self) -> bool {
        false
    }

    /// Whether what it writes into a row depends on that row alone: not on its time, nor on the rows before it. It can
    /// then get the rows of many keys in one call. Only asked of operators without state and rows of their own.
    fn row_by_row(&self) -> bool {
        false
    }

    /// Time has passed for a key without a row. Called only when [`Operator::own_rows`].
    ///
    /// # Errors
    /// As [`Operator::run`].
    fn tick(&self, _state: &mut Self::State, _now: Time, _out: &mut Outputs<'_>) -> Result<(), RowError> {
        Ok(())
    }

    /// Asks for what a key's state points to to be brought near: see [`prefetch`](crate::prefetch::prefetch). It is
    /// called a little before [`Operator::run`], and changes nothing.
    fn prefetch(&self, _state: &Self::State) {}

    /// Bytes of its parameters and artifact.
    fn bytes(&self) -> usize {
        0
    }
}

/// Some rows of one key: their times, and a column for each need.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    times: &'a [Time],
    needs: &'a [ColumnRef<'a>],
    /// Where these rows begin in `needs`, when they are a part of them.
    first: Option<usize>,
}

impl<'a> Rows<'a> {
    /// Rows at `times`, with as many values in each of `needs`.
    pub fn new(times: &'a [Time], needs: &'a [ColumnRef<'a>]) -> Self {
        debug_assert!(needs.iter().all(|need| need.len() == times.len()), "needs and times have the same rows");
        Self { times, needs, first: None }
    }

    /// Rows `rows` of those at `times`.
    #[inline]
    pub(crate) fn part_of(times: &'a [Time], needs: &'a [ColumnRef<'a>], rows: Range<usize>) -> Self {
        Self { times: &times[rows.clone()], needs, first: Some(rows.start) }
    }

    /// How many rows.
    #[inline]
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// The event time of each row, rising.
    #[inline]
    pub fn times(&self) -> &'a [Time] {
        self.times
    }

    /// How many needs there are.
    #[inline]
    pub fn needs(&self) -> usize {
        self.needs.len()
    }

    /// The values of all needs, unless these rows are a part of them.
    #[inline]
    pub(crate) fn columns(&self) -> Option<&'a [ColumnRef<'a>]> {
        self.first.is_none().then_some(self.needs)
    }

    /// The values of a need, a row each.
    #[inline]
    pub fn column(&self, need: usize) -> ColumnRef<'a> {
        let column = self.needs[need];
        self.first.map_or(column, |first| column.rows(first..first + self.times.len()))
    }

    /// The values of a need of `f32`.
    ///
    /// # Panics
    /// When the need is of another type; the resolver has checked it.
    #[inline]
    pub fn f32(&self, need: usize) -> &'a [f32] {
        match self.column(need) {
            ColumnRef::F32(values) => values,
            other => panic!("need {need} is of {}, not f32", other.element_type()),
        }
    }

    /// The values of a need of `f64`.
    ///
    /// # Panics
    /// As [`Rows::f32`].
    #[inline]
    pub fn f64(&self, need: usize) -> &'a [f64] {
        match self.column(need) {
            ColumnRef::F64(values) => values,
            other => panic!("need {need} is of {}, not f64", other.element_type()),
        }
    }

    /// A part of these rows.
    #[must_use]
    pub fn part(&self, rows: Range<usize>) -> Self {
        let first = self.first.unwrap_or(0) + rows.start;
        Self { times: &self.times[rows], needs: self.needs, first: Some(first) }
    }
}

/// Where an operator writes: for each provided stream a column with as many rows as came in, all missing at first;
/// or, for operators with rows of their own, rows that are appended.
#[derive(Debug)]
pub struct Outputs<'a> {
    columns: &'a mut [Column],
    rows: Range<usize>,
    own: Option<&'a mut OwnRows>,
    /// Number of the first row of this call among the rows of the key that came in, for [`OwnRows::from`].
    first_row: u32,
    /// Where a sensor counts, if somebody wants to know.
    bad: Option<&'a mut BadReadings>,
}

/// Readings that were there and that a sensor could not use, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BadReadings {
    pub(crate) nan: u64,
    pub(crate) out_of_range: u64,
}

impl BadReadings {
    #[inline]
    pub(crate) fn is_none(&self) -> bool {
        (self.nan, self.out_of_range) == (0, 0)
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.nan += other.nan;
        self.out_of_range += other.out_of_range;
    }
}

/// The rows an operator made: their times, and which incoming row each was made by.
#[derive(Debug, Default)]
pub struct OwnRows {
    /// Event time of each.
    pub times: Vec<Time>,
    /// The incoming row that let it be computed, from 0 for the first of the key's run.
    pub from: Vec<u32>,
}

impl<'a> Outputs<'a> {
    /// Rows `rows` of `columns`.
    pub fn new(columns: &'a mut [Column], rows: Range<usize>) -> Self {
        Self { columns, rows, own: None, first_row: 0, bad: None }
    }

    /// Rows that are appended to `columns` and `own`; `first_row` is the number of the first incoming row.
    pub fn own(columns: &'a mut [Column], own: &'a mut OwnRows, first_row: u32) -> Self {
        Self { columns, rows: 0..0, own: Some(own), first_row, bad: None }
    }

    /// How many rows can be written.
    #[inline]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no row can be written.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many streams are provided.
    pub fn provides(&self) -> usize {
        self.columns.len()
    }

    /// The rows of a provided stream.
    #[inline]
    pub fn column(&mut self, provided: usize) -> ColumnMut<'_> {
        self.columns[provided].rows_mut(self.rows.clone())
    }

    /// The rows of a provided stream of `f32`.
    ///
    /// # Panics
    /// When the stream is of another type; the resolver has checked it.
    #[inline]
    pub fn f32(&mut self, provided: usize) -> &mut [f32] {
        match &mut self.columns[provided] {
            Column::F32(values) => &mut values[self.rows.clone()],
            other => panic!("output {provided} is of {}, not f32", other.element_type()),
        }
    }

    /// The rows of a provided stream of `f64`.
    ///
    /// # Panics
    /// As [`Outputs::f32`].
    #[inline]
    pub fn f64(&mut self, provided: usize) -> &mut [f64] {
        match &mut self.columns[provided] {
            Column::F64(values) => &mut values[self.rows.clone()],
            other => panic!("output {provided} is of {}, not f64", other.element_type()),
        }
    }

    /// All provided streams at once, for kernels that write several.
    pub fn columns(&mut self) -> impl Iterator<Item = ColumnMut<'_>> {
        let rows = self.rows.clone();
        self.columns.iter_mut().map(move |column| column.rows_mut(rows.clone()))
    }

    /// A part of these rows, to write.
    pub fn part(&mut self, rows: Range<usize>) -> Outputs<'_> {
        let first_row = self.first_row + u32::try_from(rows.start).expect("a run has fewer than 2^32 rows");
        match &mut self.own {
            Some(own) => Outputs { columns: self.columns, rows: 0..0, own: Some(own), first_row, bad: None },
            None => {
                let rows = self.rows.start + rows.start..self.rows.start + rows.end;
                Outputs { columns: self.columns, rows, own: None, first_row, bad: self.bad.as_deref_mut() }
            }
        }
    }

    /// The same, to write with bad readings counted in `bad`.
    #[inline]
    pub(crate) fn counting<'b>(&'b mut self, bad: &'b mut BadReadings) -> Outputs<'b> {
        let (rows, own) = (self.rows.clone(), self.own.as_deref_mut());
        Outputs { columns: self.columns, rows, own, first_row: self.first_row, bad: Some(bad) }
    }

    /// Counts bad readings of a call.
    #[inline]
    pub(crate) fn count_bad(&mut self, bad: &BadReadings) {
        if let (false, Some(sum)) = (bad.is_none(), &mut self.bad) {
            sum.add(bad);
        }
    }

    /// Forgets the bad readings that were counted: their rows are computed again.
    pub(crate) fn uncount_bad(&mut self) {
        if let Some(sum) = &mut self.bad {
            **sum = BadReadings::default();
        }
    }

    /// Appends a row at `time` that the incoming row `row` let be computed, and gives the columns with this row as
    /// the last, all missing.
    ///
    /// # Panics
    /// When the operator has no rows of its own ([`Operator::own_rows`]).
    pub fn emit(&mut self, row: usize, time: Time) -> Outputs<'_> {
        let own = self.own.as_mut().expect("only operators with rows of their own emit");
        own.times.push(time);
        own.from.push(self.first_row + u32::try_from(row).expect("a run has fewer than 2^32 rows"));
        for column in self.columns.iter_mut() {
            column.push(None);
        }
        let last = own.times.len() - 1;
        Outputs { columns: self.columns, rows: last..last + 1, own: None, first_row: 0, bad: None }
    }

    /// How many rows of its own the operator has made so far in this frame.
    pub(crate) fn emitted(&self) -> usize {
        self.own.as_ref().map_or(0, |own| own.times.len())
    }

    /// Takes back what was written into `rows`, or emitted since `emitted`.
    pub(crate) fn undo(&mut self, rows: Range<usize>, emitted: usize) {
        if let Some(own) = &mut self.own {
            own.times.truncate(emitted);
            own.from.truncate(emitted);
            for column in self.columns.iter_mut() {
                column.truncate(emitted);
            }
        } else {
            for column in self.columns.iter_mut() {
                let mut column = column.rows_mut(self.rows.start + rows.start..self.rows.start + rows.end);
                (0..rows.len()).for_each(|row| column.set_missing(row));
            }
        }
    }
}

/// A row could not be computed, with the reason; or was refused, as a sensor does that was told so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RowError(pub String, Blame);

/// What is wrong where a row has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blame {
    /// The node, which failed.
    Node,
    /// The row.
    Row,
}

impl RowError {
    /// With this text as the reason; it goes to the dead letters.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into(), Blame::Node)
    }

    /// The row is no good, and goes to the dead letters: that is no failure of the node.
    pub(crate) fn refused(reason: impl Into<String>) -> Self {
        Self(reason.into(), Blame::Row)
    }

    /// Whether the row was refused: it counts as computed, and never leads to a quarantine.
    pub fn is_refusal(&self) -> bool {
        self.1 == Blame::Row
    }
}
