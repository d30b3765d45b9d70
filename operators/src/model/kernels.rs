//! Which kernels run: one switch for the process.

use std::sync::atomic::{AtomicBool, Ordering};

/// How models compute. Both give the same bits; the switch is there to measure, and to prove that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernels {
    /// Row by row, for the baseline instruction set.
    Scalar,
    /// Blocks of rows, for the best instruction set that the processor has.
    Best,
}

static SCALAR: AtomicBool = AtomicBool::new(false);

impl Kernels {
    /// Makes the whole process use these kernels, from the next block of rows on. [`Kernels::Best`] is the default.
    pub fn set(self) {
        SCALAR.store(self == Self::Scalar, Ordering::Relaxed);
    }

    /// What the process uses now.
    #[inline]
    pub fn current() -> Self {
        if SCALAR.load(Ordering::Relaxed) { Self::Scalar } else { Self::Best }
    }
}
