//! Sensors: how a source's readings come in, cleaned.

use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::node::{Node, NodeKind, Work};
use crate::traits::source::{ABSENT_F32, ABSENT_F64};
use crate::traits::{BadReadings, Operator, Outputs, RowError, Rows};
use crate::words::{ColumnMut, ColumnRef, Element, ElementType, NodeId, Stream, StreamName};

/// What happens to a reading that is out of range or not a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BadReading {
    /// The value is missing, and counted.
    #[default]
    Missing,
    /// The row goes to the dead letters; the value is missing, and counted. The sensor has not failed.
    DeadLetter,
}

/// How readings are cleaned; part of manifests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cleaning {
    /// Smallest and largest value that can be true, in the unit the source sends.
    pub range: Option<(f64, f64)>,
    /// What a value outside the range does.
    pub out_of_range: BadReading,
    /// What a reading that is not a number does.
    pub nan: BadReading,
    /// Whether the key's last good value stands in for a missing one.
    pub hold_last: bool,
    /// The value is multiplied by this after the range was checked. What the sensor's type then cannot hold is out of range.
    pub scale: Option<f64>,
    /// This is added after that.
    pub offset: Option<f64>,
}

/// A sensor that is being described; it is a node as it stands.
#[derive(Clone, Debug)]
#[must_use = "a sensor does nothing outside a topology: call `.with(sensor(…))`"]
pub struct Sensor<T> {
    stream: Stream<T>,
    raw: Option<StreamName>,
    cleaning: Cleaning,
}

/// Begins a sensor: the node through which the source's column of that name comes in.
pub fn sensor<T: Reading>(stream: Stream<T>) -> Sensor<T> {
    Sensor { stream, raw: None, cleaning: Cleaning::default() }
}

impl<T: Reading> Sensor<T> {
    /// The source's name of the column, where it is not the stream's.
    pub fn from(mut self, raw: impl Into<StreamName>) -> Self {
        self.raw = Some(raw.into());
        self
    }

    /// Which values can be true, in the unit the source sends; others are missing, and counted.
    pub fn range(mut self, range: RangeInclusive<f64>) -> Self {
        self.cleaning.range = Some((*range.start(), *range.end()));
        self
    }

    /// What a value outside the range does.
    pub fn out_of_range(mut self, policy: BadReading) -> Self {
        self.cleaning.out_of_range = policy;
        self
    }

    /// What a reading that is not a number does.
    pub fn nan(mut self, policy: BadReading) -> Self {
        self.cleaning.nan = policy;
        self
    }

    /// The key's last good value stands in for a missing one.
    pub fn hold_last(mut self) -> Self {
        self.cleaning.hold_last = true;
        self
    }

    /// Converts the unit: the value times `scale` plus `offset`, after the range was checked. An `i64` is rounded to the
    /// nearest whole number, is exact where both are whole, and is out of range where it is beyond what an `i64` holds.
    pub fn unit(mut self, scale: f64, offset: f64) -> Self {
        (self.cleaning.scale, self.cleaning.offset) = (Some(scale), Some(offset));
        self
    }
}

impl<T: Reading> From<Sensor<T>> for Node {
    fn from(sensor: Sensor<T>) -> Self {
        let name = StreamName::from(sensor.stream.name());
        let raw = sensor.raw.unwrap_or_else(|| name.clone());
        sensor_node(name, T::TYPE, raw, sensor.cleaning)
    }
}

/// A sensor by name and type, as manifests declare it.
pub fn sensor_node(name: StreamName, element: ElementType, raw: StreamName, cleaning: Cleaning) -> Node {
    let id = NodeId::from(name.as_str());
    let clean = cleaner(element, cleaning);
    Node::new(id, NodeKind::Sensor, Vec::new(), vec![(name, element)], Work::Sensor { raw, clean })
}

fn cleaner(element: ElementType, cleaning: Cleaning) -> Arc<dyn crate::traits::AnyOperator> {
    fn of<T: Reading>(cleaning: Cleaning) -> Arc<dyn crate::traits::AnyOperator> {
        let range = cleaning.range.map(|(low, high)| (T::limit(low), T::limit(high)));
        Arc::new(Clean::<T> { cleaning, range, reading: std::marker::PhantomData })
    }
    match element {
        ElementType::F32 => of::<f32>(cleaning),
        ElementType::F64 => of::<f64>(cleaning),
        ElementType::I64 => of::<i64>(cleaning),
        ElementType::Bool => of::<bool>(cleaning),
        ElementType::Str => of::<smol_str::SmolStr>(cleaning),
        ElementType::Vector(_) => Arc::new(CleanVector),
    }
}

/// A type that a sensor can bring in.
pub trait Reading: Element + Debug + Serialize + DeserializeOwned {
    /// As a number, for the range and the unit; `None` for what has neither.
    fn number(&self) -> Option<f64>;
    /// The limit of a range as readings of this type have it: rounded as they are, so that a reading of exactly the limit
    /// is in the range.
    fn limit(limit: f64) -> f64;
    /// Times `scale` plus `offset`; `None` where that is no `i64` and has to be one.
    fn converted(&self, scale: f64, offset: f64) -> Option<Self>;
    /// Whether the reading that is missing in `row` was there but was not a number.
    fn was_nan(rows: &Rows<'_>, row: usize) -> bool;
    /// Whether it stands for a reading that was not there.
    fn is_absent(&self) -> bool;
    /// The rows of both columns, of floats, and what is missing in them; `None` for other types.
    fn floats<'a>(_from: ColumnRef<'a>, _to: ColumnMut<'a>) -> Option<(&'a [Self], &'a mut [Self], Self)> {
        None
    }
}

macro_rules! reading {
    ($type:ty, $number:expr, $limit:expr, $converted:expr, $was_nan:expr, $is_absent:expr $(, $floats:ident)?) => {
        impl Reading for $type {
            #[inline]
            fn number(&self) -> Option<f64> {
                $number(self)
            }
            #[inline]
            fn limit(limit: f64) -> f64 {
                $limit(limit)
            }
            #[inline]
            fn converted(&self, scale: f64, offset: f64) -> Option<Self> {
                $converted(self, scale, offset)
            }
            #[inline]
            fn was_nan(rows: &Rows<'_>, row: usize) -> bool {
                $was_nan(rows, row)
            }
            #[inline]
            fn is_absent(&self) -> bool {
                $is_absent(self)
            }
            $(
                #[inline]
                fn floats<'a>(from: ColumnRef<'a>, to: ColumnMut<'a>) -> Option<(&'a [Self], &'a mut [Self], Self)> {
                    match (from, to) {
                        (ColumnRef::$floats(from), ColumnMut::$floats(to)) => Some((from, to, <$type>::NAN)),
                        _ => None,
                    }
                }
            )?
        }
    };
}

reading!(
    f32,
    |v: &f32| Some(f64::from(*v)),
    limit_of_f32,
    |v: &f32, scale: f64, offset: f64| {
        let converted = (f64::from(*v) * scale + offset) as f32;
        (converted.is_finite() || !v.is_finite()).then_some(converted)
    },
    |rows: &Rows<'_>, row: usize| !rows.f32(0)[row].is_absent(),
    |v: &f32| v.to_bits() == ABSENT_F32.to_bits(),
    F32
);
reading!(
    f64,
    |v: &f64| Some(*v),
    std::convert::identity,
    |v: &f64, scale: f64, offset: f64| {
        let converted = *v * scale + offset;
        (converted.is_finite() || !v.is_finite()).then_some(converted)
    },
    |rows: &Rows<'_>, row: usize| !rows.f64(0)[row].is_absent(),
    |v: &f64| v.to_bits() == ABSENT_F64.to_bits(),
    F64
);
reading!(
    i64,
    |v: &i64| Some(*v as f64),
    std::convert::identity,
    |v: &i64, scale, offset| converted_i64(*v, scale, offset),
    |_: &Rows<'_>, _| false,
    |_| false
);
reading!(bool, |_: &bool| None, std::convert::identity, |v: &bool, _, _| Some(*v), |_: &Rows<'_>, _| false, |_| false);
reading!(
    smol_str::SmolStr,
    |_: &smol_str::SmolStr| None,
    std::convert::identity,
    |v: &smol_str::SmolStr, _, _| Some(v.clone()),
    |_: &Rows<'_>, _| false,
    |_| false
);

/// Rounded to `f32`, unless that is beyond it, or only just not 0.
fn limit_of_f32(limit: f64) -> f64 {
    let narrow = limit as f32;
    if narrow.is_infinite() || narrow == 0.0 { limit } else { f64::from(narrow) }
}

/// Exact where scale and offset are whole, else as exact as an `f64` and rounded; `None` where that is no `i64`, or the one
/// that means missing.
fn converted_i64(value: i64, scale: f64, offset: f64) -> Option<i64> {
    /// The first whole number after those of `i64`.
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    let is_i64 = |number: f64| (-BEYOND..BEYOND).contains(&number);
    let whole = |number: f64| (number.fract() == 0.0 && is_i64(number)).then_some(i128::from(number as i64));
    let converted = match (whole(scale), whole(offset)) {
        // A product of two of 64 bits, and one of 64 bits more, are less than 128 bits.
        (Some(scale), Some(offset)) => i64::try_from(i128::from(value) * scale + offset).ok(),
        _ => {
            let number = (value as f64 * scale + offset).round();
            is_i64(number).then_some(number as i64)
        }
    };
    converted.filter(|number| *number != i64::MIN)
}

impl<const N: usize> From<Stream<[f32; N]>> for Node {
    /// A sensor of vectors has nothing to clean.
    fn from(stream: Stream<[f32; N]>) -> Self {
        let name = StreamName::from(stream.name());
        sensor_node(name.clone(), <[f32; N] as Element>::TYPE, name, Cleaning::default())
    }
}

/// Cleans the readings of one sensor.
#[derive(Debug)]
struct Clean<T> {
    cleaning: Cleaning,
    /// The range, its limits as readings have them.
    range: Option<(f64, f64)>,
    reading: std::marker::PhantomData<fn() -> T>,
}

/// The last good value, to hold.
type Held<T> = Option<T>;

impl<T: Reading> Clean<T> {
    fn reading(&self, rows: &Rows<'_>, row: usize, bad: &mut BadReadings) -> Result<Option<T>, RowError> {
        let cleaning = &self.cleaning;
        let Some(value) = T::get(rows.column(0), row) else {
            let was_nan = T::was_nan(rows, row);
            bad.nan += u64::from(was_nan);
            return if cleaning.nan == BadReading::DeadLetter && was_nan {
                Err(RowError::refused("the reading is not a number"))
            } else {
                Ok(None)
            };
        };
        let Some(number) = value.number() else { return Ok(Some(value)) };
        if let (Some((low, high)), Some((said_low, said_high))) = (self.range, cleaning.range)
            && !(low..=high).contains(&number)
        {
            return self.out_of_range(bad, || format!("{number} is outside {said_low} to {said_high}"));
        }
        if (cleaning.scale, cleaning.offset) == (None, None) {
            return Ok(Some(value));
        }
        let (scale, offset) = (cleaning.scale.unwrap_or(1.0), cleaning.offset.unwrap_or(0.0));
        match value.converted(scale, offset) {
            Some(converted) => Ok(Some(converted)),
            None => self.out_of_range(bad, || format!("{value:?} times {scale} plus {offset} is beyond {}", T::TYPE)),
        }
    }

    fn out_of_range(&self, bad: &mut BadReadings, why: impl FnOnce() -> String) -> Result<Option<T>, RowError> {
        bad.out_of_range += 1;
        match self.cleaning.out_of_range {
            BadReading::Missing => Ok(None),
            BadReading::DeadLetter => Err(RowError::refused(why())),
        }
    }
}

impl<T: Reading> Clean<T> {
    /// Readings that need no more than their range, and cannot fail.
    fn floats(&self, held: &mut Held<T>, readings: &[T], to: &mut [T], missing: &T) -> BadReadings {
        let (low, high) = self.range.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
        let mut unused = 0_usize;
        for (from, to) in readings.iter().zip(to) {
            // NaN is in no range.
            if from.number().is_some_and(|number| (low..=high).contains(&number)) {
                to.clone_from(from);
                if self.cleaning.hold_last {
                    *held = Some(from.clone());
                }
            } else {
                unused += 1;
                *to = match held {
                    Some(held) if self.cleaning.hold_last => held.clone(),
                    _ => missing.clone(),
                };
            }
        }
        // Why is only asked where there are some.
        if unused == 0 { BadReadings::default() } else { bad(readings, low..=high) }
    }

    fn clean(
        &self,
        held: &mut Held<T>,
        rows: &Rows<'_>,
        out: &mut Outputs<'_>,
        bad: &mut BadReadings,
    ) -> Result<(), RowError> {
        let mut column = out.column(0);
        for row in 0..rows.len() {
            let value = self.reading(rows, row, bad)?;
            if self.cleaning.hold_last {
                if value.is_some() {
                    held.clone_from(&value);
                }
                T::set(&mut column, row, held.clone());
            } else {
                T::set(&mut column, row, value);
            }
        }
        Ok(())
    }
}

/// Those that were there, and are not numbers or not in the range.
fn bad<T: Reading>(readings: &[T], range: RangeInclusive<f64>) -> BadReadings {
    let mut bad = BadReadings::default();
    for reading in readings {
        match reading.number() {
            Some(number) if number.is_nan() => bad.nan += u64::from(!reading.is_absent()),
            Some(number) => bad.out_of_range += u64::from(!range.contains(&number)),
            None => {}
        }
    }
    bad
}

impl<T: Reading> Operator for Clean<T> {
    type State = Held<T>;

    fn name(&self) -> &'static str {
        "sensor"
    }

    fn parameters(&self) -> String {
        // As manifests have it, so that a sensor can be written as one. Text and numbers: nothing JSON could not say.
        serde_json::to_string(&self.cleaning).unwrap_or_default()
    }

    fn check(&self, _needs: &[ElementType], _provides: &[ElementType]) -> Result<(), String> {
        Ok(())
    }

    fn start(&self) -> Held<T> {
        None
    }

    fn can_fail(&self) -> bool {
        self.cleaning.nan == BadReading::DeadLetter || self.cleaning.out_of_range == BadReading::DeadLetter
    }

    fn run(&self, held: &mut Held<T>, rows: &Rows<'_>, out: &mut Outputs<'_>) -> Result<(), RowError> {
        let cleaning = &self.cleaning;
        if !self.can_fail()
            && (cleaning.scale, cleaning.offset) == (None, None)
            && let Some((from, to, missing)) = T::floats(rows.column(0), out.column(0))
        {
            let bad = self.floats(held, from, to, &missing);
            out.count_bad(&bad);
            return Ok(());
        }
        let mut bad = BadReadings::default();
        let cleaned = self.clean(held, rows, out, &mut bad);
        // Also where a row failed: it was tried, and is counted by its cause.
        out.count_bad(&bad);
        cleaned
    }
}

/// Vectors pass as they are.
#[derive(Debug)]
struct CleanVector;

impl Operator for CleanVector {
    type State = ();

    fn name(&self) -> &'static str {
        "sensor"
    }

    fn parameters(&self) -> String {
        String::new()
    }

    fn check(&self, _needs: &[ElementType], _provides: &[ElementType]) -> Result<(), String> {
        Ok(())
    }

    fn start(&self) {}

    fn can_fail(&self) -> bool {
        false
    }

    fn run(&self, _state: &mut (), rows: &Rows<'_>, out: &mut Outputs<'_>) -> Result<(), RowError> {
        let mut column = out.column(0);
        (0..rows.len()).for_each(|row| column.copy_row(row, rows.column(0), row));
        Ok(())
    }
}
