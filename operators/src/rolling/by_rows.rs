//! Windows of the last so many rows.

use gristmill::traits::Outputs;
use gristmill::words::ColumnRef;

use super::kernel::LANES;
use super::stat::{Axis, Summary};
use super::values::{Values, any_missing, copy_numbers, with_buffer};

/// Rows that are computed over one copy of the remembered ones.
const CHUNK: usize = 4 * LANES;

/// Writes the statistics of the last `length` rows of each row of `column`. `held` are the `length` - 1 before.
pub(super) fn run(summary: &Summary, length: usize, held: &mut Values, column: ColumnRef<'_>, out: &mut Outputs<'_>) {
    for first in (0..column.len()).step_by(CHUNK) {
        let rows = first..column.len().min(first + CHUNK);
        let chunk = column.rows(rows.clone());
        let before = held.len();
        let end = before + chunk.len();
        with_buffer(end + LANES, |values| {
            held.copy_to(&mut values[..before]);
            copy_numbers(chunk, &mut values[before..end]);
            let window = |row: usize| (before + row + 1).saturating_sub(length)..before + row + 1;
            if any_missing(&values[..end]) {
                sparse(summary, &values[..end], window, rows, out);
            } else if before + 1 == length {
                summary.sliding(values, length, rows, out);
            } else {
                summary.ragged(values, window, &Axis { place: |value| value as i64, unit: 1.0 }, rows, out);
            }
        });
        held.push(chunk, length - 1);
    }
}

/// With missing values, which take up rows of their windows but are left out of what is computed.
#[cold]
fn sparse(
    summary: &Summary,
    values: &[f64],
    window: impl Fn(usize) -> std::ops::Range<usize>,
    rows: std::ops::Range<usize>,
    out: &mut Outputs<'_>,
) {
    let (mut present, mut places) = (Vec::with_capacity(values.len()), Vec::with_capacity(values.len()));
    let mut present_before = vec![0];
    for (place, value) in values.iter().enumerate() {
        if !value.is_nan() {
            present.push(*value);
            places.push(place as i64);
        }
        present_before.push(present.len());
    }
    let window = |row| {
        let window = window(row);
        present_before[window.start]..present_before[window.end]
    };
    summary.ragged(&present, window, &Axis { place: |value: usize| places[value], unit: 1.0 }, rows, out);
}
