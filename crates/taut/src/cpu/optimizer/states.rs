//! What is kept of weights: masters in planes, and moments in codes.

use super::rules::Real;
use crate::cpu::{BLOCK, vectorized};
use std::{ops::Range, sync::LazyLock};
use taut_core::{CODE_BLOCK, code, level, signed_code, signed_level};

/// What weights are rounded from.
pub(super) enum Master<'a> {
    None,
    Full(&'a mut [f32]),
    /// Lower halves.
    Low(&'a mut [u16]),
}

/// A moment as it is kept.
pub(super) enum Kept<'a, A> {
    None,
    Full(&'a mut [A]),
    Codes(&'a mut [u8], &'a mut [f32]),
}

/// The f32 of two planes.
#[inline(always)]
pub(super) fn join(high: u16, low: u16) -> f32 {
    let upper = u32::from(high).wrapping_sub(u32::from(low >> 15));
    f32::from_bits(upper << 16 | u32::from(low))
}

/// The upper half of an f32 rounded to the nearest, halves away from 0, and its lower half, which tells whether it was rounded
/// up. Of NaN there is one: rounded up, others would be a number.
#[inline(always)]
pub(super) fn split(x: f32) -> (u16, u16) {
    let bits = if x.is_nan() { 0x7fc0_0000 } else { x.to_bits() };
    (((bits + 0x8000) >> 16) as u16, bits as u16)
}

impl Master<'_> {
    pub(super) fn split_at(self, at: usize) -> (Self, Self) {
        match self {
            Master::None => (Master::None, Master::None),
            Master::Full(x) => {
                let (a, b) = x.split_at_mut(at);
                (Master::Full(a), Master::Full(b))
            }
            Master::Low(x) => {
                let (a, b) = x.split_at_mut(at);
                (Master::Low(a), Master::Low(b))
            }
        }
    }
}

/// What every code stands for, without a sign and with one.
static LEVELS: LazyLock<[[f32; 256]; 2]> = LazyLock::new(|| {
    let all = |level: fn(u8) -> f32| std::array::from_fn(|code| level(code as u8));
    [all(level), all(signed_level)]
});

impl<A: Real> Kept<'_, A> {
    pub(super) fn split_at(self, at: usize) -> (Self, Self) {
        match self {
            Kept::None => (Kept::None, Kept::None),
            Kept::Full(x) => {
                let (a, b) = x.split_at_mut(at);
                (Kept::Full(a), Kept::Full(b))
            }
            Kept::Codes(codes, largest) => {
                let (a, b) = codes.split_at_mut(at);
                let (a_largest, b_largest) = largest.split_at_mut(at / CODE_BLOCK);
                (Kept::Codes(a, a_largest), Kept::Codes(b, b_largest))
            }
        }
    }

    /// Lets `f` change elements, at most a block, from a multiple of [`CODE_BLOCK`] on. None, if there is no moment.
    pub(super) fn over(&mut self, at: Range<usize>, is_signed: bool, f: impl FnOnce(&mut [A])) {
        match self {
            Kept::None => f(&mut []),
            Kept::Full(x) => f(&mut x[at]),
            Kept::Codes(codes, largest) => {
                let mut x = [A::zeroed(); BLOCK];
                let x = &mut x[..at.len()];
                let first = at.start / CODE_BLOCK;
                let levels = &LEVELS[usize::from(is_signed)];
                let codes = &mut codes[at];
                for (i, (x, codes)) in x.chunks_mut(CODE_BLOCK).zip(codes.chunks(CODE_BLOCK)).enumerate() {
                    let most = largest[first + i];
                    let decoded = codes.iter().map(|&code| A::from(levels[usize::from(code)] * most));
                    x.iter_mut().zip(decoded).for_each(|(x, decoded)| *x = decoded);
                }
                f(x);
                for (i, (x, codes)) in x.chunks(CODE_BLOCK).zip(codes.chunks_mut(CODE_BLOCK)).enumerate() {
                    largest[first + i] = encode(x, is_signed, codes);
                }
            }
        }
    }
}

/// The codes of a block, and what stands beside them: 0 where no code could be made, NaN where an element is not finite.
fn encode<A: Real>(x: &[A], is_signed: bool, codes: &mut [u8]) -> f32 {
    let mut narrow = [0.0; CODE_BLOCK];
    let narrow = &mut narrow[..x.len()];
    narrow.iter_mut().zip(x).for_each(|(narrow, x)| *narrow = x.narrow());
    let is_finite = narrow.iter().all(|x| x.is_finite());
    let most = narrow.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
    let kept = if !is_finite {
        f32::NAN
    } else if most < f32::MIN_POSITIVE {
        0.0
    } else {
        most
    };
    let factor = if kept > 0.0 { 1.0 / kept } else { 0.0 };
    if is_signed {
        vectorized(coded(narrow, codes, move |x| signed_code(x * factor)));
    } else {
        // What is positive stays so, for what is divided by its root.
        vectorized(coded(narrow, codes, move |x| code(x * factor).max(u8::from(x > 0.0))));
    }
    kept
}

#[inline(always)]
fn coded(x: &[f32], codes: &mut [u8], code: impl Fn(f32) -> u8) -> impl FnOnce() {
    #[inline(always)]
    move || {
        for (out, &x) in codes.iter_mut().zip(x) {
            *out = code(x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every f32 that is no NaN, near every edge between two bf16 and one in 4,099 of the others, comes back with its bits; what is
    /// seen is the nearest, and NaN stays NaN.
    #[test]
    fn planes_hold_every_float() {
        let edges = (0..=u16::MAX).flat_map(|high| {
            let at = u32::from(high) << 16;
            [at, at | 1, at | 0x7fff, at | 0x8000, at | 0x8001, at | 0xffff]
        });
        for bits in edges.chain((0..=u32::MAX).step_by(4099)) {
            let x = f32::from_bits(bits);
            let (high, low) = split(x);
            let seen = f32::from_bits(u32::from(high) << 16);
            if x.is_nan() {
                assert!(join(high, low).is_nan() && seen.is_nan(), "{bits:#x}");
                continue;
            }
            assert_eq!(join(high, low).to_bits(), bits);
            let below = f32::from_bits(bits & 0xffff_0000);
            let above = f32::from_bits((bits & 0xffff_0000) + 0x1_0000);
            if x.is_finite() && above.is_finite() {
                let [to_seen, to_below, to_above] =
                    [seen, below, above].map(|y| (f64::from(x) - f64::from(y)).abs());
                assert!(to_seen <= to_below && to_seen <= to_above, "{x:e} is seen as {seen:e}");
            }
        }
    }
}
