//! Exponentials, logarithms, powers and circular functions as straight lines of code, which the compiler makes into
//! vector instructions within [`vectorized`](super::vectorized).
//!
//! The f32 functions use only operations that IEEE 754 rounds, of which the compiler fuses none: every CPU gives the same
//! bits. Exponentials ask for fused multiply-adds, which a CPU without the instruction, from before 2013, is slow at.
//! Measured, in ulps of the exact result at most: exp 1.0, exp_m1 1.4,
//! ln 0.8, ln_1p 0.9, sin 1.6, cos 1.6, tanh 1.3, pow 0.51.
//!
//! The f64 functions are for checking: those of the standard library, one at a time.
#![expect(
    clippy::excessive_precision,
    clippy::unreadable_literal,
    reason = "constants as they were computed, and parts of numbers"
)]

mod polynomials;
#[cfg(test)]
mod tests;

use polynomials::*;
use std::ops::{Add, Mul};

/// Functions of a float. None is a method, so that `x.exp()` can not be mistaken for the one of the standard library.
pub(crate) trait Math: Copy {
    /// `e^x`.
    fn exp(x: Self) -> Self;
    /// `e^x - 1`, exact to the last bits near 0.
    fn exp_m1(x: Self) -> Self;
    /// The natural logarithm: -inf of 0, NaN below.
    fn ln(x: Self) -> Self;
    /// `ln(1 + x)`, exact to the last bits near 0.
    fn ln_1p(x: Self) -> Self;
    /// The sine of every angle in radians, in place: many at once, since a rare one takes another road.
    fn sin_each(xs: &mut [Self]);
    /// The cosine of every angle in radians, in place.
    fn cos_each(xs: &mut [Self]);
    /// The hyperbolic tangent.
    fn tanh(x: Self) -> Self;
    /// `x^y`, with the special cases of C99: 1 for `x^0` and `1^y`, whatever the other is.
    fn pow(x: Self, y: Self) -> Self;
}

impl Math for f32 {
    #[inline(always)]
    fn exp(x: f32) -> f32 {
        // Beyond these it is infinite, or 0.
        let (m, n) = exp_parts(x.clamp(-104.0, 89.0));
        // In two steps: 2^n may be no normal number.
        let half = n >> 1;
        (1.0 + m) * power_of_two(half) * power_of_two(n.wrapping_sub(half))
    }

    #[inline(always)]
    fn exp_m1(x: f32) -> f32 {
        let (m, n) = exp_parts(x.clamp(-18.0, 89.0));
        // Half of the result, since 2^128 is infinite.
        let half = power_of_two(n.wrapping_sub(1));
        let y = 2.0 * (half * m + (half - 0.5));
        if x.abs() < TINY { x } else { y }
    }

    #[inline(always)]
    fn ln(x: f32) -> f32 {
        let (small, subnormal) = (x * 8_388_608.0, x < f32::MIN_POSITIVE);
        let y = ln_normal(if subnormal { small } else { x }, if subnormal { -23.0 } else { 0.0 }, 0.0);
        ln_special(x, y)
    }

    #[inline(always)]
    fn ln_1p(x: f32) -> f32 {
        let u = 1.0 + x;
        // What the sum lost.
        let lost = (x - (u - 1.0)) / u;
        let y = ln_special(u, ln_normal(u, 0.0, lost));
        if x.abs() < TINY { x } else { y }
    }

    #[inline(always)]
    fn sin_each(xs: &mut [f32]) {
        each_moderate(xs, sin_moderate, 0);
    }

    #[inline(always)]
    fn cos_each(xs: &mut [f32]) {
        each_moderate(xs, cos_moderate, 1);
    }

    #[inline(always)]
    fn tanh(x: f32) -> f32 {
        // 1 from here on.
        let a = x.abs().clamp(0.0, 10.0);
        let square = x * x;
        let near = x + x * (square * polynomial(square, TANH));
        let (m, n) = exp_parts(2.0 * a);
        let far = (1.0 - 2.0 / ((1.0 + m) * power_of_two(n) + 1.0)).copysign(x);
        let y = if a < 0.6 { near } else { far };
        if x == 0.0 { x } else { y }
    }

    #[inline(always)]
    fn pow(x: f32, y: f32) -> f32 {
        let a = x.abs();
        let log = log2(a);
        let t = f64::from(y) * log;
        let z = exp2(t) as f32;
        let whole = y.trunc() == y;
        let half = 0.5 * y;
        let odd = whole & (half.trunc() != half);
        let z = if odd { z.copysign(x) } else { z };
        let undefined = (x < 0.0) & (a < f32::INFINITY) & !whole;
        let z = if undefined { f32::NAN } else { z };
        // (-1)^inf is 1 too.
        let one = (y == 0.0) | (x == 1.0) | ((x == -1.0) & (y.abs() == f32::INFINITY));
        if one { 1.0 } else { z }
    }
}

impl Math for f64 {
    fn exp(x: f64) -> f64 {
        x.exp()
    }

    fn exp_m1(x: f64) -> f64 {
        x.exp_m1()
    }

    fn ln(x: f64) -> f64 {
        x.ln()
    }

    fn ln_1p(x: f64) -> f64 {
        x.ln_1p()
    }

    fn sin_each(xs: &mut [f64]) {
        xs.iter_mut().for_each(|x| *x = x.sin());
    }

    fn cos_each(xs: &mut [f64]) {
        xs.iter_mut().for_each(|x| *x = x.cos());
    }

    fn tanh(x: f64) -> f64 {
        x.tanh()
    }

    fn pow(x: f64, y: f64) -> f64 {
        x.powf(y)
    }
}

/// Below this `e^x - 1` and `ln(1 + x)` are `x`: 2^-25.
const TINY: f32 = 2.9802322e-8;
/// Angles up to this have a quotient by a quarter turn that the quick way is exact for: 2^25.
const MODERATE: f32 = 33_554_432.0;

/// Adding this rounds an f32 of moderate size to a whole number, which then stands in the low bits: 1.5 * 2^23.
pub(super) const ROUND: f32 = 12_582_912.0;
/// The same for f64: 1.5 * 2^52.
const ROUND_64: f64 = 6_755_399_441_055_744.0;

/// The natural logarithm of 2 in two parts, the first so short that its multiples are exact.
pub(super) const LN_2: [f32; 2] = [0.693359375, -2.12194440e-4];
/// A quarter turn in two parts, likewise.
const QUARTER: [f64; 2] = [1.5707963258028030, 9.920935796805404e-10];
/// The bits of 2 / pi behind the point.
const TWO_OVER_PI: [u64; 4] =
    [0xa2f9836e4e441529, 0xfc2757d1f534ddc0, 0xdb6295993c439041, 0xfe5163abdebbc561];

/// A polynomial whose highest coefficient comes first.
#[inline(always)]
fn polynomial<T: Copy + Mul<Output = T> + Add<Output = T>, const N: usize>(x: T, terms: [T; N]) -> T {
    terms[1..].iter().fold(terms[0], |sum, &term| sum * x + term)
}

/// [`polynomial`] in fused multiply-adds.
#[inline(always)]
pub(super) fn fused<const N: usize>(x: f32, terms: [f32; N]) -> f32 {
    terms[1..].iter().fold(terms[0], |sum, &term| sum.mul_add(x, term))
}

/// 2 to the power of an exponent of normal numbers.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// `m` and `n`, where `e^x` is `(1 + m) 2^n` and `m` is small. Of `n` the low bits count, which [`power_of_two`] takes.
#[inline(always)]
fn exp_parts(x: f32) -> (f32, i32) {
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN_2[1], n.mul_add(-LN_2[0], x));
    let rest = fused(r, EXP).mul_add(r, 0.5);
    ((r * r).mul_add(rest, r), shifted.to_bits() as i32)
}

/// `2^t`, of f32's precision and more than its range.
#[inline(always)]
fn exp2(t: f64) -> f64 {
    let t = t.clamp(-200.0, 200.0);
    let shifted = t + ROUND_64;
    let p = polynomial(t - (shifted - ROUND_64), EXP2_64);
    // The exponent of what the bits count from is 1023; the rest of ROUND_64 is shifted out.
    p * f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52)
}

/// The natural logarithm of `(x + x lost) 2^shift`, where `x` is normal and positive.
#[inline(always)]
fn ln_normal(x: f32, shift: f32, lost: f32) -> f32 {
    let (m, e) = {
        let bits = x.to_bits().wrapping_sub(ROOT_HALF);
        (f32::from_bits((bits & 0x007f_ffff).wrapping_add(ROOT_HALF)), (bits as i32 >> 23) as f32 + shift)
    };
    let f = m - 1.0;
    let square = f * f;
    let rest = (f * square) * polynomial(f, LN) + e * LN_2[1] - 0.5 * square + lost;
    (f + rest) + e * LN_2[0]
}

/// The bits of `sqrt(1/2)`.
const ROOT_HALF: u32 = 0x3f35_04f3;
/// The same of f64.
const ROOT_HALF_64: u64 = 0x3fe6_a09e_667f_3bcd;

/// The logarithm of any number, where `y` is that of a positive one.
#[inline(always)]
fn ln_special(x: f32, y: f32) -> f32 {
    let y = if x < f32::INFINITY { y } else { x };
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    if x < 0.0 { f32::NAN } else { y }
}

/// The logarithm of base 2 of a number that is not negative, to some 45 bits.
#[inline(always)]
fn log2(x: f32) -> f64 {
    let bits = f64::from(x).to_bits().wrapping_sub(ROOT_HALF_64);
    let m = f64::from_bits((bits & 0x000f_ffff_ffff_ffff).wrapping_add(ROOT_HALF_64));
    // Biased, so that the shift needs no sign.
    let e = f64::from((bits.wrapping_add(1023 << 52) >> 52) as i32) - 1023.0;
    let s = (m - 1.0) / (m + 1.0);
    let y = e + s * polynomial(s * s, LOG2_64);
    let y = if x < f32::INFINITY { y } else { f64::from(x) };
    if x == 0.0 { f64::NEG_INFINITY } else { y }
}

#[inline(always)]
fn sin_moderate(x: f32) -> f32 {
    let (r, quarters) = quarter_turns(x);
    let y = wave(r, quarters);
    // The sum in `wave` loses the sign of -0.
    if x == 0.0 { x } else { y }
}

#[inline(always)]
fn cos_moderate(x: f32) -> f32 {
    let (r, quarters) = quarter_turns(x);
    wave(r, quarters.wrapping_add(1))
}

/// The rest in `[-pi/4, pi/4]` and the number of quarter turns, of which the lowest two bits count.
#[inline(always)]
fn quarter_turns(x: f32) -> (f32, u32) {
    let x = f64::from(x);
    let shifted = x * std::f64::consts::FRAC_2_PI + ROUND_64;
    let n = shifted - ROUND_64;
    let r = (x - n * QUARTER[0]) - n * QUARTER[1];
    (r as f32, shifted.to_bits() as u32)
}

/// The sine of `r` after some quarter turns.
#[inline(always)]
fn wave(r: f32, quarters: u32) -> f32 {
    let square = r * r;
    let sin = r + r * (square * polynomial(square, SIN));
    let cos = (1.0 - 0.5 * square) + (square * square) * polynomial(square, COS);
    let y = if quarters & 1 == 0 { sin } else { cos };
    f32::from_bits(y.to_bits() ^ ((quarters & 2) << 30))
}

/// The sine of an angle beyond [`MODERATE`], some quarter turns on, with as many bits of 2 / pi as it takes (Payne and
/// Hanek, 1983).
#[cold]
#[inline(never)]
fn huge(x: f32, quarters: u32) -> f32 {
    if !x.is_finite() {
        return f32::NAN;
    }
    let bits = x.abs().to_bits();
    let mantissa = u128::from(bits & 0x007f_ffff | 0x0080_0000);
    // Bits of 2 / pi before these make whole turns.
    let skip = (bits >> 23) as usize - 152;
    let (word, shift) = (skip / 64, skip % 64);
    let [a, b, c] = [0, 1, 2].map(|i| u128::from(TWO_OVER_PI[word + i]));
    let product = mantissa.wrapping_mul((a << 64 | b) << shift | c << shift >> 64);
    // Quarter turns before the point, which stands after two bits.
    let whole = product.wrapping_add(1 << 125) >> 126;
    let part = product.wrapping_sub(whole << 126) as i128;
    let r = part as f64 * (0.25 * std::f64::consts::FRAC_PI_2 / f64::from(1u32 << 31).powi(4));
    let sign = if x < 0.0 && quarters == 0 { -1.0 } else { 1.0 };
    sign * wave(r as f32, whole as u32 + quarters)
}

/// [`wave`] of every element: by `quick`, if all of some neighbours are moderate.
#[inline(always)]
fn each_moderate(xs: &mut [f32], quick: impl Fn(f32) -> f32, quarters: u32) {
    for xs in xs.chunks_mut(256) {
        let mut far = false;
        for x in &*xs {
            far |= x.abs() > MODERATE;
        }
        if far {
            for x in xs {
                *x = if x.abs() > MODERATE { huge(*x, quarters) } else { quick(*x) };
            }
        } else {
            for x in xs {
                *x = quick(*x);
            }
        }
    }
}
