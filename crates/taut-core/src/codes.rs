//! Codes of 8 bits for numbers in `[-1, 1]` or `[0, 1]`, fine where they are large and with seven decades below: the dynamic
//! tree of Dettmers, Lewis, Shleifer and Zettlemoyer, "8-bit optimizers via block-wise quantization", 2021.
//!
//! A code reads from its highest bit: zeros count decades down from 1, the first one ends them, and the bits after it are a
//! linear fraction of the decade. Here fractions count from above: the largest level of a decade is a power of 10, so that
//! 1 has a code and levels on either side of a power of 10 meet in it. With a sign in the highest bit, seven bits are left.

/// Elements that share a factor: the largest magnitude among them.
pub const CODE_BLOCK: usize = 256;

/// The codes whose highest bit is bit `d`, without a sign.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decade {
    /// The largest level: `10^(d - 7)`.
    pub top: f32,
    /// From level to level: `0.9 top / 2^d`.
    pub step: f32,
    /// `x scale + shift`, rounded, is the code of `x`.
    pub scale: f32,
    /// See `scale`.
    pub shift: f32,
}

/// Every decade; `DECADES[d]` is that of codes from `2^d` on.
pub const DECADES: [Decade; 8] = [
    decade(1e-7, 0),
    decade(1e-6, 1),
    decade(1e-5, 2),
    decade(1e-4, 3),
    decade(1e-3, 4),
    decade(1e-2, 5),
    decade(0.1, 6),
    decade(1.0, 7),
];

const fn decade(top: f64, d: u32) -> Decade {
    let step = 0.9 * top / (1u32 << d) as f64;
    let last = ((2u32 << d) - 1) as f64;
    Decade {
        top: top as f32,
        step: step as f32,
        scale: (1.0 / step) as f32,
        shift: (last - top / step) as f32,
    }
}

/// What a code without a sign stands for: 0 for 0, 1 for 255.
///
/// ```
/// assert_eq!([0, 1, 127, 255].map(taut_core::level), [0.0, 1e-7, 0.1, 1.0]);
/// ```
pub fn level(code: u8) -> f32 {
    if code == 0 {
        return 0.0;
    }
    let d = code.ilog2();
    let Decade { top, step, .. } = DECADES[d as usize];
    let below = ((2u32 << d) - 1 - u32::from(code)) as f32;
    (-below).mul_add(step, top)
}

/// What a code with a sign stands for: 1 for 127, -1 for 255. Levels of seven bits are every second one of eight.
///
/// ```
/// assert_eq!([0, 1, 127, 129, 255].map(taut_core::signed_level), [0.0, 1e-6, 1.0, -1e-6, -1.0]);
/// ```
pub fn signed_level(code: u8) -> f32 {
    let size = match code & 127 {
        0 => 0.0,
        rest => level(2 * rest + 1),
    };
    if code > 127 { -size } else { size }
}

/// The code of the nearest level; but of what is positive, however small, 1 at least: it stays positive. `x` is in `[0, 1]`.
#[inline(always)]
pub fn code(x: f32) -> u8 {
    let code = exact(x, 0).round_ties_even() as u8;
    if code == 0 && x > 0.0 { 1 } else { code }
}

/// The code with a sign of the nearest level. `x` is in `[-1, 1]`.
#[inline(always)]
pub fn signed_code(x: f32) -> u8 {
    let code = (0.5 * exact(x.abs(), 1) - 0.5).round_ties_even() as u8;
    code | if x.is_sign_negative() { 128 } else { 0 }
}

/// The code before it is rounded, of decades from `first` on.
#[inline(always)]
fn exact(x: f32, first: usize) -> f32 {
    let (mut scale, mut shift) = (DECADES[first].scale, DECADES[first].shift);
    for d in first + 1..8 {
        let is_above = x > DECADES[d - 1].top;
        scale = if is_above { DECADES[d].scale } else { scale };
        shift = if is_above { DECADES[d].shift } else { shift };
    }
    x.mul_add(scale, shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_rise_and_have_their_own_codes() {
        for c in 0..=255u8 {
            assert_eq!(code(level(c)), c);
            // -0 is 0 with a sign.
            assert_eq!(signed_code(signed_level(c)), c);
            assert!(c == 0 || level(c) > level(c - 1));
            assert!(c % 128 == 0 || signed_level(c).abs() > signed_level(c - 1).abs());
            assert_eq!(signed_level(c ^ 128), -signed_level(c));
        }
    }

    /// Within half of the distance of the levels on both sides, and never beyond the ends.
    #[test]
    fn codes_are_the_nearest() {
        let levels: Vec<f64> = (0..=255).map(|c| level(c).into()).collect();
        let signed: Vec<f64> = (0..=127).map(|c| signed_level(c).into()).collect();
        for i in 0..200_000u32 {
            // Every magnitude down to below the lowest level.
            let x = 10f32.powf(-f32::from((i % 1000) as u16) / 110.0) * (1.0 - (i / 1000) as f32 / 1000.0);
            let wide = f64::from(x);
            let off = |levels: &[f64], got: f64| {
                let above = levels.partition_point(|&level| level < wide).clamp(1, levels.len() - 1);
                (got - wide).abs() / (levels[above] - levels[above - 1])
            };
            let got = code(x);
            let most = if got == 1 { 1.0 } else { 0.5001 };
            assert!(off(&levels, level(got).into()) <= most, "{x:e} is {}", level(got));
            // Below the lowest decade the line of the lowest one ends at 0.55 of a step.
            for (x, sign) in [(x, 1.0), (-x, -1.0)] {
                let got = f64::from(signed_level(signed_code(x))) * sign;
                assert!(
                    off(&signed, got) <= 0.5501 && (wide < 1e-6 || off(&signed, got) <= 0.5001),
                    "{x:e} is {got}"
                );
            }
        }
    }
}
