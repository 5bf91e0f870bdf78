//! 16-bit floats and f32: by the instructions for it where AVX-512 has them, otherwise as straight lines of code for
//! [`vectorized`](super::vectorized). The bits are the same, those of NaN too.

use super::scalar::each;
use half::{bf16, f16};

/// As many elements as both hold, without loss.
pub(super) fn widen_f16(src: &[f16], dst: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if let pulp::Arch::V4(simd) = pulp::Arch::new() {
        let len = src.len().min(dst.len());
        let ((src, src_rest), (dst, dst_rest)) =
            (src[..len].as_chunks::<16>(), dst[..len].as_chunks_mut::<16>());
        simd.vectorize(
            #[inline(always)]
            || {
                for (d, &s) in dst.iter_mut().zip(src) {
                    *d = pulp::cast(simd.avx512f._mm512_cvtph_ps(pulp::cast(s)));
                }
            },
        );
        return widen_rest(src_rest, dst_rest);
    }
    widen_rest(src, dst);
}

fn widen_rest(src: &[f16], dst: &mut [f32]) {
    each(
        src,
        dst,
        #[inline(always)]
        |x| from_f16(x.to_bits()),
    );
}

/// As many elements as both hold, as [`to_f16`].
pub(super) fn narrow_f16(src: &[f32], dst: &mut [f16]) {
    #[cfg(target_arch = "x86_64")]
    if let pulp::Arch::V4(simd) = pulp::Arch::new() {
        /// Rounding to nearest even.
        const NEAREST: i32 = 0;
        let len = src.len().min(dst.len());
        let ((src, src_rest), (dst, dst_rest)) =
            (src[..len].as_chunks::<16>(), dst[..len].as_chunks_mut::<16>());
        simd.vectorize(
            #[inline(always)]
            || {
                for (d, &s) in dst.iter_mut().zip(src) {
                    *d = pulp::cast(simd.avx512f._mm512_cvtps_ph::<NEAREST>(pulp::cast(s)));
                }
            },
        );
        return narrow_rest(src_rest, dst_rest);
    }
    narrow_rest(src, dst);
}

fn narrow_rest(src: &[f32], dst: &mut [f16]) {
    each(
        src,
        dst,
        #[inline(always)]
        |x| f16::from_bits(to_f16(x)),
    );
}

/// As many elements as both hold, without loss.
pub(super) fn widen_bf16(src: &[bf16], dst: &mut [f32]) {
    each(src, dst, |x| f32::from_bits(u32::from(x.to_bits()) << 16));
}

/// As many elements as both hold, as [`to_bf16`].
pub(super) fn narrow_bf16(src: &[f32], dst: &mut [bf16]) {
    each(
        src,
        dst,
        #[inline(always)]
        |x| bf16::from_bits(to_bf16(x)),
    );
}

/// Bits of f16 as f32, without loss. NaN becomes quiet.
#[inline(always)]
pub(super) fn from_f16(x: u16) -> f32 {
    let sign = u32::from(x & 0x8000) << 16;
    let magnitude = u32::from(x & 0x7fff) << 13;
    let normal = magnitude + (112 << 23);
    // Without an exponent the bits count from 2^-14, which the subtraction takes away again.
    let subnormal = (f32::from_bits(magnitude + (113 << 23)) - f32::from_bits(113 << 23)).to_bits();
    let y = if magnitude < 1 << 23 { subnormal } else { normal };
    let y = if magnitude < 31 << 23 { y } else { magnitude + (224 << 23) };
    let quiet = if magnitude > 31 << 23 { 1 << 22 } else { 0 };
    f32::from_bits(y | quiet | sign)
}

/// The bits of f32 as f16, rounded to nearest, ties to even. Large numbers become infinite; NaN becomes quiet.
#[inline(always)]
pub(super) fn to_f16(x: f32) -> u16 {
    let magnitude = x.to_bits() & 0x7fff_ffff;
    let sign = x.to_bits() >> 16 & 0x8000;
    // Half of the last place, less one if the result is even without it.
    let normal = magnitude.wrapping_sub((112 << 23) - 0xfff - (magnitude >> 13 & 1)) >> 13;
    // The sum has its last place at 2^-24, as f16 there.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let y = if magnitude < 113 << 23 { subnormal } else { normal };
    let y = if magnitude < 143 << 23 { y } else { 0x7c00 };
    let y = if magnitude > 255 << 23 { 0x7e00 | magnitude >> 13 & 0x1ff } else { y };
    (y | sign) as u16
}

/// The bits of f32 as bf16, rounded to nearest, ties to even. NaN stays NaN.
#[inline(always)]
pub(super) fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    // A payload in the lower half must not be lost.
    let nan = bits >> 16 | 0x40;
    (if bits & 0x7fff_ffff > 255 << 23 { nan } else { rounded }) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widening_is_exact_for_all_bits() {
        let all: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        let (mut wide, mut by_code) = (vec![0.0; all.len()], vec![0.0; all.len()]);
        widen_f16(&all, &mut wide);
        widen_rest(&all, &mut by_code);
        for (x, (got, by_code)) in all.into_iter().zip(wide.into_iter().zip(by_code)) {
            let want = x.to_f32();
            assert!(got == want || got.is_nan() && want.is_nan(), "{:#06x} is not {got:e}", x.to_bits());
            assert_eq!(got.to_bits(), by_code.to_bits(), "{:#06x}", x.to_bits());
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
        let (mut narrow, mut by_code) = (vec![f16::ZERO; all.len()], vec![f16::ZERO; all.len()]);
        narrow_f16(&all, &mut narrow);
        narrow_rest(&all, &mut by_code);
        let mut brains = vec![bf16::ZERO; all.len()];
        narrow_bf16(&all, &mut brains);
        for (x, ((h, by_code), b)) in all.into_iter().zip(narrow.into_iter().zip(by_code).zip(brains)) {
            let brain = bf16::from_f32(x);
            assert_eq!(h.to_bits(), by_code.to_bits(), "{x:e}");
            assert!(
                x.is_nan() && h.is_nan() || h.to_bits() == f16::from_f32(x).to_bits(),
                "{x:e} is not {h:e}"
            );
            assert!(x.is_nan() && b.is_nan() || b.to_bits() == brain.to_bits(), "{x:e} is not {b:e}");
        }
    }
}
