//! The tail of the normal distribution, which GELU is made of, in straight lines of code for
//! [`vectorized`](super::vectorized).
//!
//! `e^(t^2/2) Q(t)`, where `Q(t)` is the probability that a standard normal variable is above `t`, changes slowly. In f32 it is
//! a quotient of polynomials whose coefficients are positive, so that nothing cancels, fitted by the exchange of Remez; the
//! quotient ends a chain of operations and does not begin one, so that a CPU has time for it. In f64, times `t + k` it is a
//! polynomial of `(t - k) / (t + k)`. Measured over all f32, the tail is within 6.5 ulps.
//!
//! That of f32 takes fused multiply-adds, which IEEE 754 rounds too: every CPU gives the same bits, but one without the
//! instruction, from before 2013, is slow.

use super::math::{LN_2, Math, ROUND, fused};
use std::f32::consts::LOG2_E;

/// A type with the tail of the normal distribution.
pub(super) trait Normal: Math {
    /// `2 sqrt(2 / pi)`: the factor of `x` in the approximation of GELU by a hyperbolic tangent.
    const LINE: Self;
    /// 0.044715 of that: the factor of `x^3`.
    const CUBE: Self;
    /// The density of the distribution, `e^(-t^2/2)` times this.
    const DENSITY: Self;
    /// Beyond it the tail is 0.
    const END: Self;
    /// What the factor of [`beyond`](Self::beyond) counts in, so that it is no subnormal number.
    const UNIT: Self;

    /// `Q(t)` as a numerator, a denominator and a factor, `e^(-t^2/2)` in units, for `t` from 0 to [`END`](Self::END).
    fn beyond(t: Self) -> [Self; 3];
    /// `y - t Q(t)`, for `t >= 0`; `y` where `t` is NaN.
    fn less_tail(y: Self, t: Self) -> Self;
}

impl Normal for f32 {
    const LINE: f32 = 1.5957692;
    const CUBE: f32 = 0.071354814;
    const DENSITY: f32 = 0.3989423;
    const END: f32 = 16.0;
    const UNIT: f32 = 5.421011e-20;

    #[inline(always)]
    fn beyond(t: f32) -> [f32; 3] {
        [fused(t, OVER_32), fused(t, UNDER_32), gauss(t)]
    }

    #[inline(always)]
    fn less_tail(y: f32, t: f32) -> f32 {
        let t = if t < Self::END { t } else { Self::END };
        let [over, under, gauss] = Normal::beyond(t);
        // Not fused: what is nothing must not make 0 into -0.
        y - t * over * gauss / under * Self::UNIT
    }
}

/// `e^(-t^2/2)` in units of 2^-64, so that it is a normal number up to the end of the tail.
#[inline(always)]
fn gauss(t: f32) -> f32 {
    let square = t * t;
    // What rounding took: up to 2^-17, which the exponential would magnify.
    let lost = t.mul_add(t, -square);
    let shifted = square.mul_add(-0.5 * LOG2_E, ROUND + 64.0);
    let n = shifted - (ROUND + 64.0);
    // Twice what is left of the exponent.
    let r = n.mul_add(-2.0 * LN_2[0], -square) + n.mul_add(-2.0 * LN_2[1], -lost);
    // The low bits of what was rounded are n + 64, to which the exponent of 1 is added; the others are shifted out.
    fused(r, EXP_OF_HALF) * f32::from_bits((shifted.to_bits() << 23).wrapping_add(1f32.to_bits()))
}

impl Normal for f64 {
    const LINE: f64 = 1.5957691216057308;
    const CUBE: f64 = 0.07135481627260025;
    const DENSITY: f64 = 0.3989422804014327;
    const END: f64 = 40.0;
    const UNIT: f64 = 1.0;

    #[inline(always)]
    fn beyond(t: f64) -> [f64; 3] {
        let m = (t - 5.0) / (t + 5.0);
        let slow = SLOW_64[1..].iter().fold(SLOW_64[0], |sum, &term| sum * m + term);
        // The square in two parts, the first exact.
        let high = f64::from(t as f32);
        [slow, t + 5.0, Math::exp(-0.5 * high * high) * Math::exp(-0.5 * (t - high) * (t + high))]
    }

    #[inline(always)]
    fn less_tail(y: f64, t: f64) -> f64 {
        let t = if t < Self::END { t } else { Self::END };
        let [over, under, gauss] = Normal::beyond(t);
        y - t * over * gauss / under
    }
}

/// Up to 14.4, the one over the other: within 2^-27.
const OVER_32: [f32; 5] = [4.108733e-3, 4.0582277e-2, 1.8308413e-1, 4.380913e-1, 0.5];
const UNDER_32: [f32; 6] = [1.0298945e-2, 1.01731196e-1, 4.6907195e-1, 1.2018763, 1.6740676, 1.0];
/// `e^(r/2)`, where `|r| <= ln(2)`: within 2^-28.
const EXP_OF_HALF: [f32; 7] = [
    1.3814612e-3 / 64.0,
    8.368717e-3 / 32.0,
    4.166839e-2 / 16.0,
    1.666652e-1 / 8.0,
    4.9999993e-1 / 4.0,
    0.5,
    1.0,
];
/// Up to 40, with k = 5: within 2^-56.
const SLOW_64: [f64; 23] = [
    -1.8073212078146044e-10,
    1.6891057665153782e-9,
    7.667236107202653e-9,
    -9.144502081289173e-9,
    -6.58488684007974e-8,
    4.209183333886914e-8,
    4.329837037415609e-7,
    -3.3651220434990697e-7,
    -2.7691457822822777e-6,
    3.980871285666973e-6,
    1.6681160364586646e-5,
    -4.9762810377903036e-5,
    -5.937571381647131e-5,
    0.000544899065037323,
    -0.0007978694007392487,
    -0.002993376770649268,
    0.02079506680009146,
    -0.06911863870629469,
    0.16502036617037502,
    -0.31353315667130516,
    0.4953056159699766,
    -0.6653825028900567,
    0.769193049750063,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The tail of f64 is proved by the definition of GELU in the tests of this workspace.
    #[test]
    fn the_tail_of_f32_is_within_ulps() {
        let mut worst = (0.0, 0.0);
        let step = if cfg!(debug_assertions) { 1021 } else { 1 };
        for t in (0..16f32.to_bits()).step_by(step).map(f32::from_bits) {
            let want = -<f64 as Normal>::less_tail(0.0, t.into());
            let ulp = 2f64.powi((want.to_bits() >> 52) as i32 - 1023 - 23).max(2f64.powi(-149));
            let error = (f64::from(-<f32 as Normal>::less_tail(0.0, t)) - want).abs() / ulp;
            if error > worst.0 {
                worst = (error, t);
            }
        }
        assert!(worst.0 <= 6.5, "{} ulps at {:e}", worst.0, worst.1);
    }

    #[test]
    fn the_tail_ends() {
        for t in [40.0, 1e30, f32::INFINITY, f32::NAN, 0.0] {
            assert_eq!(<f32 as Normal>::less_tail(0.0, t), 0.0);
            assert_eq!(<f64 as Normal>::less_tail(0.0, t.into()), 0.0);
        }
    }
}
