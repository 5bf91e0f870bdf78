//! The twin of `bits.cu`.

use super::{
    BLOCK, Scalar, Source, TASK, binary, rows::Float, scalar::each, tasks::each_chunk, vectorized, with_float,
};
use crate::tensor::{View, ViewMut};
use bytemuck::Zeroable;
use taut_core::{Predicate, Result};

/// Elements whose bits are in one byte.
const BYTE: usize = 8;

/// The answers of `ask` about the elements of `a` and `b`, of one shape, into the bits of `dst`.
pub(crate) fn bits(ask: Predicate, a: View<'_>, b: View<'_>, dst: ViewMut<'_>) -> Result<()> {
    with_float!(a.dtype, "bits", T => make::<T>(ask, a, b, dst))
}

fn make<T: Scalar>(ask: Predicate, a: View<'_>, b: View<'_>, mut dst: ViewMut<'_>) -> Result<()> {
    let numel = a.layout.numel();
    let [low, high] = ask.params().map(T::param);
    let (a, b): (Source<'_, T>, Source<'_, T>) = (a.source()?, b.source()?);
    each_chunk(dst.flat::<u8>()?, TASK / BYTE, &|number, bytes| {
        let start = number * TASK;
        let whole = (bytes.len() * BYTE).min(numel - start);
        let (a, b) = (a.part(start, whole), b.part(start, whole));
        let (mut narrow, mut other, mut yes) = ([T::zeroed(); BLOCK], [T::zeroed(); BLOCK], [0; BLOCK]);
        let (mut left, mut right) = ([T::Acc::zeroed(); BLOCK], [T::Acc::zeroed(); BLOCK]);
        for (i, bytes) in bytes.chunks_mut(BLOCK / BYTE).enumerate() {
            let at = i * BLOCK;
            let len = (bytes.len() * BYTE).min(whole - at);
            let x = T::wide(a.get(at, &mut narrow[..len]), &mut left);
            // Of a last block: bits behind the end are 0.
            yes[len..].fill(0);
            match ask {
                Predicate::Positive => each(x, &mut yes, |x| u8::from(x > low)),
                Predicate::Within { .. } => each(x, &mut yes, |x| u8::from(low <= x && x <= high)),
                Predicate::Le | Predicate::Ge => {
                    let y = T::wide(b.get(at, &mut other[..len]), &mut right);
                    match ask {
                        Predicate::Le => binary::each(x, y, &mut yes, |x, y| u8::from(x <= y)),
                        _ => binary::each(x, y, &mut yes, |x, y| u8::from(x >= y)),
                    }
                }
            }
            pack(&yes, bytes);
        }
    });
    Ok(())
}

/// Bytes of eight answers each.
fn pack(yes: &[u8; BLOCK], bytes: &mut [u8]) {
    vectorized(
        #[inline(always)]
        || {
            for (byte, yes) in bytes.iter_mut().zip(yes.as_chunks::<BYTE>().0) {
                // The lowest bits of eight bytes, moved side by side by one product: none of its sums carries.
                *byte = (u64::from_le_bytes(*yes).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8;
            }
        },
    );
}

/// `dst = grad` where its bit is `wanted`, and elsewhere `grad * factor`, or 0 where that is 0; without `grad`, over the flat
/// `dst` itself.
pub(crate) fn choose(
    grad: Option<View<'_>>,
    bits: View<'_>,
    wanted: bool,
    factor: f32,
    dst: ViewMut<'_>,
) -> Result<()> {
    with_float!(dst.dtype, "bits", T => chosen::<T>(grad, bits, wanted, factor, dst))
}

fn chosen<T: Scalar<Acc: Float>>(
    grad: Option<View<'_>>,
    bits: View<'_>,
    wanted: bool,
    factor: f32,
    mut dst: ViewMut<'_>,
) -> Result<()> {
    let grad: Option<Source<'_, T>> = grad.map(|grad| grad.source()).transpose()?;
    let bits = &bits.data::<u8>()?[bits.layout.offset()..];
    let flip = if wanted { 0 } else { u8::MAX };
    let (times, nothing) = (T::param(factor.into()), T::Acc::zeroed());
    each_chunk(dst.flat::<T>()?, TASK, &|number, out| {
        let start = number * TASK;
        if let Some(grad) = &grad {
            grad.read(start, out);
        }
        let mut scratch = [T::Acc::zeroed(); BLOCK];
        for (out, bits) in out.chunks_mut(BLOCK).zip(bits[start / BYTE..].chunks(BLOCK / BYTE)) {
            T::over(out, &mut scratch, |grads| {
                for (grads, byte) in grads.chunks_mut(BYTE).zip(bits) {
                    for (l, grad) in grads.iter_mut().enumerate() {
                        let is_own = (byte ^ flip) >> l & 1 == 1;
                        let other = if factor == 0.0 { nothing } else { *grad * times };
                        *grad = if is_own { *grad } else { other };
                    }
                }
            });
        }
    });
    Ok(())
}
