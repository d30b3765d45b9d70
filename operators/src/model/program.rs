//! A lowered graph: steps from registers to registers, a block of rows at a time.

use std::sync::Arc;

use gristmill::prefetch::prefetch;
use gristmill::traits::{Digest, Model, Port, ScoreError};
use gristmill::words::{ColumnMut, ColumnRef};
use smol_str::SmolStr;

use super::block::{self, LANES, Lanes};
use super::dense::{Activation, Dense, activate};
use super::forest::Ensemble;
use super::transform::{self, Arithmetic, Function, Norm, PostTransform};

/// Registers that follow one another: the columns of one value. Whole numbers, class numbers and bools lie in floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) width: usize,
}

impl Span {
    pub(crate) fn end(self) -> usize {
        self.start + self.width
    }
}

/// What a step does from `input` to `output`.
#[derive(Debug)]
pub(crate) enum Action {
    /// Scores trees; `finish` makes targets of their sums.
    Trees { ensemble: Box<Ensemble>, finish: Finish },
    /// A dense layer.
    Dense(Dense),
    /// `(x - offset) * scale`, column by column.
    Scale(Box<[[f32; 2]]>),
    /// Normalises rows.
    Normalize(Norm),
    /// Puts a column's value where one is missing.
    Impute { replaced: f32, values: Box<[f32]> },
    /// Arithmetic with constants, one for each column; `swapped` when the constant is the first operand.
    Constant { arithmetic: Arithmetic, values: Box<[f32]>, swapped: bool },
    /// Arithmetic of two values; one of width 1 serves all columns.
    Pair { arithmetic: Arithmetic, second: Span },
    /// An activation of each value.
    Activate(Activation),
    /// A function of each value.
    Function(Function),
    /// The sum of all columns, in their order.
    Sum,
    /// Exponentials that sum to 1.
    Softmax,
    /// The number of the largest column.
    ArgMax { last: bool },
    /// The columns of several values.
    Concat(Box<[Span]>),
    /// Towards zero, to a whole number.
    Truncate,
    /// 1 for all but 0.
    IsNotZero,
    /// The number at a class's place.
    Look(Box<[f32]>),
    /// Scores to a label and transformed scores.
    Decide(Decide),
}

/// How sums of trees become targets.
#[derive(Debug)]
pub(crate) struct Finish {
    /// The number of trees, for an average.
    pub(crate) divide: Option<f32>,
    /// What a target holds that no leaf had a weight for: becomes 0.
    pub(crate) unset: Option<f32>,
    /// Added at last, to each target; may be empty.
    pub(crate) base: Box<[f32]>,
    /// Applied at the very last.
    pub(crate) post: PostTransform,
}

impl Finish {
    fn apply(&self, sums: &mut [Lanes]) {
        for (target, sums) in sums.iter_mut().enumerate() {
            if let Some(unset) = self.unset {
                sums.iter_mut().filter(|sum| **sum == unset).for_each(|sum| *sum = 0.0);
            }
            if let Some(trees) = self.divide {
                sums.iter_mut().for_each(|sum| *sum /= trees);
            }
            if let Some(base) = self.base.get(target) {
                sums.iter_mut().for_each(|sum| *sum += base);
            }
        }
        self.post.apply(sums);
    }
}

/// How a classifier makes a label (the first register of its output) and scores (the others).
#[derive(Debug)]
pub(crate) enum Decide {
    /// The class with the largest score, of those that have any; the scores are transformed afterwards.
    Largest { scored: Box<[bool]>, post: PostTransform },
    /// Two classes and one score for the second: it wins above the threshold. `mirrored` makes the first class's
    /// score `-s`, else it is `1 - s`.
    One { threshold: f32, mirrored: bool, logistic: bool },
    /// Two classes with a score each, of which only the second one decides.
    Second { threshold: f32, post: PostTransform },
}

impl Decide {
    fn run(&self, x: &[Lanes], out: &mut [Lanes]) {
        let Some((label, scores)) = out.split_first_mut() else { return };
        match self {
            Self::Largest { scored, post } => {
                let mut most = [f32::NAN; LANES];
                *label = [f32::NAN; LANES];
                for (class, column) in x.iter().enumerate().filter(|(class, _)| scored[*class]) {
                    for lane in 0..LANES {
                        if label[lane].is_nan() || column[lane] > most[lane] {
                            most[lane] = column[lane];
                            label[lane] = class as f32;
                        }
                    }
                }
                scores.copy_from_slice(x);
                post.apply(scores);
            }
            Self::One { threshold, mirrored, logistic } => {
                *label = x[0].map(|score| f32::from(u8::from(score > *threshold)));
                scores[1] = x[0];
                if *logistic {
                    PostTransform::Logistic.apply(&mut scores[1..]);
                }
                scores[0] = scores[1].map(|score| if *mirrored { -score } else { 1.0 - score });
            }
            Self::Second { threshold, post } => {
                *label = x[1].map(|score| f32::from(u8::from(score > *threshold)));
                scores.copy_from_slice(x);
                post.apply(scores);
            }
        }
    }
}

/// An action between registers. Its output lies behind all it reads.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) action: Action,
    pub(crate) input: Span,
    pub(crate) output: Span,
}

impl Step {
    fn run(&self, rows: usize, registers: &mut [Lanes]) {
        let (before, after) = registers.split_at_mut(self.output.start);
        let out = &mut after[..self.output.width];
        let x = &before[self.input.start..self.input.end()];
        match &self.action {
            Action::Trees { ensemble, finish } => {
                ensemble.run(rows, x, out);
                finish.apply(out);
            }
            Action::Dense(dense) => dense.run(x, out),
            Action::Scale(pairs) => {
                for ((out, x), [offset, scale]) in out.iter_mut().zip(x).zip(pairs) {
                    *out = x.map(|x| (x - offset) * scale);
                }
            }
            Action::Normalize(norm) => transform::normalize(*norm, x, out),
            Action::Impute { replaced, values } => {
                out.iter_mut().zip(x).zip(values).for_each(|((out, x), fill)| {
                    transform::impute(*replaced, *fill, x, out);
                });
            }
            Action::Constant { arithmetic, values, swapped } => {
                for (index, (out, value)) in out.iter_mut().zip(values).enumerate() {
                    let (x, value) = (&x[index % x.len()], &[*value; LANES]);
                    let (a, b) = if *swapped { (value, x) } else { (x, value) };
                    arithmetic.lanes(a, b, out);
                }
            }
            Action::Pair { arithmetic, second } => {
                let y = &before[second.start..second.end()];
                for (index, out) in out.iter_mut().enumerate() {
                    arithmetic.lanes(&x[index % x.len()], &y[index % y.len()], out);
                }
            }
            Action::Activate(activation) => {
                out.copy_from_slice(x);
                activate(*activation, out);
            }
            Action::Function(function) => {
                out.copy_from_slice(x);
                transform::apply(*function, out);
            }
            Action::Sum => transform::sum(x, &mut out[0]),
            Action::Softmax => {
                out.copy_from_slice(x);
                transform::softmax(out);
            }
            Action::ArgMax { last } => transform::arg_max(x, *last, &mut out[0]),
            Action::Concat(spans) => {
                let parts = spans.iter().flat_map(|span| &before[span.start..span.end()]);
                out.iter_mut().zip(parts).for_each(|(out, x)| *out = *x);
            }
            Action::Truncate => out.iter_mut().zip(x).for_each(|(out, x)| *out = x.map(f32::trunc)),
            Action::IsNotZero => {
                out.iter_mut().zip(x).for_each(|(out, x)| *out = x.map(|x| f32::from(u8::from(x != 0.0))));
            }
            Action::Look(table) => {
                let look = |x: f32| table.get(x as usize).copied().unwrap_or(f32::NAN);
                out.iter_mut().zip(x).for_each(|(out, x)| *out = x.map(look));
            }
            Action::Decide(decide) => decide.run(x, out),
        }
    }

    fn prefetch(&self) {
        match &self.action {
            Action::Trees { ensemble, finish } => {
                ensemble.prefetch();
                prefetch(&*finish.base);
            }
            Action::Dense(dense) => dense.prefetch(),
            Action::Scale(pairs) => prefetch(&**pairs),
            Action::Impute { values, .. } | Action::Constant { values, .. } | Action::Look(values) => {
                prefetch(&**values);
            }
            _ => {}
        }
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
            + match &self.action {
                Action::Trees { ensemble, finish } => {
                    size_of::<Ensemble>() + ensemble.bytes() + size_of_val(&*finish.base)
                }
                Action::Dense(dense) => dense.bytes(),
                Action::Scale(pairs) => size_of_val(&**pairs),
                Action::Impute { values, .. } | Action::Constant { values, .. } | Action::Look(values) => {
                    size_of_val(&**values)
                }
                _ => 0,
            }
    }
}

/// The labels of classes, by their numbers; those of a constant are its own.
#[derive(Debug)]
pub(crate) enum Labels {
    Ints(Arc<[i64]>),
    Strings(Arc<[SmolStr]>),
}

/// How registers become an output column.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    /// Floats, from one register.
    Float(usize),
    /// A vector, an element from each register.
    Vector(Span),
    /// Whole numbers; NaN is missing.
    Int(usize),
    /// True or false.
    Bool(usize),
    /// The label of a class.
    Label(usize, Arc<Labels>),
}

impl Write {
    fn write(&self, start: usize, rows: usize, registers: &[Lanes], output: &mut ColumnMut<'_>) {
        match (self, output) {
            (Self::Float(register), output) => block::scatter(&registers[*register], start, rows, output),
            (Self::Vector(span), ColumnMut::Vector { width, values }) if *width == span.width => {
                for (element, lanes) in registers[span.start..span.end()].iter().enumerate() {
                    for (row, value) in lanes.iter().take(rows).enumerate() {
                        values[(start + row) * *width + element] = *value;
                    }
                }
            }
            (Self::Int(register), ColumnMut::I64(values)) => {
                for (to, from) in values[start..start + rows].iter_mut().zip(&registers[*register]) {
                    *to = if from.is_nan() { i64::MIN } else { *from as i64 };
                }
            }
            (Self::Bool(register), ColumnMut::Bool(values)) => {
                for (to, from) in values[start..start + rows].iter_mut().zip(&registers[*register]) {
                    *to = Some(*from != 0.0);
                }
            }
            (Self::Label(register, labels), output) => {
                let classes = registers[*register].iter().take(rows);
                let class = |number: &f32| if number.is_nan() { usize::MAX } else { *number as usize };
                match (&**labels, output) {
                    (Labels::Ints(labels), ColumnMut::I64(values)) => {
                        values[start..start + rows].iter_mut().zip(classes).for_each(|(to, number)| {
                            *to = labels.get(class(number)).copied().unwrap_or(i64::MIN);
                        });
                    }
                    (Labels::Strings(labels), ColumnMut::Str(values)) => {
                        values[start..start + rows].iter_mut().zip(classes).for_each(|(to, number)| {
                            *to = labels.get(class(number)).cloned();
                        });
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

/// A model that is a list of steps.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    pub(crate) writes: Vec<Write>,
    pub(crate) steps: Vec<Step>,
    pub(crate) registers: usize,
    pub(crate) digest: Digest,
}

impl Model for Program {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn score(&self, inputs: &[ColumnRef<'_>], outputs: &mut [ColumnMut<'_>]) -> Result<(), ScoreError> {
        block::check(inputs, outputs, (self.inputs.len(), self.outputs.len()))?;
        for (port, output) in self.outputs.iter().zip(&*outputs) {
            let is = output.as_ref().element_type();
            if is != port.element {
                return Err(ScoreError(format!("an output of {} was given a column of {is}", port.element)));
            }
        }
        block::each_block(inputs, self.registers, |start, rows, registers| {
            self.steps.iter().for_each(|step| step.run(rows, registers));
            for (write, output) in self.writes.iter().zip(&mut *outputs) {
                write.write(start, rows, registers, output);
            }
        })
    }

    fn prefetch(&self) {
        self.steps.iter().for_each(Step::prefetch);
    }

    fn bytes(&self) -> usize {
        let ports = (self.inputs.len() + self.outputs.len()) * size_of::<Port>();
        ports + self.steps.iter().map(Step::bytes).sum::<usize>()
    }

    fn digest(&self) -> Digest {
        self.digest
    }
}
