//! What is kept of weights: masters in planes, and moments in codes.

use super::rules::Real;
use crate::cpu::{
    BLOCK,
    convert::{from_f16, to_f16},
    vectorized,
};
use std::{ops::Range, sync::LazyLock};
use taut_core::{CODE_BLOCK, code, level, signed_code, signed_level};

/// What makes weights of 16 bits the f32 that they are rounded from.
pub(super) enum Master<'a> {
    None,
    Halves(&'a mut [u16]),
    Units(&'a mut [u16]),
}

/// An f32 as the bits of a weight and those of its rest.
pub(super) trait Planes {
    fn join(weight: u16, rest: u16) -> f32;
    fn split(x: f32) -> (u16, u16);
}

/// Beside bf16: the lower half of the f32, of which the weight is the upper one, rounded to the nearest, halves away from 0.
/// The lower half tells whether it was rounded up.
pub(super) struct Halves;

impl Planes for Halves {
    #[inline(always)]
    fn join(weight: u16, rest: u16) -> f32 {
        let upper = u32::from(weight).wrapping_sub(u32::from(rest >> 15));
        f32::from_bits(upper << 16 | u32::from(rest))
    }

    #[inline(always)]
    fn split(x: f32) -> (u16, u16) {
        // Of NaN there is one: rounded up, others would be a number.
        let bits = if x.is_nan() { 0x7fc0_0000 } else { x.to_bits() };
        (((bits + 0x8000) >> 16) as u16, bits as u16)
    }
}

/// Beside f16: the difference in units of 2^-15 of the weight's ulp. Exact from 2^-15 on, to the nearest 2^-39 below, and 0
/// beside what is infinite.
pub(super) struct Units;

impl Units {
    /// Of a weight, from 1 as of what has a first bit: its ulp is 2^(exponent - 25).
    #[inline(always)]
    fn exponent(weight: u16) -> u32 {
        u32::from(weight >> 10 & 31).max(1)
    }
}

impl Planes for Units {
    #[inline(always)]
    fn join(weight: u16, rest: u16) -> f32 {
        let unit = f32::from_bits((Units::exponent(weight) + 127 - 40) << 23);
        // Both are exact.
        from_f16(weight) + f32::from(rest as i16) * unit
    }

    #[inline(always)]
    fn split(x: f32) -> (u16, u16) {
        let weight = to_f16(x);
        let of = Units::exponent(weight);
        let units = f32::from_bits((127 + 40 - of) << 23);
        let rest = (x - from_f16(weight)) * units;
        (weight, if of == 31 { 0 } else { rest.round_ties_even() as i16 as u16 })
    }
}

/// A moment as it is kept.
pub(super) enum Kept<'a, A> {
    None,
    Full(&'a mut [A]),
    Codes(&'a mut [u8], &'a mut [f32]),
}

impl Master<'_> {
    pub(super) fn split_at(self, at: usize) -> (Self, Self) {
        match self {
            Master::None => (Master::None, Master::None),
            Master::Halves(x) => {
                let (a, b) = x.split_at_mut(at);
                (Master::Halves(a), Master::Halves(b))
            }
            Master::Units(x) => {
                let (a, b) = x.split_at_mut(at);
                (Master::Units(a), Master::Units(b))
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

    /// Near every edge between two weights, of upper halves of f32, and one in 4,099 of the others.
    fn floats() -> impl Iterator<Item = f32> {
        let edges = (0..=u16::MAX).flat_map(|high| {
            let at = u32::from(high) << 16;
            [at, at | 1, at | 0x7fff, at | 0x8000, at | 0x8001, at | 0xffff]
        });
        edges.chain((0..=u32::MAX).step_by(4099)).map(f32::from_bits)
    }

    /// Comes back with its bits; what is seen is the nearest, and NaN stays NaN.
    #[test]
    fn halves_hold_every_float() {
        for x in floats() {
            let bits = x.to_bits();
            let (high, low) = Halves::split(x);
            let (seen, back) = (f32::from_bits(u32::from(high) << 16), Halves::join(high, low));
            if x.is_nan() {
                assert!(back.is_nan() && seen.is_nan(), "{bits:#x}");
                continue;
            }
            assert_eq!(back.to_bits(), bits);
            let below = f32::from_bits(bits & 0xffff_0000);
            let above = f32::from_bits((bits & 0xffff_0000) + 0x1_0000);
            if x.is_finite() && above.is_finite() {
                let [to_seen, to_below, to_above] =
                    [seen, below, above].map(|y| (f64::from(x) - f64::from(y)).abs());
                assert!(to_seen <= to_below && to_seen <= to_above, "{x:e} is seen as {seen:e}");
            }
        }
    }

    /// The weight is what f16 makes of it. Comes back exactly where it says so, else to the nearest multiple of 2^-39; what
    /// comes back stays.
    #[test]
    fn units_hold_what_f16_does() {
        for x in floats().chain((0..1 << 24).step_by(37).map(|i| i as f32 * 2f32.powi(-38))) {
            let (weight, rest) = Units::split(x);
            assert_eq!(weight, to_f16(x));
            let back = Units::join(weight, rest);
            if x.is_nan() {
                assert!(back.is_nan());
            } else if from_f16(weight).is_infinite() {
                assert_eq!(back, from_f16(weight));
            } else if x.abs() >= 2f32.powi(-15) {
                assert_eq!(back.to_bits(), x.to_bits());
            } else {
                let unit = 2f64.powi(-39);
                assert_eq!(f64::from(back), (f64::from(x) / unit).round_ties_even() * unit, "{x:e}");
                let (weight, rest) = Units::split(back);
                assert_eq!(Units::join(weight, rest), back, "{x:e}");
            }
        }
    }
}
