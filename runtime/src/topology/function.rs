//! Closures as operators, and what `by(…)` takes.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::need::{Arg, Returned};
use super::node::Work;
use crate::traits::{AnyOperator, Model, Operator, Outputs, RowError, Rows};
use crate::words::ElementType;

/// What `by(…)` takes for a node that reads `A` and provides `V`: a closure over the needs, an operator that accepts
/// these types, or a model. `M` keeps the three apart and is always inferred.
#[diagnostic::on_unimplemented(
    message = "the logic of this node must take `{A}` and give `{V}`, which `{Self}` does not",
    label = "does not take `{A}` and give `{V}`",
    note = "a closure takes the needs in their order, with their types written out (Option<T> for an optional need): `|wear: f32, temperature: Option<f32>| …`",
    note = "it returns what is provided (a tuple where several streams are), an Option of it, or a Result of it",
    note = "an operator works on the types of its `impl Accepts<Needs, Provides>`"
)]
pub trait Logic<A, V, M> {
    /// What the node runs.
    fn work(self) -> Work;
}

/// Says that an operator can be wired to needs `A` (a tuple) and provides `V` (a tuple), so that a wrong wire does not
/// compile. Wires that arrive later, in manifests, are checked by [`Operator::check`].
#[diagnostic::on_unimplemented(message = "the operator `{Self}` does not take `{A}` and give `{V}`")]
pub trait Accepts<A, V>: Operator {}

/// Marks operators in [`Logic`].
#[derive(Debug)]
pub struct ByOperator;

/// Marks models in [`Logic`].
#[derive(Debug)]
pub struct ByModel;

#[diagnostic::do_not_recommend]
impl<A, V, O: Accepts<A, V>> Logic<A, V, ByOperator> for O {
    fn work(self) -> Work {
        Work::Operator(Arc::new(self))
    }
}

#[diagnostic::do_not_recommend]
impl<A, V> Logic<A, V, ByModel> for Arc<dyn Model> {
    fn work(self) -> Work {
        Work::Model(self)
    }
}

#[diagnostic::do_not_recommend]
impl<A, V> Logic<A, V, ByModel> for Work {
    fn work(self) -> Work {
        self
    }
}

#[diagnostic::do_not_recommend]
impl<A, V> Logic<A, V, ByModel> for Arc<dyn AnyOperator> {
    fn work(self) -> Work {
        Work::Operator(self)
    }
}

/// A closure as an operator, with no state. What it computes cannot be compared, so the same node id with the same
/// version counts as the same.
pub struct Function<F, A, V, R> {
    function: F,
    types: PhantomData<fn(A) -> (V, R)>,
}

impl<F, A, V, R> fmt::Debug for Function<F, A, V, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Function")
    }
}

/// Calls a closure with the needs of each row.
pub trait Call<A, V, R>: Send + Sync + 'static {
    /// Reads the needs, calls, writes what comes back, row by row.
    ///
    /// # Errors
    /// The closure's own, and missing needs.
    fn call(&self, rows: &Rows<'_>, out: &mut Outputs<'_>) -> Result<(), RowError>;
}

impl<F, A, V, R> Operator for Function<F, A, V, R>
where
    F: Call<A, V, R>,
    A: 'static,
    V: 'static,
    R: 'static,
{
    type State = ();

    fn name(&self) -> &'static str {
        "function"
    }

    fn parameters(&self) -> String {
        String::new()
    }

    fn check(&self, _needs: &[ElementType], _provides: &[ElementType]) -> Result<(), String> {
        Ok(()) // the compiler has
    }

    fn start(&self) {}

    fn run(&self, _state: &mut (), rows: &Rows<'_>, out: &mut Outputs<'_>) -> Result<(), RowError> {
        self.function.call(rows, out)
    }

    /// A closure is given the values of a row and nothing else.
    fn row_by_row(&self) -> bool {
        true
    }
}

macro_rules! functions {
    ($($arg:ident),+) => {
        impl<Func, Ret, Val, $($arg: Arg + 'static),+> Call<($($arg,)+), Val, Ret> for Func
        where
            Func: Fn($($arg),+) -> Ret + Send + Sync + 'static,
            Ret: Returned<Val>,
        {
            #[inline]
            #[expect(non_snake_case, reason = "the type parameters name the values")]
            fn call(&self, rows: &Rows<'_>, out: &mut Outputs<'_>) -> Result<(), RowError> {
                let mut at = 0;
                $(let $arg = $arg::columns(rows, &mut at);)+
                (0..rows.len()).try_for_each(|row| self($($arg::read(&$arg, row)?),+).write(out, row))
            }
        }

        impl<Func, Ret, Val, $($arg: Arg + 'static),+> Logic<($($arg,)+), Val, fn($($arg),+) -> Ret> for Func
        where
            Func: Fn($($arg),+) -> Ret + Send + Sync + 'static,
            Ret: Returned<Val> + 'static,
            Val: 'static,
        {
            fn work(self) -> Work {
                Work::Operator(Arc::new(Function { function: self, types: PhantomData::<fn(($($arg,)+)) -> (Val, Ret)> }))
            }
        }
    };
}
functions!(A);
functions!(A, B);
functions!(A, B, C);
functions!(A, B, C, D);
functions!(A, B, C, D, E);
functions!(A, B, C, D, E, F);
functions!(A, B, C, D, E, F, G);
functions!(A, B, C, D, E, F, G, H);
functions!(A, B, C, D, E, F, G, H, I);
functions!(A, B, C, D, E, F, G, H, I, J);
functions!(A, B, C, D, E, F, G, H, I, J, K);
functions!(A, B, C, D, E, F, G, H, I, J, K, L);
