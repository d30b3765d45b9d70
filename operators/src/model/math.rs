//! Transcendental functions in plain arithmetic: the same bits on every machine, and loops over them run in lanes.

const LOG2_E: f32 = std::f32::consts::LOG2_E;
// ln 2 in two parts; the first has so few bits that its product with a small integer is exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;
// Adding and taking away 1.5 * 2^23 rounds to the nearest integer.
const ROUND: f32 = 12_582_912.0;

/// e to the `x`, within 2 units in the last place; 0 below about -104, infinity above about 88.7, NaN of NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Bounded first, so that the exponent below stays in range; written so that NaN passes.
    let bounded = if x > 89.0 { 89.0 } else { x };
    let bounded = if bounded < -105.0 { -105.0 } else { bounded };
    let shifted = bounded * LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let rest = (bounded - whole * LN_2_HIGH) - whole * LN_2_LOW;
    let mut sum = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        sum = sum * rest + coefficient;
    }
    // The low bits of the shifted number are the integer: cheaper than a conversion, which would check its range.
    let exponent = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    // In two factors: one alone has no room for the largest and the subnormal results.
    let half = exponent >> 1;
    sum * power_of_two(half) * power_of_two(exponent.wrapping_sub(half))
}

#[inline(always)]
fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits((exponent.wrapping_add(127) as u32) << 23)
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(crate) fn logistic(x: f32) -> f32 {
    let e = exp(-x.abs());
    let positive = 1.0 / (1.0 + e);
    if x < 0.0 { e * positive } else { positive }
}

/// The hyperbolic tangent, absolute error below 1e-6.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let e = exp(-2.0 * x.abs());
    let positive = (1.0 - e) / (1.0 + e);
    // Near 0 the difference above has lost its digits; the series has them.
    let square = x * x;
    let small = x.abs() * (1.0 + square * (-1.0 / 3.0 + square * (2.0 / 15.0 + square * (-17.0 / 315.0))));
    let magnitude = if x.abs() < 0.15 { small } else { positive };
    if x < 0.0 { -magnitude } else { magnitude }
}

/// The probit that ONNX means, by Winitzki's approximation with onnxruntime's constants. Near a half the formula takes nearly
/// equal numbers from each other: in `f32`, as onnxruntime has it, up to 1e-3 of the result is noise there.
#[expect(clippy::approx_constant, reason = "the reference writes pi with five digits")]
pub(crate) fn probit(x: f32) -> f32 {
    let x = 2.0 * f64::from(x) - 1.0;
    let log = libm::log((1.0 - x) * (1.0 + x));
    let first = 2.0 / (3.141_59 * 0.147) + 0.5 * log;
    let second = 1.0 / 0.147 * log;
    let inverse = (-first + (first * first - second).sqrt()).sqrt();
    (std::f64::consts::SQRT_2 * inverse.copysign(x)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_the_exact_functions() {
        for step in -12_000..12_000 {
            let x = step as f32 * 0.01;
            let exact = f64::from(x).exp();
            let got = f64::from(exp(x));
            if exact < f64::from(f32::MAX) {
                assert!((got - exact).abs() <= exact * 3e-7 + 2e-45, "exp {x}: {got} {exact}");
            } else {
                assert_eq!(got, f64::INFINITY);
            }
            assert!((f64::from(tanh(x)) - f64::from(x).tanh()).abs() < 5e-7, "tanh {x}");
            assert!((f64::from(logistic(x)) - 1.0 / (1.0 + (-f64::from(x)).exp())).abs() < 2e-7, "logistic {x}");
        }
        assert!(exp(f32::NAN).is_nan() && tanh(f32::NAN).is_nan() && logistic(f32::NAN).is_nan());
        assert_eq!((exp(f32::NEG_INFINITY), exp(f32::INFINITY), exp(0.0)), (0.0, f32::INFINITY, 1.0));
        assert_eq!((tanh(f32::INFINITY), tanh(f32::NEG_INFINITY)), (1.0, -1.0));
    }
}
