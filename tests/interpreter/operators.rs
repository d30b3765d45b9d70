//! Operators for cases: each remembers, fails or makes rows in a way that the engine must not get wrong.

use std::sync::Arc;

use gristmill::topology::{Need, Node, NodeKind, Work};
use gristmill::traits::{Operator, Outputs, RowError, Rows};
use gristmill::words::{ColumnMut, ColumnRef, ElementType, StreamName, Time};

use super::kernel::ON_PURPOSE;

/// A node that runs an operator.
pub fn operator_node(
    id: &str,
    needs: Vec<Need>,
    provides: Vec<(StreamName, ElementType)>,
    operator: impl Operator,
) -> Node {
    Node::new(id, NodeKind::Operator, needs, provides, Work::Operator(Arc::new(operator)))
}

/// A value of any type as a number; `None` when it is missing.
fn number(column: ColumnRef<'_>, row: usize) -> Option<f64> {
    if column.is_missing(row) {
        return None;
    }
    Some(match column {
        ColumnRef::Str(values) => values[row].as_ref().map_or(0.0, |text| text.bytes().map(f64::from).sum()),
        ColumnRef::Vector { width, values } => {
            values[row * width..(row + 1) * width].iter().copied().map(f64::from).sum()
        }
        _ => column.number(row),
    })
}

/// Writes a number as a value of any type; NaN is missing.
fn write(column: &mut ColumnMut<'_>, row: usize, number: f64) {
    match column {
        _ if number.is_nan() => column.set_missing(row),
        ColumnMut::F32(values) => values[row] = number as f32,
        ColumnMut::F64(values) => values[row] = number,
        ColumnMut::I64(values) => values[row] = (number as i64).clamp(-1_000_000, 1_000_000),
        ColumnMut::Bool(values) => values[row] = Some(number as i64 % 3 != 0),
        ColumnMut::Str(values) => values[row] = Some(format!("is {number}").into()),
        ColumnMut::Vector { width, values } => {
            for (place, value) in values[row * *width..(row + 1) * *width].iter_mut().enumerate() {
                // The last of them is not a number at times: the value is there all the same.
                let hole = place > 0 && number > 50.0;
                *value = if hole { f32::NAN } else { (number + place as f64) as f32 };
            }
        }
    }
}

/// All needs of a row in one number; a missing one counts as a half.
fn mixed(rows: &Rows<'_>, row: usize, salt: i64) -> f64 {
    (0..rows.needs()).fold(salt as f64, |sum, need| sum * 0.5 + number(rows.column(need), row).unwrap_or(0.5))
}

/// Any needs to any outputs, without memory. Some of its outputs are missing.
#[derive(Debug)]
pub struct Mix {
    /// Makes it another operator.
    pub salt: i64,
}

impl Operator for Mix {
    type State = ();

    fn name(&self) -> &'static str {
        "mix"
    }

    fn parameters(&self) -> String {
        self.salt.to_string()
    }

    fn check(&self, _needs: &[ElementType], _provides: &[ElementType]) -> Result<(), String> {
        Ok(())
    }

    fn start(&self) {}

    fn can_fail(&self) -> bool {
        false
    }

    fn row_by_row(&self) -> bool {
        true
    }

    fn run(&self, _state: &mut (), rows: &Rows<'_>, out: &mut Outputs<'_>) -> Result<(), RowError> {
        for row in 0..rows.len() {
            let sum = mixed(rows, row, self.salt);
            for (place, mut column) in out.columns().enumerate() {
                let missing = place > 0 && sum as i64 % 5 == 0;
                write(&mut column, row, if missing { f64::NAN } else { sum + place as f64 });
            }
        }
        Ok(())
    }
}

/// The sum of everything so far, and how many rows had something missing.
#[derive(Debug)]
pub struct Sum {
    /// Each value is multiplied by this.
    pub scale: i64,
}

impl Operator for Sum {
    type State = (f64, i64);

    fn name(&self) -> &'static str {
        "sum"
    }

    fn parameters(&self) -> String {
        self.scale.to_string()
    }

    fn check(&self, _needs: &[ElementType], _provides: &[ElementType]) -> Result<(), String> {
        Ok(())
    }

    fn start(&self) -> (f64, i64) {
        (0.0, 0)
    }

    fn can_fail(&self) -> bool {
        false
    }

    fn run(&self, state: &mut (f64, i64), rows: &Rows<'_>, out: &mut Outputs<'_>) -> Result<(), RowError> {
        for row in 0..rows.len() {
            for need in 0..rows.needs() {
                match number(rows.column(need), row) {
                    Some(number) if number.is_finite() => state.0 += number * 0.1 * self.scale as f64,
                    _ => state.1 += 1,
                }
            }
            let (sum, holes) = *state;
            for (place, mut column) in out.columns().enumerate() {
                write(&mut column, row, sum + (place as i64 * holes) as f64);
            }
        }
        Ok(())
    }
}

/// What the first need was some rows ago; missing before that.
#[derive(Debug)]
pub struct Lag {
    /// So many rows.
    pub rows: usize,
}

impl Operator for Lag {
    type State = Vec<f64>;

    fn name(&self) -> &'static str {
        "lag"
    }

    fn parameters(&self) -> String {
        self.rows.to_string()
    }

    fn check(&self, _needs: &[ElementType], _provides: &[ElementType]) -> Result<(), String> {
        Ok(())
    }

    fn start(&self) -> Vec<f64> {
        Vec::new()
    }

    fn can_fail(&self) -> bool {
        false
    }

    fn run(&self, state: &mut Vec<f64>, rows: &Rows<'_>, out: &mut Outputs<'_>) -> Result<(), RowError> {
        for row in 0..rows.len() {
            state.push(number(rows.column(0), row).unwrap_or(f64::NAN));
            let lagged = if state.len() > self.rows { state.remove(0) } else { f64::NAN };
            for mut column in out.columns() {
                write(&mut column, row, lagged);
            }
        }
        Ok(())
    }
}

/// How a [`Fragile`] fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fails {
    /// It panics.
    Panics,
    /// It returns an error.
    Errs,
}

/// Counts its rows and fails on some of them, after it has changed its state and written half of the row.
#[derive(Debug)]
pub struct Fragile {
    /// How.
    pub fails: Fails,
    /// On how many of a hundred values, about.
    pub percent: i64,
}

impl Operator for Fragile {
    type State = (i64, f64);

    fn name(&self) -> &'static str {
        "fragile"
    }

    fn parameters(&self) -> String {
        format!("{:?} {}", self.fails, self.percent)
    }

    fn check(&self, _needs: &[ElementType], _provides: &[ElementType]) -> Result<(), String> {
        Ok(())
    }

    fn start(&self) -> (i64, f64) {
        (0, 0.0)
    }

    fn run(&self, state: &mut (i64, f64), rows: &Rows<'_>, out: &mut Outputs<'_>) -> Result<(), RowError> {
        for row in 0..rows.len() {
            let value = mixed(rows, row, 1);
            state.0 += 1;
            state.1 = state.1 * 0.5 + value;
            let (count, sum) = *state;
            let bad = fails_on(value, self.percent);
            for (place, mut column) in out.columns().enumerate() {
                write(&mut column, row, sum + count as f64 * (place + 1) as f64);
                if bad {
                    break;
                }
            }
            if bad && self.fails == Fails::Panics {
                panic!("{ON_PURPOSE}cannot bear {value}");
            } else if bad {
                return Err(RowError::new(format!("will not have {value}")));
            }
        }
        Ok(())
    }
}

fn fails_on(value: f64, percent: i64) -> bool {
    value.is_finite() && ((value * 8.0) as i64).rem_euclid(100) < percent
}

/// A window of fixed width: sum and number of its values, at the window's end, once a row or tick has got there. It
/// fails on some values, and at ticks that close windows of some sums, after it has closed the window.
#[derive(Debug)]
pub struct Tumble {
    /// Width in microseconds.
    pub width: i64,
    /// On how many of a hundred values it fails, about.
    pub fails_percent: i64,
}

/// End of the open window, sum, number of values, end of the last closed window.
type Open = (Option<i64>, f64, i64, i64);

impl Tumble {
    fn close(state: &mut Open, row: usize, now: Time, out: &mut Outputs<'_>) {
        let (Some(end), sum, count, _) = *state else { return };
        if now.0 >= end {
            let mut made = out.emit(row, Time(end));
            for (place, mut column) in made.columns().enumerate() {
                write(&mut column, 0, if place % 2 == 0 { sum } else { count as f64 });
            }
            *state = (None, 0.0, 0, end);
        }
    }
}

impl Operator for Tumble {
    type State = Open;

    fn name(&self) -> &'static str {
        "tumble"
    }

    fn parameters(&self) -> String {
        format!("{} {}", self.width, self.fails_percent)
    }

    fn check(&self, _needs: &[ElementType], _provides: &[ElementType]) -> Result<(), String> {
        Ok(())
    }

    fn start(&self) -> Open {
        (None, 0.0, 0, i64::MIN)
    }

    fn own_rows(&self) -> bool {
        true
    }

    fn run(&self, state: &mut Open, rows: &Rows<'_>, out: &mut Outputs<'_>) -> Result<(), RowError> {
        for row in 0..rows.len() {
            let (time, value) = (rows.times()[row], mixed(rows, row, 0));
            Self::close(state, row, time, out);
            if fails_on(value, self.fails_percent) {
                return Err(RowError::new(format!("no window for {value}")));
            }
            let end = (time.0.div_euclid(self.width) + 1) * self.width;
            if end > state.3 {
                *state = (Some(end), state.1 + value, state.2 + 1, state.3);
            }
        }
        Ok(())
    }

    fn tick(&self, state: &mut Open, now: Time, out: &mut Outputs<'_>) -> Result<(), RowError> {
        let (end, sum, ..) = *state;
        Self::close(state, 0, now, out);
        if end.is_some_and(|end| now.0 >= end) && fails_on(sum, self.fails_percent) {
            return Err(RowError::new(format!("no end for {sum}")));
        }
        Ok(())
    }
}
