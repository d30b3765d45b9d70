//! Computes an expression: a column for each part, over the rows of a call.
//!
//! Missing is a value of its own in each column, so that it goes through arithmetic by itself. A row that fails in a
//! part is marked and computed on, since a part around it may not want it: `if(d == 0, 0, n / d)`.

use gristmill::words::{ColumnMut, ColumnRef, ElementType};
use smol_str::SmolStr;

use super::error::Place;
use super::fault::{Cause, Fault};
use super::lane::{FALSE, Lane, TRUE, Truth, UNKNOWN, Values};
use super::scalar::{Real, Scalar};
use super::typed::{Arithmetic, Comparison, F32, I64, Math, Op, Type, Typed};

/// A part's values, and which rows failed in it, if any did: a fault for each row of the block, also where all rows have
/// one value.
pub(super) struct Computed<'a> {
    values: Values<'a>,
    faults: Faults,
}

type Faults = Option<Vec<Fault>>;

/// Rows that are computed at once: columns of so many stay in the nearest cache.
pub(super) const BLOCK_ROWS: usize = 1024;

/// Writes the values of an expression for all rows of `needs` into `out`; the first row that failed.
pub(super) fn evaluate(
    typed: &Typed,
    needs: &[ColumnRef<'_>],
    rows: usize,
    out: &mut ColumnMut<'_>,
) -> Result<(), Fault> {
    for start in (0..rows).step_by(BLOCK_ROWS) {
        let end = rows.min(start + BLOCK_ROWS);
        let block = Block { needs, start, end };
        let computed = block.part(typed);
        if let Some(fault) = computed.faults.iter().flatten().find(|fault| **fault != Fault::NONE) {
            return Err(*fault);
        }
        write(&computed.values, out, start, end);
    }
    Ok(())
}

fn write(values: &Values<'_>, out: &mut ColumnMut<'_>, start: usize, end: usize) {
    fn put<T: Clone>(lane: &Lane<'_, T>, to: &mut [T]) {
        match lane {
            Lane::One(value) => to.fill(value.clone()),
            Lane::Of(values) => to.clone_from_slice(values),
            Lane::Made(values) => to.clone_from_slice(values),
        }
    }
    match (values, out) {
        (Values::F32(lane), ColumnMut::F32(to)) => put(lane, &mut to[start..end]),
        (Values::F64(lane), ColumnMut::F64(to)) => put(lane, &mut to[start..end]),
        (Values::I64(lane), ColumnMut::I64(to)) => put(lane, &mut to[start..end]),
        (Values::Str(lane), ColumnMut::Str(to)) => put(lane, &mut to[start..end]),
        (Values::Bool(lane), ColumnMut::Bool(to)) => {
            for (row, to) in to[start..end].iter_mut().enumerate() {
                let truth = *lane.get(row);
                *to = (truth != UNKNOWN).then_some(truth == TRUE);
            }
        }
        _ => unreachable!("an expression gives the type of the stream; `check` has seen to it"),
    }
}

/// Some rows of the needs.
struct Block<'a> {
    needs: &'a [ColumnRef<'a>],
    start: usize,
    end: usize,
}

impl<'a> Block<'a> {
    fn rows(&self) -> usize {
        self.end - self.start
    }

    fn part(&self, typed: &Typed) -> Computed<'a> {
        match &typed.what {
            Op::Integer(value) => fine(whole(*value, typed.of)),
            Op::Float(value) => fine(number(*value, typed.of)),
            Op::Bool(value) => fine(Values::Bool(Lane::One(u8::from(*value)))),
            Op::Text(text) => fine(Values::Str(Lane::One(Some(text.clone())))),
            Op::Need(need) => fine(self.need(*need)),
            Op::Negate(of) => self.unary(of, Scalar::negative, Scalar::negative, Scalar::negative),
            Op::Abs(of) => self.unary(of, Scalar::absolute, Scalar::absolute, Scalar::absolute),
            Op::Not(of) => {
                let of = self.part(of);
                let truth = of.values.truth().map(|truth| if *truth == UNKNOWN { UNKNOWN } else { 1 - *truth });
                Computed { values: Values::Bool(truth), faults: of.faults }
            }
            Op::Arithmetic(what, two) => {
                arithmetic(*what, typed.place, self.rows(), self.part(&two[0]), self.part(&two[1]))
            }
            Op::Compare(what, two) => compare(*what, self.part(&two[0]), self.part(&two[1])),
            Op::Logic(and, two) => logic(*and, self.part(&two[0]), self.part(&two[1])),
            Op::If(three) => choose(self.part(&three[0]), self.part(&three[1]), self.part(&three[2])),
            Op::Math(what, of) => self.math(*what, of),
            Op::IsMissing(of) => {
                let of = self.part(of);
                Computed { values: Values::Bool(of.values.missing(self.rows())), faults: of.faults }
            }
            Op::Coalesce(two) => self.coalesce(self.part(&two[0]), self.part(&two[1])),
            Op::Cast(of) => cast(typed.of, typed.place, self.rows(), self.part(of)),
            Op::Element(of, index) => {
                let Values::Vector { width, values } = self.part(of).values else { unreachable!("{TYPED}") };
                // A vector whose first element is missing is missing as a whole.
                let element = |row: &[f32]| if row[0].is_nan() { f32::NAN } else { row[*index] };
                fine(Values::F32(Lane::Made(values.chunks_exact(width).map(element).collect())))
            }
        }
    }

    fn need(&self, need: usize) -> Values<'a> {
        match self.needs[need].rows(self.start..self.end) {
            ColumnRef::F32(values) => Values::F32(Lane::Of(values)),
            ColumnRef::F64(values) => Values::F64(Lane::Of(values)),
            ColumnRef::I64(values) => Values::I64(Lane::Of(values)),
            ColumnRef::Bool(values) => {
                Values::Bool(Lane::Made(values.iter().map(|value| value.map_or(UNKNOWN, u8::from)).collect()))
            }
            ColumnRef::Str(values) => Values::Str(Lane::Of(values)),
            ColumnRef::Vector { width, values } => Values::Vector { width, values },
        }
    }

    fn unary(&self, of: &Typed, f32: fn(f32) -> f32, f64: fn(f64) -> f64, i64: fn(i64) -> i64) -> Computed<'a> {
        let of = self.part(of);
        let values = match of.values {
            Values::F32(lane) => Values::F32(lane.map(|value| f32(*value))),
            Values::F64(lane) => Values::F64(lane.map(|value| f64(*value))),
            Values::I64(lane) => Values::I64(lane.map(|value| i64(*value))),
            _ => unreachable!("{TYPED}"),
        };
        Computed { values, faults: of.faults }
    }

    fn math(&self, what: Math, of: &Typed) -> Computed<'a> {
        let of = self.part(of);
        let values = match of.values {
            Values::F32(lane) => Values::F32(math(what, &lane)),
            Values::F64(lane) => Values::F64(math(what, &lane)),
            _ => unreachable!("{TYPED}"),
        };
        Computed { values, faults: of.faults }
    }

    fn coalesce(&self, first: Computed<'a>, second: Computed<'a>) -> Computed<'a> {
        let missing = first.values.missing(self.rows());
        // What is there cannot have failed; where it has, that stands.
        let faults = second.faults.map(|faults| {
            let rows = faults.into_iter().enumerate();
            rows.map(|(row, fault)| if *missing.get(row) == TRUE { fault } else { Fault::NONE }).collect()
        });
        Computed { values: pick(&missing, &second.values, &first.values), faults: both(first.faults, faults) }
    }
}

const TYPED: &str = "types that do not fit were refused by `check`";

fn fine(values: Values<'_>) -> Computed<'_> {
    Computed { values, faults: None }
}

fn whole(value: i64, of: Type) -> Values<'static> {
    if of == I64 { Values::I64(Lane::One(value)) } else { number(value as f64, of) }
}

fn number(value: f64, of: Type) -> Values<'static> {
    if of == F32 { Values::F32(Lane::One(value as f32)) } else { Values::F64(Lane::One(value)) }
}

/// The faults of two parts that both count, those of the first before those of the second.
fn both(first: Faults, second: Faults) -> Faults {
    match (first, second) {
        (Some(first), Some(second)) => Some(first.into_iter().zip(second).map(|(a, b)| a.or(b)).collect()),
        (first, second) => first.or(second),
    }
}

fn math<R: Real>(what: Math, lane: &Lane<'_, R>) -> Lane<'static, R> {
    match what {
        Math::Sqrt => lane.map(|value| value.sqrt()),
        Math::Exp => lane.map(|value| value.exp()),
        Math::Log => lane.map(|value| value.log()),
        Math::Sin => lane.map(|value| value.sin()),
        Math::Cos => lane.map(|value| value.cos()),
        Math::Tanh => lane.map(|value| value.tanh()),
        Math::Floor => lane.map(|value| value.floor()),
        Math::Ceil => lane.map(|value| value.ceil()),
        Math::Round => lane.map(|value| value.round()),
    }
}

fn arithmetic<'a>(
    what: Arithmetic,
    place: Place,
    rows: usize,
    left: Computed<'a>,
    right: Computed<'a>,
) -> Computed<'a> {
    let faults = both(left.faults, right.faults);
    match (&left.values, &right.values) {
        (Values::F32(a), Values::F32(b)) => Computed { values: Values::F32(floats(what, a, b)), faults },
        (Values::F64(a), Values::F64(b)) => Computed { values: Values::F64(floats(what, a, b)), faults },
        (Values::I64(a), Values::I64(b)) => match what {
            Arithmetic::Min => Computed { values: Values::I64(a.zip(b, |a, b| least(*a, *b))), faults },
            Arithmetic::Max => Computed { values: Values::I64(a.zip(b, |a, b| greatest(*a, *b))), faults },
            _ => {
                let results = a.zip(b, |a, b| integers(what, *a, *b));
                let (values, new) = split(&results, place, rows);
                Computed { values: Values::I64(values), faults: both(faults, new) }
            }
        },
        _ => unreachable!("{TYPED}"),
    }
}

fn floats<R: Real>(what: Arithmetic, a: &Lane<'_, R>, b: &Lane<'_, R>) -> Lane<'static, R> {
    match what {
        Arithmetic::Add => a.zip(b, |a, b| a.add(*b)),
        Arithmetic::Subtract => a.zip(b, |a, b| a.subtract(*b)),
        Arithmetic::Multiply => a.zip(b, |a, b| a.multiply(*b)),
        Arithmetic::Divide => a.zip(b, |a, b| a.divide(*b)),
        Arithmetic::Remainder => a.zip(b, |a, b| a.remainder(*b)),
        Arithmetic::Pow => a.zip(b, |a, b| a.pow(*b)),
        Arithmetic::Min => a.zip(b, |a, b| least(*a, *b)),
        Arithmetic::Max => a.zip(b, |a, b| greatest(*a, *b)),
    }
}

#[inline]
fn least<S: Scalar>(a: S, b: S) -> S {
    if a.is_missing() || b.is_missing() {
        S::MISSING
    } else if b < a {
        b
    } else {
        a
    }
}

#[inline]
fn greatest<S: Scalar>(a: S, b: S) -> S {
    if a.is_missing() || b.is_missing() {
        S::MISSING
    } else if b > a {
        b
    } else {
        a
    }
}

fn integers(what: Arithmetic, a: i64, b: i64) -> Result<i64, Cause> {
    if a.is_missing() || b.is_missing() {
        return Ok(i64::MISSING);
    }
    let result = match what {
        Arithmetic::Add => a.checked_add(b),
        Arithmetic::Subtract => a.checked_sub(b),
        Arithmetic::Multiply => a.checked_mul(b),
        _ if b == 0 => return Err(Cause::DivisionByZero),
        Arithmetic::Divide => a.checked_div(b),
        _ => a.checked_rem(b),
    };
    // The least of all is what says that a value is missing.
    result.filter(|result| !result.is_missing()).ok_or(Cause::Overflow)
}

/// Results and what failed, apart; what failed reads missing.
fn split(results: &Lane<'_, Result<i64, Cause>>, place: Place, rows: usize) -> (Lane<'static, i64>, Faults) {
    let values = results.map(|result| result.unwrap_or(i64::MISSING));
    let fault = |result: &Result<i64, Cause>| result.map_or_else(|cause| Fault::new(cause, place), |_| Fault::NONE);
    let faults = match results {
        Lane::One(result) => result.is_err().then(|| vec![fault(result); rows]),
        Lane::Of(results) => results.iter().any(Result::is_err).then(|| results.iter().map(fault).collect()),
        Lane::Made(results) => results.iter().any(Result::is_err).then(|| results.iter().map(fault).collect()),
    };
    (values, faults)
}

fn compare<'a>(what: Comparison, left: Computed<'a>, right: Computed<'a>) -> Computed<'a> {
    let truths = match (&left.values, &right.values) {
        (Values::F32(a), Values::F32(b)) => ordered(what, a, b),
        (Values::F64(a), Values::F64(b)) => ordered(what, a, b),
        (Values::I64(a), Values::I64(b)) => ordered(what, a, b),
        (Values::Bool(a), Values::Bool(b)) => a.zip(b, |a, b| {
            if *a == UNKNOWN || *b == UNKNOWN { UNKNOWN } else { u8::from((a == b) == (what == Comparison::Equal)) }
        }),
        (Values::Str(a), Values::Str(b)) => a.zip(b, |a, b| match (a, b) {
            (Some(a), Some(b)) => u8::from((a == b) == (what == Comparison::Equal)),
            _ => UNKNOWN,
        }),
        _ => unreachable!("{TYPED}"),
    };
    Computed { values: Values::Bool(truths), faults: both(left.faults, right.faults) }
}

fn ordered<S: Scalar>(what: Comparison, a: &Lane<'_, S>, b: &Lane<'_, S>) -> Lane<'static, Truth> {
    let truth = |a: S, b: S, holds: bool| if a.is_missing() | b.is_missing() { UNKNOWN } else { u8::from(holds) };
    match what {
        Comparison::Equal => a.zip(b, |a, b| truth(*a, *b, a == b)),
        Comparison::NotEqual => a.zip(b, |a, b| truth(*a, *b, a != b)),
        Comparison::Less => a.zip(b, |a, b| truth(*a, *b, a < b)),
        Comparison::LessEqual => a.zip(b, |a, b| truth(*a, *b, a <= b)),
        Comparison::Greater => a.zip(b, |a, b| truth(*a, *b, a > b)),
        Comparison::GreaterEqual => a.zip(b, |a, b| truth(*a, *b, a >= b)),
    }
}

/// `and` and `or` of three truths: what one side decides alone, the other cannot make unknown, nor fail.
fn logic<'a>(and: bool, left: Computed<'a>, right: Computed<'a>) -> Computed<'a> {
    let decides = if and { FALSE } else { TRUE };
    let (a, b) = (left.values.truth(), right.values.truth());
    let truths = a.zip(b, |a, b| {
        if *a == decides || *b == decides {
            decides
        } else if *a == UNKNOWN || *b == UNKNOWN {
            UNKNOWN
        } else {
            1 - decides
        }
    });
    let faults = right.faults.map(|faults| {
        let rows = faults.into_iter().enumerate();
        rows.map(|(row, fault)| if *a.get(row) == decides { Fault::NONE } else { fault }).collect()
    });
    Computed { values: Values::Bool(truths), faults: both(left.faults, faults) }
}

fn choose<'a>(condition: Computed<'a>, then: Computed<'a>, other: Computed<'a>) -> Computed<'a> {
    let truths = condition.values.truth();
    let mut faults = None;
    for (taken, of) in [(TRUE, then.faults), (FALSE, other.faults)] {
        let of = of.map(|of| {
            let rows = of.into_iter().enumerate();
            rows.map(|(row, fault)| if *truths.get(row) == taken { fault } else { Fault::NONE }).collect()
        });
        faults = both(faults, of);
    }
    Computed { values: pick(truths, &then.values, &other.values), faults: both(condition.faults, faults) }
}

fn pick(truths: &Lane<'_, Truth>, then: &Values<'_>, other: &Values<'_>) -> Values<'static> {
    match (then, other) {
        (Values::F32(a), Values::F32(b)) => Values::F32(a.choose(truths, b, &f32::MISSING)),
        (Values::F64(a), Values::F64(b)) => Values::F64(a.choose(truths, b, &f64::MISSING)),
        (Values::I64(a), Values::I64(b)) => Values::I64(a.choose(truths, b, &i64::MISSING)),
        (Values::Bool(a), Values::Bool(b)) => Values::Bool(a.choose(truths, b, &UNKNOWN)),
        (Values::Str(a), Values::Str(b)) => Values::Str(a.choose(truths, b, &None::<SmolStr>)),
        _ => unreachable!("{TYPED}"),
    }
}

fn cast(to: Type, place: Place, rows: usize, of: Computed<'_>) -> Computed<'_> {
    let (values, new) = match (to, of.values) {
        (Type::Of(ElementType::F32), values) => (Values::F32(floating(&values)), None),
        (Type::Of(ElementType::F64), values) => (Values::F64(floating(&values)), None),
        (_, Values::F32(lane)) => cut(&lane.map(|value| value.wide()), place, rows),
        (_, Values::F64(lane)) => cut(&lane, place, rows),
        (_, Values::Bool(lane)) => {
            let whole = |truth: &Truth| if *truth == UNKNOWN { i64::MISSING } else { i64::from(*truth) };
            (Values::I64(lane.map(whole)), None)
        }
        _ => unreachable!("{TYPED}"),
    };
    Computed { values, faults: both(of.faults, new) }
}

fn floating<R: Real>(values: &Values<'_>) -> Lane<'static, R> {
    match values {
        Values::F32(lane) => lane.map(|value| R::of(value.wide())),
        Values::F64(lane) => lane.map(|value| R::of(*value)),
        Values::I64(lane) => lane.map(|value| R::of_whole(*value)),
        Values::Bool(lane) => lane.map(|truth| if *truth == UNKNOWN { R::MISSING } else { R::of(f64::from(*truth)) }),
        _ => unreachable!("{TYPED}"),
    }
}

/// Floats cut to whole numbers, towards zero.
fn cut(lane: &Lane<'_, f64>, place: Place, rows: usize) -> (Values<'static>, Faults) {
    // 2^63: the first float that is beyond i64 on either side; the least i64 says that a value is missing.
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    let results = lane.map(|value| match *value {
        value if value.is_nan() => Ok(i64::MISSING),
        value if value.abs() < BEYOND => Ok(value as i64),
        _ => Err(Cause::Cast),
    });
    let (values, faults) = split(&results, place, rows);
    (Values::I64(values), faults)
}

impl Values<'_> {
    fn truth(&self) -> &Lane<'_, Truth> {
        match self {
            Self::Bool(lane) => lane,
            _ => unreachable!("{TYPED}"),
        }
    }

    /// Which values are missing.
    fn missing(&self, rows: usize) -> Lane<'static, Truth> {
        match self {
            Self::F32(lane) => lane.map(|value| u8::from(value.is_missing())),
            Self::F64(lane) => lane.map(|value| u8::from(value.is_missing())),
            Self::I64(lane) => lane.map(|value| u8::from(value.is_missing())),
            Self::Bool(lane) => lane.map(|truth| u8::from(*truth == UNKNOWN)),
            Self::Str(lane) => lane.map(|text| u8::from(text.is_none())),
            Self::Vector { width, values } => {
                Lane::Made((0..rows).map(|row| u8::from(values[row * width].is_nan())).collect())
            }
        }
    }
}
