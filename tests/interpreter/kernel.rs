//! Calls an operator or a model with one row.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use gristmill::traits::{AnyOperator, AnyTable, Model, Outputs, OwnRows, RowError, Rows};
use gristmill::words::{Column, ElementType, KeyIndex, StreamName, Time, Value};

/// Every state table of the interpreter holds one key.
const KEY: KeyIndex = KeyIndex(0);

/// Values of the provided streams, in order.
pub(crate) type Values = Vec<Option<Value>>;

/// Why a row failed.
pub(crate) struct Failure {
    pub(crate) reason: String,
    pub(crate) panicked: bool,
    /// Whether the row was no good, and the node did not fail.
    pub(crate) refused: bool,
    /// How many rows of its own had been made and were taken back.
    pub(crate) undone: usize,
}

/// A column of one value.
pub(crate) fn one(element: ElementType, value: Option<&Value>) -> Column {
    let mut column = Column::with_capacity(element, 1);
    column.push(value);
    column
}

/// The table for one key's state.
pub(crate) fn table(operator: &dyn AnyOperator) -> Box<dyn AnyTable> {
    operator.table(false)
}

/// One row in, one row out.
pub(crate) fn run(
    operator: &dyn AnyOperator,
    table: &mut dyn AnyTable,
    time: Time,
    needs: &[Column],
    provides: &[(StreamName, ElementType)],
) -> Result<Values, Failure> {
    let mut columns: Vec<Column> = provides.iter().map(|(_, element)| Column::missing(*element, 1)).collect();
    let needs: Vec<_> = needs.iter().map(Column::as_ref).collect();
    let times = [time];
    let rows = Rows::new(&times, &needs);
    guarded(table, |table| operator.run(table, KEY, &rows, &mut Outputs::new(&mut columns, 0..1)))?;
    Ok(columns.iter().map(|column| column.as_ref().value(0)).collect())
}

/// What an operator with rows of its own is called with.
pub(crate) enum Call<'a> {
    Row(Time, &'a [Column]),
    Tick(Time),
}

/// One row or tick in, any number of rows out.
pub(crate) fn run_own(
    operator: &dyn AnyOperator,
    table: &mut dyn AnyTable,
    call: &Call<'_>,
    provides: &[(StreamName, ElementType)],
) -> Result<Vec<(Time, Values)>, Failure> {
    let mut columns: Vec<Column> = provides.iter().map(|(_, element)| Column::with_capacity(*element, 0)).collect();
    let mut own = OwnRows::default();
    let result = guarded(table, |table| {
        let mut out = Outputs::own(&mut columns, &mut own, 0);
        match call {
            Call::Row(time, needs) => {
                let needs: Vec<_> = needs.iter().map(Column::as_ref).collect();
                operator.run(table, KEY, &Rows::new(&[*time], &needs), &mut out)
            }
            Call::Tick(now) => operator.tick(table, KEY, *now, &mut out),
        }
    });
    if let Err(failure) = result {
        return Err(Failure { undone: own.times.len(), ..failure });
    }
    let values = |row| columns.iter().map(|column| column.as_ref().value(row)).collect();
    Ok(own.times.iter().enumerate().map(|(row, time)| (*time, values(row))).collect())
}

/// One row in, one row out. What a model reads is cast to what it wants.
pub(crate) fn score(
    model: &dyn Model,
    needs: &[Column],
    provides: &[(StreamName, ElementType)],
) -> Result<Values, Failure> {
    let inputs: Vec<Column> = model.inputs().iter().zip(needs).map(|(port, need)| cast(need, port.element)).collect();
    let inputs: Vec<_> = inputs.iter().map(Column::as_ref).collect();
    let mut columns: Vec<Column> = provides.iter().map(|(_, element)| Column::missing(*element, 1)).collect();
    let mut outputs: Vec<_> = columns.iter_mut().map(Column::as_mut).collect();
    let scored = catch(|| model.score(&inputs, &mut outputs).map_err(|error| RowError::new(error.0)));
    scored?;
    Ok(columns.iter().map(|column| column.as_ref().value(0)).collect())
}

fn cast(need: &Column, element: ElementType) -> Column {
    if need.element_type() == element {
        return need.clone();
    }
    let number = need.as_ref().value(0).and_then(|value| value.as_f64());
    let value = number.and_then(|number| match element {
        ElementType::F32 => Some(Value::F32(number as f32)),
        ElementType::F64 => Some(Value::F64(number)),
        _ => None,
    });
    one(element, value.as_ref())
}

/// Calls, and puts the state back when the call fails.
fn guarded(
    table: &mut dyn AnyTable,
    call: impl FnOnce(&mut dyn AnyTable) -> Result<(), RowError>,
) -> Result<(), Failure> {
    let before = table.save(KEY);
    let result = catch(|| call(table));
    if result.is_err() {
        table.restore(KEY, before);
    }
    result
}

fn catch(call: impl FnOnce() -> Result<(), RowError>) -> Result<(), Failure> {
    silence_panics();
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            let refused = error.is_refusal();
            Err(Failure { reason: error.0, panicked: false, refused, undone: 0 })
        }
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let reason = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            Err(Failure { reason, panicked: true, refused: false, undone: 0 })
        }
    }
}

/// What panics on purpose begin with.
pub(crate) const ON_PURPOSE: &str = "on purpose: ";

/// Keeps panics on purpose from filling the output of tests: the hook is the process's, so of the engine's runs too.
fn silence_panics() {
    static SILENCED: Once = Once::new();
    SILENCED.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<String>().map(String::as_str);
            if !text.or_else(|| info.payload().downcast_ref::<&str>().copied()).unwrap_or("").starts_with(ON_PURPOSE) {
                report(info);
            }
        }));
    });
}
