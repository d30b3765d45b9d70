//! Numbers as a column has them: with a value that says it is missing.

/// A type of number.
pub(super) trait Scalar: Copy + PartialOrd + 'static {
    const MISSING: Self;
    fn is_missing(self) -> bool;
    fn absolute(self) -> Self;
    fn negative(self) -> Self;
}

/// A type of float. Transcendental functions are those of `libm`, whose bits are the same on all machines; the others
/// are exact by IEEE 754.
pub(super) trait Real: Scalar {
    fn add(self, other: Self) -> Self;
    fn subtract(self, other: Self) -> Self;
    fn multiply(self, other: Self) -> Self;
    fn divide(self, other: Self) -> Self;
    fn remainder(self, other: Self) -> Self;
    fn pow(self, other: Self) -> Self;
    fn sqrt(self) -> Self;
    fn exp(self) -> Self;
    fn log(self) -> Self;
    fn sin(self) -> Self;
    fn cos(self) -> Self;
    fn tanh(self) -> Self;
    fn floor(self) -> Self;
    fn ceil(self) -> Self;
    fn round(self) -> Self;
    fn of(number: f64) -> Self;
    fn of_whole(number: i64) -> Self;
    fn wide(self) -> f64;
}

impl Scalar for i64 {
    const MISSING: Self = Self::MIN;

    fn is_missing(self) -> bool {
        self == Self::MIN
    }

    // Only of what is missing can neither be said; it stays missing.
    fn absolute(self) -> Self {
        self.wrapping_abs()
    }

    fn negative(self) -> Self {
        self.wrapping_neg()
    }
}

macro_rules! real {
    ($type:ty, $pow:ident, $exp:ident, $log:ident, $sin:ident, $cos:ident, $tanh:ident) => {
        impl Scalar for $type {
            const MISSING: Self = Self::NAN;

            #[inline]
            fn is_missing(self) -> bool {
                self.is_nan()
            }

            #[inline]
            fn absolute(self) -> Self {
                self.abs()
            }

            #[inline]
            fn negative(self) -> Self {
                -self
            }
        }

        impl Real for $type {
            #[inline]
            fn add(self, other: Self) -> Self {
                self + other
            }

            #[inline]
            fn subtract(self, other: Self) -> Self {
                self - other
            }

            #[inline]
            fn multiply(self, other: Self) -> Self {
                self * other
            }

            #[inline]
            fn divide(self, other: Self) -> Self {
                self / other
            }

            fn remainder(self, other: Self) -> Self {
                self % other
            }

            // libm says that 1 to the power of NaN is 1; here what is made of something missing is missing.
            fn pow(self, other: Self) -> Self {
                if self.is_nan() || other.is_nan() { Self::NAN } else { libm::$pow(self, other) }
            }

            #[inline]
            fn sqrt(self) -> Self {
                self.sqrt()
            }

            fn exp(self) -> Self {
                libm::$exp(self)
            }

            fn log(self) -> Self {
                libm::$log(self)
            }

            fn sin(self) -> Self {
                libm::$sin(self)
            }

            fn cos(self) -> Self {
                libm::$cos(self)
            }

            fn tanh(self) -> Self {
                libm::$tanh(self)
            }

            #[inline]
            fn floor(self) -> Self {
                self.floor()
            }

            #[inline]
            fn ceil(self) -> Self {
                self.ceil()
            }

            #[inline]
            fn round(self) -> Self {
                self.round()
            }

            #[inline]
            fn of(number: f64) -> Self {
                number as $type
            }

            #[inline]
            fn of_whole(number: i64) -> Self {
                if number == i64::MIN { Self::NAN } else { number as $type }
            }

            #[inline]
            fn wide(self) -> f64 {
                f64::from(self)
            }
        }
    };
}
real!(f32, powf, expf, logf, sinf, cosf, tanhf);
real!(f64, pow, exp, log, sin, cos, tanh);
