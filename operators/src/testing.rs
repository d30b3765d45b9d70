//! Runs operators in tests the way the engine does, with every cut of the rows into calls, and with the state written
//! down and read back between two calls.

use gristmill::traits::{Operator, Outputs, Rows};
use gristmill::words::{Column, ColumnRef, ElementType, Time};

/// What comes out, and the state at the end as bytes, for rows that are 100 ms apart and cut before the rows `cuts`.
pub(crate) fn run(
    operator: &impl Operator,
    column: ColumnRef<'_>,
    provides: &[ElementType],
    cuts: &[usize],
) -> (Vec<Column>, Vec<u8>) {
    let times: Vec<Time> = (0..column.len() as i64).map(|row| Time::from_millis(100 * row)).collect();
    run_at(operator, &times, column, provides, cuts)
}

/// As [`run`], at these times.
pub(crate) fn run_at<O: Operator>(
    operator: &O,
    times: &[Time],
    column: ColumnRef<'_>,
    provides: &[ElementType],
    cuts: &[usize],
) -> (Vec<Column>, Vec<u8>) {
    let config = bincode::config::standard();
    let encode = |state: &O::State| bincode::serde::encode_to_vec(state, config).expect("a state can be written");
    Operator::check(operator, &[column.element_type()], provides).expect("the operator takes these types");
    let mut state = operator.start();
    let mut columns: Vec<Column> = provides.iter().map(|element| Column::missing(*element, times.len())).collect();
    let ends = cuts.iter().copied().chain([times.len()]).filter(|end| *end <= times.len());
    let mut first = 0;
    for end in ends {
        let needs = [column.rows(first..end)];
        let mut out = Outputs::new(&mut columns, first..end);
        operator.run(&mut state, &Rows::new(&times[first..end], &needs), &mut out).expect("no row fails");
        state = bincode::serde::decode_from_slice(&encode(&state), config).expect("what was written can be read").0;
        first = end;
    }
    (columns, encode(&state))
}
