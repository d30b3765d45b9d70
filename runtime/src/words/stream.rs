//! Typed names of streams and attributes.

use std::borrow::Cow;
use std::marker::PhantomData;

use super::element::Element;

/// A named, typed sequence of values of one key: a sensor's readings, a feature, a prediction.
///
/// ```
/// use gristmill::Stream;
/// const VIBRATION: Stream<f32> = Stream::new("vibration"); // mm/s
/// assert_eq!(VIBRATION.name(), "vibration");
/// ```
#[derive(Debug)]
pub struct Stream<T> {
    name: Cow<'static, str>,
    element: PhantomData<fn() -> T>,
}

impl<T> Clone for Stream<T> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), element: PhantomData }
    }
}

impl<T: Element> Stream<T> {
    /// A stream of that name; the name is checked when the topology is resolved.
    pub const fn new(name: &'static str) -> Self {
        Self { name: Cow::Borrowed(name), element: PhantomData }
    }

    /// A stream whose name is made at run time.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: Cow::Owned(name.into()), element: PhantomData }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A fact about a key that is not in its rows: site, rating. Where a node needs it, every row reads the same value.
#[derive(Debug)]
pub struct Attribute<T> {
    name: Cow<'static, str>,
    element: PhantomData<fn() -> T>,
}

impl<T> Clone for Attribute<T> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), element: PhantomData }
    }
}

impl<T: Element> Attribute<T> {
    /// An attribute of that name.
    pub const fn new(name: &'static str) -> Self {
        Self { name: Cow::Borrowed(name), element: PhantomData }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}
