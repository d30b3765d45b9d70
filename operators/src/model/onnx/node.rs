//! A node and its attributes.

use std::borrow::Cow;

use gristmill::traits::LoadError;
use smol_str::SmolStr;

use super::budget::Budget;
use super::proto::{AttributeProto, NodeProto};
use super::tensor::{Data, Tensor, text};

/// The most values of a list that a refusal names.
const NAMED_MAX: usize = 8;

/// The first of some values, for a refusal: a file of a hostile hand can have millions.
pub(crate) fn few<T: std::fmt::Debug>(values: &[T]) -> String {
    if values.len() <= NAMED_MAX {
        return format!("{values:?}");
    }
    let first = format!("{:?}", &values[..NAMED_MAX]);
    format!("{}, …] ({} in all)", first.trim_end_matches(']'), values.len())
}

/// A node with the version of its operator set: what errors name.
#[derive(Clone, Copy)]
pub(crate) struct Node<'a> {
    pub(crate) proto: &'a NodeProto,
    pub(crate) version: i64,
}

/// The domain of an operator, `ai.onnx` when it names none.
pub(crate) fn domain(node: &NodeProto) -> &str {
    if node.domain.is_empty() { "ai.onnx" } else { &node.domain }
}

impl<'a> Node<'a> {
    /// A refusal that names operator, domain and version.
    pub(crate) fn refused(&self, why: impl std::fmt::Display) -> LoadError {
        let (operator, domain, version) = (&self.proto.op_type, domain(self.proto), self.version);
        LoadError { reason: format!("operator {operator} ({domain} {version}): {why}") }
    }

    fn attribute(&self, name: &str) -> Option<&'a AttributeProto> {
        self.proto.attribute.iter().find(|attribute| attribute.name == name)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    /// Refuses attributes that are not among `known`: they could change what the operator means.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), LoadError> {
        match self.proto.attribute.iter().find(|attribute| !known.contains(&&*attribute.name)) {
            Some(unknown) => Err(self.refused(format!("attribute `{}` is not supported", unknown.name))),
            None => Ok(()),
        }
    }

    pub(crate) fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |attribute| attribute.i)
    }

    pub(crate) fn float(&self, name: &str, default: f32) -> f32 {
        self.attribute(name).map_or(default, |attribute| attribute.f)
    }

    pub(crate) fn string(&self, name: &str, default: &str) -> SmolStr {
        self.attribute(name).map_or_else(|| default.into(), |attribute| text(&attribute.s))
    }

    pub(crate) fn floats(&self, name: &str) -> &'a [f32] {
        self.attribute(name).map_or(&[], |attribute| &attribute.floats)
    }

    pub(crate) fn ints(&self, name: &str) -> &'a [i64] {
        self.attribute(name).map_or(&[], |attribute| &attribute.ints)
    }

    pub(crate) fn strings(&self, name: &str) -> &'a [Vec<u8>] {
        self.attribute(name).map_or(&[], |attribute| &attribute.strings)
    }

    /// A tensor attribute, if it is there.
    pub(crate) fn tensor(&self, name: &str, budget: &mut Budget) -> Result<Option<Tensor>, LoadError> {
        let tensor = self.attribute(name).and_then(|attribute| attribute.t.as_ref());
        tensor.map(|tensor| Tensor::read(tensor, None, budget)).transpose()
    }

    /// Floats, given as `name` or as a tensor `name_as_tensor`.
    pub(crate) fn floats_or_tensor(&self, name: &str, budget: &mut Budget) -> Result<Cow<'a, [f32]>, LoadError> {
        match self.tensor(&format!("{name}_as_tensor"), budget)? {
            Some(Tensor { data: Data::Floats(values), .. }) => Ok(Cow::Owned(values)),
            Some(_) => Err(self.refused(format!("`{name}_as_tensor` does not hold floats"))),
            None => Ok(Cow::Borrowed(self.floats(name))),
        }
    }

    /// The name of an input; `None` when it is left out.
    pub(crate) fn input(&self, index: usize) -> Option<&'a str> {
        self.proto.input.get(index).map(|name| &**name).filter(|name| !name.is_empty())
    }
}
