//! Exponentials and logarithms as straight lines of code, which the compiler makes into vector instructions within
//! [`vectorized`](super::vectorized). The f64 functions are those of the standard library.
#![expect(
    clippy::excessive_precision,
    clippy::unreadable_literal,
    reason = "constants as they were computed"
)]

use std::ops::{Add, Mul};

/// Functions of a float. None is a method, so that `x.exp()` can not be mistaken for the one of the standard library.
pub(crate) trait Math: Copy {
    /// `e^x`.
    fn exp(x: Self) -> Self;
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
}

impl Math for f64 {
    fn exp(x: f64) -> f64 {
        x.exp()
    }
}

/// Adding this rounds an f32 of moderate size to a whole number, which then stands in the low bits: 1.5 * 2^23.
const ROUND: f32 = 12_582_912.0;
/// The natural logarithm of 2 in two parts, the first so short that its multiples are exact.
const LN_2: [f32; 2] = [0.693359375, -2.12194440e-4];
/// `(e^r - 1 - r - r^2 / 2) / r^3`, where `|r| <= ln(2) / 2`.
const EXP: [f32; 5] = [1.9900447e-4, 1.3926929e-3, 8.333299e-3, 4.166655e-2, 1.6666667e-1];

/// A polynomial whose highest coefficient comes first.
#[inline(always)]
fn polynomial<T: Copy + Mul<Output = T> + Add<Output = T>, const N: usize>(x: T, terms: [T; N]) -> T {
    terms[1..].iter().fold(terms[0], |sum, &term| sum * x + term)
}

/// 2 to the power of an exponent of normal numbers.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// `m` and `n`, where `e^x` is `(1 + m) 2^n` and `m` is small.
#[inline(always)]
fn exp_parts(x: f32) -> (f32, i32) {
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN_2[0]) - n * LN_2[1];
    let m = r + (r * r) * (0.5 + r * polynomial(r, EXP));
    (m, shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32)
}
