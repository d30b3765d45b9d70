//! What a node needs and provides: typed when it is written in Rust, by name and type from then on.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::traits::{Outputs, RowError, Rows};
use crate::words::{Attribute, ColumnRef, Element, ElementType, Stream, StreamName, Value};

/// One need of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Need {
    /// The stream, or the attribute.
    pub name: StreamName,
    /// The type it must have.
    pub element: ElementType,
    /// How it is read.
    pub kind: NeedKind,
}

/// How a need is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum NeedKind {
    /// A stream; a row that lacks it is treated as the node's [`Missing`](super::node::Missing) says.
    Required,
    /// A stream; a row may lack it.
    Optional,
    /// The key's last non-missing value of the stream from earlier rows.
    Previous {
        /// The value before there is any.
        initial: Value,
    },
    /// An attribute of the key.
    Attribute,
}

impl Need {
    /// [`NeedKind::is_direct`].
    pub fn is_direct(&self) -> bool {
        self.kind.is_direct()
    }

    /// What it is called where a node's inputs are listed, and what an operator knows it by
    /// ([`Operator::wire`](crate::traits::Operator::wire)): `wear`, `previous(wear)`, `@site`.
    pub fn label(&self) -> String {
        match &self.kind {
            NeedKind::Required | NeedKind::Optional => self.name.to_string(),
            NeedKind::Previous { .. } => format!("previous({})", self.name),
            NeedKind::Attribute => format!("@{}", self.name),
        }
    }
}

impl NeedKind {
    /// Whether it reads a stream within the row, so that its provider must run first.
    pub fn is_direct(&self) -> bool {
        matches!(self, Self::Required | Self::Optional)
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            NeedKind::Required => write!(f, "{}", self.name),
            NeedKind::Optional => write!(f, "{}?", self.name),
            NeedKind::Previous { initial } => write!(f, "previous({}, {initial})", self.name),
            NeedKind::Attribute => write!(f, "@{}", self.name),
        }
    }
}

/// A stream that a row may lack; a closure gets it as `Option<T>`.
#[derive(Clone, Debug)]
pub struct Optional<T>(Stream<T>);

/// A need that a row may lack.
pub fn optional<T: Element>(stream: Stream<T>) -> Optional<T> {
    Optional(stream)
}

/// A stream's last non-missing value from earlier rows.
#[derive(Clone, Debug)]
pub struct Previous<T> {
    stream: Stream<T>,
    initial: Value,
}

/// The key's last non-missing value of `stream` from earlier rows, `initial` before there is any. It is the way to
/// close a loop: a node may need `previous` of what it, or a node behind it, provides.
pub fn previous<T: Element>(stream: Stream<T>, initial: T) -> Previous<T> {
    let mut column = crate::words::Column::missing(T::TYPE, 1);
    T::set(&mut column.as_mut(), 0, Some(initial));
    // A NaN as initial value is missing already; the resolver refuses it by this zero-length vector.
    let initial = column.as_ref().value(0).unwrap_or(Value::Vector(Box::default()));
    Previous { stream, initial }
}

/// Something that can stand in `needs(…)`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not something a node can need",
    label = "one of these is not a need",
    note = "a need is a Stream<T>, optional(stream), previous(stream, initial) or an Attribute<T>"
)]
pub trait NeedItem {
    /// What a closure gets for it.
    type Arg: Arg;
    /// The same need, by name and type.
    fn need(self) -> Need;
}

impl<T: Element> NeedItem for Stream<T> {
    type Arg = T;
    fn need(self) -> Need {
        Need { name: self.name().into(), element: T::TYPE, kind: NeedKind::Required }
    }
}

impl<T: Element> NeedItem for Optional<T> {
    type Arg = Option<T>;
    fn need(self) -> Need {
        Need { name: self.0.name().into(), element: T::TYPE, kind: NeedKind::Optional }
    }
}

impl<T: Element> NeedItem for Previous<T> {
    type Arg = T;
    fn need(self) -> Need {
        Need { name: self.stream.name().into(), element: T::TYPE, kind: NeedKind::Previous { initial: self.initial } }
    }
}

impl<T: Element> NeedItem for Attribute<T> {
    type Arg = T;
    fn need(self) -> Need {
        Need { name: self.name().into(), element: T::TYPE, kind: NeedKind::Attribute }
    }
}

/// Everything that `needs(…)` takes: one stream, a tuple of up to twelve, or a slice of streams of one type.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not something a node can need",
    label = "not a need",
    note = "a need is a Stream<T>, optional(stream), previous(stream, initial) or an Attribute<T>; a tuple of up to 12 of these; or a slice of streams of one type"
)]
pub trait Needs {
    /// What a closure gets, as a tuple.
    type Args;
    /// The same needs, by name and type.
    fn list(self) -> Vec<Need>;
}

macro_rules! one_need {
    ($($item:ident),*) => {$(
        impl<T: Element> Needs for $item<T> {
            type Args = (<Self as NeedItem>::Arg,);
            fn list(self) -> Vec<Need> {
                vec![self.need()]
            }
        }
    )*};
}
one_need!(Stream, Optional, Previous, Attribute);

impl<T: Element> Needs for &[Stream<T>] {
    type Args = (All<T>,);
    fn list(self) -> Vec<Need> {
        self.iter().cloned().map(NeedItem::need).collect()
    }
}

impl<T: Element, const N: usize> Needs for [Stream<T>; N] {
    type Args = (All<T>,);
    fn list(self) -> Vec<Need> {
        self.into_iter().map(NeedItem::need).collect()
    }
}

/// What a closure gets for one need.
pub trait Arg: Sized {
    /// What it is read from: a column, or several.
    type Columns<'a>;

    /// Finds its columns; `at` is the number of the next need, which is moved on.
    fn columns<'a>(rows: &Rows<'a>, at: &mut usize) -> Self::Columns<'a>;

    /// Reads it from `row`.
    ///
    /// # Errors
    /// When a required need is missing, which only happens to nodes that pass missing values.
    fn read(columns: &Self::Columns<'_>, row: usize) -> Result<Self, RowError>;
}

/// A need's number, and its column.
type Numbered<'a> = (usize, ColumnRef<'a>);

#[inline]
fn next<'a>(rows: &Rows<'a>, at: &mut usize) -> Numbered<'a> {
    let need = *at;
    *at += 1;
    (need, rows.column(need))
}

impl<T: Element> Arg for T {
    type Columns<'a> = Numbered<'a>;

    #[inline]
    fn columns<'a>(rows: &Rows<'a>, at: &mut usize) -> Numbered<'a> {
        next(rows, at)
    }

    #[inline]
    fn read((need, column): &Numbered<'_>, row: usize) -> Result<Self, RowError> {
        T::get(*column, row).ok_or_else(|| missing(*need))
    }
}

#[cold]
fn missing(need: usize) -> RowError {
    RowError::new(format!("need {need} is missing in this row; declare it `optional`"))
}

impl<T: Element> Arg for Option<T> {
    type Columns<'a> = Numbered<'a>;

    #[inline]
    fn columns<'a>(rows: &Rows<'a>, at: &mut usize) -> Numbered<'a> {
        next(rows, at)
    }

    #[inline]
    fn read((_, column): &Numbered<'_>, row: usize) -> Result<Self, RowError> {
        Ok(T::get(*column, row))
    }
}

/// All needs of a node, of one type; a closure over a slice of streams takes this. Tuples end at twelve.
///
/// ```
/// use gristmill::Stream;
/// use gristmill::topology::need::All;
/// use gristmill::topology::{Topology, provide, sensor};
/// use gristmill::words::Time;
/// const MEAN: Stream<f32> = Stream::new("mean");
///
/// let cells: Vec<Stream<f32>> = (0..20).map(|cell| Stream::named(format!("cell{cell}"))).collect();
/// let mean = provide(MEAN).needs(&cells[..]).by(|cells: All<f32>| cells.0.iter().sum::<f32>() / cells.0.len() as f32);
/// let sensors = cells.iter().map(|cell| sensor(cell.clone()).into());
/// let mut bench = Topology::new("battery").with_all(sensors).with(mean).bench();
/// let row = bench.row("B1", Time::from_secs(1));
/// (0..20_u8).zip(&cells).fold(row, |row, (value, cell)| row.set(cell.clone(), f32::from(value)));
/// assert_eq!(bench.read(MEAN, "B1"), [(Time::from_secs(1), 9.5)]);
/// ```
#[derive(Clone, Debug)]
pub struct All<T>(pub Vec<T>);

impl<T: Element> Arg for All<T> {
    type Columns<'a> = Vec<Numbered<'a>>;

    fn columns<'a>(rows: &Rows<'a>, at: &mut usize) -> Vec<Numbered<'a>> {
        (*at..rows.needs()).map(|_| next(rows, at)).collect()
    }

    fn read(columns: &Vec<Numbered<'_>>, row: usize) -> Result<Self, RowError> {
        columns.iter().map(|column| T::read(column, row)).collect::<Result<_, _>>().map(Self)
    }
}

/// The streams that `provide(…)` takes: one, or a tuple of up to six.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not something a node can provide",
    note = "a node provides a Stream<T>, or a tuple of up to 6 of them"
)]
pub trait Provides {
    /// The types, as a tuple.
    type Values;
    /// The same streams, by name and type.
    fn list(self) -> Vec<(StreamName, ElementType)>;
}

impl<T: Element> Provides for Stream<T> {
    type Values = (T,);
    fn list(self) -> Vec<(StreamName, ElementType)> {
        vec![(self.name().into(), T::TYPE)]
    }
}

/// What a closure may return for the streams `V`: the value or values, an `Option` (nothing is missing), or a
/// `Result` (an error fails the row).
#[diagnostic::on_unimplemented(
    message = "the node provides `{V}`, but its function returns `{Self}`",
    note = "return the value (a tuple where several streams are provided), an Option of it, or a Result of it"
)]
pub trait Returned<V> {
    /// Writes it into `row`.
    ///
    /// # Errors
    /// The closure's own error.
    fn write(self, out: &mut Outputs<'_>, row: usize) -> Result<(), RowError>;
}

impl<T: Element> Returned<(T,)> for T {
    #[inline]
    fn write(self, out: &mut Outputs<'_>, row: usize) -> Result<(), RowError> {
        T::set(&mut out.column(0), row, Some(self));
        Ok(())
    }
}

impl<V, R: Returned<V>> Returned<V> for Option<R> {
    #[inline]
    fn write(self, out: &mut Outputs<'_>, row: usize) -> Result<(), RowError> {
        self.map_or(Ok(()), |value| value.write(out, row))
    }
}

impl<V, R: Returned<V>, E: fmt::Display> Returned<V> for Result<R, E> {
    #[inline]
    fn write(self, out: &mut Outputs<'_>, row: usize) -> Result<(), RowError> {
        match self {
            Ok(value) => value.write(out, row),
            Err(error) => Err(RowError::new(error.to_string())),
        }
    }
}

macro_rules! tuples {
    ($($item:ident $index:tt),+) => {
        impl<$($item: NeedItem),+> Needs for ($($item,)+) {
            type Args = ($($item::Arg,)+);
            #[expect(non_snake_case, reason = "the type parameters name the values")]
            fn list(self) -> Vec<Need> {
                let ($($item,)+) = self;
                vec![$($item.need()),+]
            }
        }
    };
}
tuples!(A 0, B 1);
tuples!(A 0, B 1, C 2);
tuples!(A 0, B 1, C 2, D 3);
tuples!(A 0, B 1, C 2, D 3, E 4);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11);

macro_rules! provided {
    ($($item:ident $index:tt),+) => {
        impl<$($item: Element),+> Provides for ($(Stream<$item>,)+) {
            type Values = ($($item,)+);
            fn list(self) -> Vec<(StreamName, ElementType)> {
                vec![$((self.$index.name().into(), $item::TYPE)),+]
            }
        }

        impl<$($item: Element),+> Returned<($($item,)+)> for ($($item,)+) {
            fn write(self, out: &mut Outputs<'_>, row: usize) -> Result<(), RowError> {
                $($item::set(&mut out.column($index), row, Some(self.$index));)+
                Ok(())
            }
        }
    };
}
provided!(A 0, B 1);
provided!(A 0, B 1, C 2);
provided!(A 0, B 1, C 2, D 3);
provided!(A 0, B 1, C 2, D 3, E 4);
provided!(A 0, B 1, C 2, D 3, E 4, F 5);
