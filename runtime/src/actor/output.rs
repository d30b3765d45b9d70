//! What a node writes in a frame: columns on the rows it ran on, or rows of its own.

use std::sync::Arc;

use smallvec::SmallVec;

use super::frame::Axis;
use crate::topology::plan::PlanNode;
use crate::traits::{Outputs, OwnRows};
use crate::words::{Cause, Column, Time};

/// Columns in the making.
pub(crate) struct Buffer {
    pub(crate) columns: SmallVec<[Column; 1]>,
    rows: Rows,
}

enum Rows {
    /// On an axis of the frame; the columns have a row for each of its rows, or, for a node of one key, for each row
    /// of that key.
    Shared { axis: Arc<Axis>, only_run: Option<usize> },
    /// Rows of the node's own, appended key by key.
    Built { axis: Axis, own: OwnRows },
}

/// What came out.
pub(crate) struct Finished {
    pub(crate) axis: Arc<Axis>,
    pub(crate) columns: SmallVec<[Column; 1]>,
}

impl Buffer {
    /// For outputs on `axis`; of all its keys, or only of the key at `only_run`.
    pub(crate) fn shared(plan: &PlanNode, axis: Arc<Axis>, only_run: Option<usize>) -> Self {
        let rows = only_run.map_or(axis.times.len(), |run| axis.run(run).len());
        let columns = plan.streams.iter().map(|(_, element)| Column::missing(*element, rows)).collect();
        Self { columns, rows: Rows::Shared { axis, only_run } }
    }

    /// For outputs on rows of the node's own.
    pub(crate) fn built(plan: &PlanNode) -> Self {
        let columns = plan.streams.iter().map(|(_, element)| Column::with_capacity(*element, 0)).collect();
        Self { columns, rows: Rows::Built { axis: Axis::default(), own: OwnRows::default() } }
    }

    /// Whether the outputs have a row for each row of this axis, for all keys.
    pub(crate) fn is_on(&self, of: &Axis) -> bool {
        matches!(&self.rows, Rows::Shared { axis, only_run: None } if std::ptr::eq(&**axis, of))
    }

    /// Begins the rows of a key, which the node ran on: where their outputs begin in the columns.
    pub(crate) fn begin(&mut self, run: usize, times: &[Time], causes: &[Cause], emits: bool) -> usize {
        match &mut self.rows {
            Rows::Shared { only_run: Some(_), .. } => 0,
            Rows::Shared { axis, only_run: None } => {
                debug_assert_eq!(axis.run(run).len(), times.len(), "a shared axis has the rows the node ran on");
                axis.run(run).start
            }
            Rows::Built { axis, .. } => {
                let start = axis.times.len();
                if !emits {
                    axis.times.extend_from_slice(times);
                    axis.causes.extend_from_slice(causes);
                    self.columns.iter_mut().for_each(|column| column.extend_missing(times.len()));
                }
                start
            }
        }
    }

    /// Rows `start..start + rows` to write; for an operator with rows of its own, where to append.
    pub(crate) fn outputs(&mut self, start: usize, rows: usize, emits: bool) -> Outputs<'_> {
        match &mut self.rows {
            Rows::Built { own, .. } if emits => Outputs::own(&mut self.columns, own, 0),
            _ => Outputs::new(&mut self.columns, start..start + rows),
        }
    }

    /// After an operator with rows of its own has run on rows with these causes: gives its new rows their causes.
    pub(crate) fn caused(&mut self, cause_of: impl Fn(usize) -> Cause) {
        if let Rows::Built { axis, own } = &mut self.rows {
            let new = axis.times.len();
            axis.times.extend_from_slice(&own.times[new..]);
            axis.causes.extend(own.from[new..].iter().map(|from| cause_of(*from as usize)));
        }
    }

    /// Ends the rows of a key.
    pub(crate) fn end(&mut self) {
        if let Rows::Built { axis, .. } = &mut self.rows {
            axis.end_run();
        }
    }

    /// The columns and their rows.
    pub(crate) fn finish(self) -> Finished {
        let axis = match self.rows {
            Rows::Shared { axis, .. } => axis,
            Rows::Built { axis, .. } => Arc::new(axis),
        };
        Finished { axis, columns: self.columns }
    }
}
