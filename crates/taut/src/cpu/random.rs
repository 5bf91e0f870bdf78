//! The twin of `random.cu`: the same bits for the same seed.

use super::{BLOCK, Scalar, TASK, philox, vectorized, with_scalar};
use crate::tensor::ViewMut;
use rayon::prelude::*;
use taut_core::{Random, Result};
use taut_cuda::launch::random::limit;

/// Fills the flat `dst` from a distribution.
pub(crate) fn random(distribution: Random, seed: u64, mut dst: ViewMut<'_>) -> Result<()> {
    let limit = limit(distribution, dst.dtype);
    with_scalar!(dst.dtype, T => {
        dst.flat::<T>()?.par_chunks_mut(TASK).enumerate().for_each(|(task, chunk)| {
            let mut wide = [0.0; BLOCK];
            for (i, out) in chunk.chunks_mut(BLOCK).enumerate() {
                let first = (task * TASK + i * BLOCK) / 4;
                vectorized(|| {
                    for (j, wide) in wide.chunks_exact_mut(4).enumerate() {
                        wide.copy_from_slice(&four(distribution, limit, seed, (first + j) as u64));
                    }
                });
                out.iter_mut().zip(wide).for_each(|(o, x)| *o = T::from_f32(x));
            }
        });
        Ok(())
    })
}

/// Fills the flat u32 `dst` with the words that [`random`] makes its numbers of.
pub(crate) fn words(seed: u64, mut dst: ViewMut<'_>) -> Result<()> {
    dst.flat::<u32>()?.par_chunks_mut(TASK).enumerate().for_each(|(task, chunk)| {
        for (i, out) in chunk.chunks_mut(4).enumerate() {
            out.copy_from_slice(&philox::words(seed, (task * TASK / 4 + i) as u64)[..out.len()]);
        }
    });
    Ok(())
}

/// The elements `4 * block ..` of a tensor.
#[inline(always)]
fn four(distribution: Random, limit: f32, seed: u64, block: u64) -> [f32; 4] {
    let (offset, scale) = distribution.params();
    match distribution {
        // Rounding may reach `high`, which is excluded.
        Random::Uniform { .. } => philox::uniform4(seed, block).map(|u| {
            let x = u.mul_add(scale, offset);
            if x >= limit { limit } else { x }
        }),
        Random::Normal { .. } => philox::normal4(seed, block).map(|z| z.mul_add(scale, offset)),
        Random::Bernoulli { prob } => philox::uniform4(seed, block).map(|u| f32::from(u8::from(u < prob))),
    }
}

const _: () = assert!(TASK.is_multiple_of(4) && BLOCK.is_multiple_of(4));
