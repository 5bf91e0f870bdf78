//! The twin of `fill.cu`.

use super::{Scalar, TASK, runs::each_run, tasks::each_chunk, vectorized, with_scalar};
use crate::tensor::ViewMut;
use bytemuck::Pod;
use taut_core::{DType, Layout, Result};

/// The bits of an element of `value`, in the low bytes.
pub(crate) fn bits(value: f64, dtype: DType) -> u64 {
    with_scalar!(dtype, T => {
        let mut bits = [0; 8];
        let element = <T as Scalar>::from_f64(value);
        let bytes = bytemuck::bytes_of(&element);
        bits[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(bits)
    })
}

/// Writes the same element everywhere in `dst`.
pub(crate) fn fill(bits: u64, dst: ViewMut<'_>) -> Result<()> {
    match dst.dtype.size() {
        1 => run(bits as u8, dst),
        2 => run(bits as u16, dst),
        4 => run(bits as u32, dst),
        _ => run(bits, dst),
    }
}

fn run<T: Pod + Send + Sync>(element: T, mut dst: ViewMut<'_>) -> Result<()> {
    let [layout] = Layout::collapse_by_last([*dst.layout]);
    each_run(dst.data::<T>()?, &layout, &|_, run| run.fill(element));
    Ok(())
}

/// Writes `start + i * step` to element `i` of the flat `dst`.
pub(crate) fn arange(start: f64, step: f64, mut dst: ViewMut<'_>) -> Result<()> {
    with_scalar!(dst.dtype, T => {
        // 16-bit floats go through f32, as on CUDA.
        let short = matches!(dst.dtype, DType::F16 | DType::BF16);
        each_chunk(dst.flat::<T>()?, TASK, &|task, chunk| {
            let first = (task * TASK) as f64;
            // Converted from 32 bits, which there is an instruction for; the sum of whole numbers is exact.
            vectorized(
                #[inline(always)]
                || {
                    for (i, out) in chunk.iter_mut().enumerate() {
                        let x = start + (first + f64::from(i as i32)) * step;
                        *out = if short { <T as Scalar>::from_f32(x as f32) } else { <T as Scalar>::from_f64(x) };
                    }
                },
            );
        });
        Ok(())
    })
}
