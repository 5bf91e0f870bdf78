//! The tail of the normal distribution, which GELU is made of, in straight lines of code for
//! [`vectorized`](super::vectorized).
//!
//! `e^(t^2/2) Q(t)`, where `Q(t)` is the probability that a standard normal variable is above `t`, changes slowly: times
//! `t + k` it is a polynomial of `(t - k) / (t + k)`, here fitted at Chebyshev's points. Measured over all f32, the tail is
//! within 6.5 ulps.

use super::math::Math;

/// A type with the tail of the normal distribution.
pub(super) trait Normal: Math {
    /// `2 sqrt(2 / pi)`: the factor of `x` in the approximation of GELU by a hyperbolic tangent.
    const LINE: Self;
    /// 0.044715 of that: the factor of `x^3`.
    const CUBE: Self;

    /// The density of the distribution, `e^(-t^2/2)` times this.
    const DENSITY: Self;

    /// `Q(t)` in two factors, the second of which is `e^(-t^2/2)`, for `t` from 0 to [`END`].
    fn beyond(t: Self) -> (Self, Self);
    /// `t Q(t)`, for `t >= 0`; 0 for NaN.
    fn tail(t: Self) -> Self;
}

/// Beyond it the tail is 0 in f64, and long before in f32.
pub(super) const END: f32 = 40.0;

impl Normal for f32 {
    const LINE: f32 = 1.5957692;
    const CUBE: f32 = 0.071354814;
    const DENSITY: f32 = 0.3989423;

    #[inline(always)]
    fn beyond(t: f32) -> (f32, f32) {
        let r = 1.0 / (t + 4.0);
        let m = (t - 4.0) * r;
        let slow = SLOW_32[1..].iter().fold(SLOW_32[0], |sum, &term| sum * m + term) * r;
        // What rounding takes from t^2 is given back to first order: it is up to 2^-17, and e^x magnifies it. The upper half
        // of the bits has an exact square.
        let high = f32::from_bits(t.to_bits() & 0xffff_f000);
        let low = t - high;
        let square = t * t;
        let lost = ((high * high - square) + 2.0 * high * low) + low * low;
        let gauss = Math::exp(-0.5 * square);
        (slow, gauss - gauss * (0.5 * lost))
    }

    #[inline(always)]
    fn tail(t: f32) -> f32 {
        let t = if t < END { t } else { END };
        let (slow, gauss) = Normal::beyond(t);
        t * slow * gauss
    }
}

impl Normal for f64 {
    const LINE: f64 = 1.5957691216057308;
    const CUBE: f64 = 0.07135481627260025;
    const DENSITY: f64 = 0.3989422804014327;

    #[inline(always)]
    fn beyond(t: f64) -> (f64, f64) {
        let r = 1.0 / (t + 5.0);
        let m = (t - 5.0) * r;
        let slow = SLOW_64[1..].iter().fold(SLOW_64[0], |sum, &term| sum * m + term) * r;
        // The square in two parts, the first exact.
        let high = f64::from(t as f32);
        (slow, Math::exp(-0.5 * high * high) * Math::exp(-0.5 * (t - high) * (t + high)))
    }

    #[inline(always)]
    fn tail(t: f64) -> f64 {
        let end = f64::from(END);
        let t = if t < end { t } else { end };
        let (slow, gauss) = Normal::beyond(t);
        t * slow * gauss
    }
}

/// Up to 15, with k = 4: within 2^-26.
const SLOW_32: [f32; 10] = [
    -1.2555839e-4,
    1.8899652e-4,
    1.5668817e-3,
    -3.5209728e-3,
    -7.5254026e-3,
    6.0406186e-2,
    -1.865233e-1,
    3.871367e-1,
    -6.0789657e-1,
    7.5528514e-1,
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
            let want = <f64 as Normal>::tail(t.into());
            let ulp = 2f64.powi((want.to_bits() >> 52) as i32 - 1023 - 23).max(2f64.powi(-149));
            let error = (f64::from(<f32 as Normal>::tail(t)) - want).abs() / ulp;
            if error > worst.0 {
                worst = (error, t);
            }
        }
        assert!(worst.0 <= 6.5, "{} ulps at {:e}", worst.0, worst.1);
    }

    #[test]
    fn the_tail_ends() {
        for t in [40.0, 1e30, f32::INFINITY, f32::NAN, 0.0] {
            assert_eq!(<f32 as Normal>::tail(t), 0.0);
            assert_eq!(<f64 as Normal>::tail(t.into()), 0.0);
        }
    }
}
