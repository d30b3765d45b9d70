//! Blocks of rows: columns in, lanes through the kernel, columns out.

use std::borrow::Cow;
use std::cell::Cell;

use gristmill::traits::{Port, ScoreError};
use gristmill::words::{ColumnMut, ColumnRef, ElementType};

/// Rows of a block.
pub(crate) const LANES: usize = 16;

/// One value for each row of a block.
pub(crate) type Lanes = [f32; LANES];

thread_local! {
    // Kept by the thread, so that scoring allocates only until it has met its largest model.
    static SCRATCH: Cell<Vec<Lanes>> = const { Cell::new(Vec::new()) };
}

/// Columns of `f32` without names. All models of up to so many share one list: a list of each model's own would be a
/// few cold lines of the cache in every call.
pub(crate) fn ports(count: usize) -> Cow<'static, [Port]> {
    const PORT: Port = Port { name: None, element: ElementType::F32 };
    static SHARED: [Port; 256] = [PORT; 256];
    SHARED.get(..count).map_or_else(|| Cow::Owned(vec![PORT; count]), Cow::Borrowed)
}

/// Runs `block` over the rows of `inputs`, `LANES` at a time: it gets the number of the first row, how many rows the
/// block has, and `registers` lanes whose first ones hold the inputs (a vector input takes one for each element).
pub(crate) fn each_block(
    inputs: &[ColumnRef<'_>],
    registers: usize,
    mut block: impl FnMut(usize, usize, &mut [Lanes]),
) -> Result<(), ScoreError> {
    let rows = inputs.first().map_or(0, ColumnRef::len);
    let mut scratch = SCRATCH.take();
    if scratch.len() < registers {
        scratch.resize(registers, [0.0; LANES]);
    }
    let mut start = 0;
    while start < rows {
        let count = (rows - start).min(LANES);
        gather(inputs, start, count, &mut scratch);
        block(start, count, &mut scratch[..registers]);
        start += count;
    }
    SCRATCH.set(scratch);
    Ok(())
}

/// Checks what the caller of [`gristmill::traits::Model::score`] promises; the kernels rely on it only not to panic.
pub(crate) fn check(
    inputs: &[ColumnRef<'_>],
    outputs: &[ColumnMut<'_>],
    wanted: (usize, usize),
) -> Result<(), ScoreError> {
    if (inputs.len(), outputs.len()) != wanted {
        return Err(ScoreError(format!(
            "the model has {} inputs and {} outputs, {} and {} columns were given",
            wanted.0,
            wanted.1,
            inputs.len(),
            outputs.len()
        )));
    }
    let rows = inputs.first().map_or(0, ColumnRef::len);
    if inputs.iter().any(|column| column.len() != rows) || outputs.iter().any(|column| column.as_ref().len() != rows) {
        return Err(ScoreError(format!("the columns are not all of {rows} rows")));
    }
    Ok(())
}

fn gather(inputs: &[ColumnRef<'_>], start: usize, count: usize, lanes: &mut [Lanes]) {
    let mut next = 0;
    for column in inputs {
        match column {
            ColumnRef::F32(values) => {
                fill(&mut lanes[next], &values[start..start + count]);
                next += 1;
            }
            ColumnRef::Vector { width, values } => {
                for element in 0..*width {
                    let lane = &mut lanes[next + element];
                    *lane = [0.0; LANES];
                    for (row, value) in lane.iter_mut().take(count).enumerate() {
                        *value = values[(start + row) * width + element];
                    }
                }
                next += width;
            }
            other => {
                let lane = &mut lanes[next];
                *lane = [0.0; LANES];
                for (row, value) in lane.iter_mut().take(count).enumerate() {
                    *value = other.number(start + row) as f32;
                }
                next += 1;
            }
        }
    }
}

#[inline(always)]
fn fill(lane: &mut Lanes, values: &[f32]) {
    // Copies of known sizes, which may overlap: cheaper than a call for each column.
    let count = values.len();
    if let Ok(values) = <&Lanes>::try_from(values) {
        *lane = *values;
    } else if let (Some(first), Some(last)) = (values.first_chunk::<8>(), values.last_chunk::<8>()) {
        *lane = [0.0; LANES];
        lane[..8].copy_from_slice(first);
        lane[count - 8..count].copy_from_slice(last);
    } else {
        *lane = [0.0; LANES];
        lane.iter_mut().zip(values).for_each(|(to, from)| *to = *from);
    }
}

/// Writes the first `count` lanes to rows of a float column.
pub(crate) fn scatter(lane: &Lanes, start: usize, count: usize, output: &mut ColumnMut<'_>) {
    match output {
        ColumnMut::F32(values) => values[start..start + count].copy_from_slice(&lane[..count]),
        ColumnMut::F64(values) => {
            values[start..start + count].iter_mut().zip(lane).for_each(|(to, from)| *to = f64::from(*from));
        }
        _ => {}
    }
}
