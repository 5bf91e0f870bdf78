//! 16-bit floats and f32, as straight lines of code for [`vectorized`](super::vectorized): whole slices at the speed of
//! memory on any CPU.

/// Bits of f16 as f32, without loss. NaN keeps its payload.
#[inline(always)]
pub(crate) fn from_f16(x: u16) -> f32 {
    let sign = u32::from(x & 0x8000) << 16;
    let magnitude = u32::from(x & 0x7fff) << 13;
    let normal = magnitude + (112 << 23);
    // Without an exponent the bits count from 2^-14, which the subtraction takes away again.
    let subnormal = (f32::from_bits(magnitude + (113 << 23)) - f32::from_bits(113 << 23)).to_bits();
    let y = if magnitude < 1 << 23 { subnormal } else { normal };
    let y = if magnitude < 31 << 23 { y } else { magnitude + (224 << 23) };
    f32::from_bits(y | sign)
}

/// The bits of f32 as f16, rounded to nearest, ties to even. Large numbers become infinite; NaN stays NaN.
#[inline(always)]
pub(crate) fn to_f16(x: f32) -> u16 {
    let magnitude = x.to_bits() & 0x7fff_ffff;
    let sign = x.to_bits() >> 16 & 0x8000;
    // Half of the last place, less one if the result is even without it.
    let normal = magnitude.wrapping_sub((112 << 23) - 0xfff - (magnitude >> 13 & 1)) >> 13;
    // The sum has its last place at 2^-24, as f16 there.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let y = if magnitude < 113 << 23 { subnormal } else { normal };
    let y = if magnitude < 143 << 23 { y } else { 0x7c00 };
    let y = if magnitude > 255 << 23 { 0x7e00 } else { y };
    (y | sign) as u16
}

/// Bits of bf16 as f32, without loss.
#[inline(always)]
pub(crate) fn from_bf16(x: u16) -> f32 {
    f32::from_bits(u32::from(x) << 16)
}

/// The bits of f32 as bf16, rounded to nearest, ties to even. NaN stays NaN.
#[inline(always)]
pub(crate) fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    // A payload in the lower half must not be lost.
    let nan = bits >> 16 | 0x40;
    (if bits & 0x7fff_ffff > 255 << 23 { nan } else { rounded }) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::vectorized;
    use half::{bf16, f16};

    #[test]
    fn widening_is_exact_for_all_bits() {
        let all: Vec<u16> = (0..=u16::MAX).collect();
        let (mut halves, mut brains) = (vec![0.0; all.len()], vec![0.0; all.len()]);
        vectorized(|| {
            for ((x, h), b) in all.iter().zip(&mut halves).zip(&mut brains) {
                (*h, *b) = (from_f16(*x), from_bf16(*x));
            }
        });
        let same = |a: f32, b: f32| a.is_nan() && b.is_nan() || a.to_bits() == b.to_bits();
        for (&x, (&h, &b)) in all.iter().zip(halves.iter().zip(&brains)) {
            assert!(same(h, f16::from_bits(x).to_f32()), "f16 {x:#06x} is not {h:e}");
            assert!(same(b, bf16::from_bits(x).to_f32()), "bf16 {x:#06x} is not {b:e}");
        }
    }

    /// All f32 near every edge between two results, and one in 251 of the others.
    #[test]
    fn narrowing_rounds_to_nearest_even() {
        let edges = (0..=u16::MAX).flat_map(|x| {
            let near = |x: u32| [x.wrapping_sub(1), x, x.wrapping_add(1)];
            let (h, b) = (from_f16(x).to_bits(), u32::from(x) << 16);
            [h, h.wrapping_add(0x1000), b, b.wrapping_add(0x8000)].into_iter().flat_map(near)
        });
        let between = (0..from_f16(2).to_bits()).step_by(1009).flat_map(|x| [x, x | 1 << 31]);
        let all: Vec<f32> =
            edges.chain(between).chain((0..=u32::MAX).step_by(251)).map(f32::from_bits).collect();
        let (mut halves, mut brains) = (vec![0; all.len()], vec![0; all.len()]);
        vectorized(|| {
            for ((x, h), b) in all.iter().zip(&mut halves).zip(&mut brains) {
                (*h, *b) = (to_f16(*x), to_bf16(*x));
            }
        });
        for (&x, (&h, &b)) in all.iter().zip(halves.iter().zip(&brains)) {
            let (h, b) = (f16::from_bits(h), bf16::from_bits(b));
            assert!(
                x.is_nan() && h.is_nan() || h.to_bits() == f16::from_f32(x).to_bits(),
                "{x:e} is not {h:e}"
            );
            assert!(
                x.is_nan() && b.is_nan() || b.to_bits() == bf16::from_f32(x).to_bits(),
                "{x:e} is not {b:e}"
            );
        }
    }
}
