//! The twin of `random.cu`: the same bits for the same seed.

use super::{
    BLOCK, Scalar, TASK,
    philox::{GROUP, normal2, pairs, uniform},
    vectorized, with_scalar,
};
use crate::tensor::ViewMut;
use bytemuck::Pod;
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
                draw(distribution, limit, seed, task * TASK + i * BLOCK, &mut wide);
                T::from_f32s(&wide, out);
            }
        });
        Ok(())
    })
}

/// Fills the flat u32 `dst` with the words that [`random`] makes its numbers of.
pub(crate) fn words(seed: u64, mut dst: ViewMut<'_>) -> Result<()> {
    dst.flat::<u32>()?.par_chunks_mut(TASK).enumerate().for_each(|(task, chunk)| {
        let mut words = [0; BLOCK];
        for (i, out) in chunk.chunks_mut(BLOCK).enumerate() {
            vectorized(groups(seed, task * TASK + i * BLOCK, &mut words, |x, y| [x, y]));
            out.copy_from_slice(&words[..out.len()]);
        }
    });
    Ok(())
}

/// The elements from number `first` on.
fn draw(distribution: Random, limit: f32, seed: u64, first: usize, out: &mut [f32; BLOCK]) {
    let (offset, scale) = distribution.params();
    match distribution {
        Random::Uniform { .. } => vectorized(groups(
            seed,
            first,
            out,
            #[inline(always)]
            move |x, y| {
                let (a, b) = (uniform(x).mul_add(scale, offset), uniform(y).mul_add(scale, offset));
                [below(limit, a), below(limit, b)]
            },
        )),
        Random::Normal { .. } => vectorized(groups(
            seed,
            first,
            out,
            #[inline(always)]
            move |x, y| {
                let [a, b] = normal2(x, y);
                [a.mul_add(scale, offset), b.mul_add(scale, offset)]
            },
        )),
        Random::Bernoulli { prob } => vectorized(groups(
            seed,
            first,
            out,
            #[inline(always)]
            move |x, y| [x, y].map(|x| if uniform(x) < prob { 1.0 } else { 0.0 }),
        )),
    }
}

/// Rounding may reach the upper end, which is excluded.
#[inline(always)]
fn below(limit: f32, x: f32) -> f32 {
    if x >= limit { limit } else { x }
}

/// What `f` makes of the words of a block of elements from number `first` on.
#[inline(always)]
fn groups<T: Pod>(
    seed: u64,
    first: usize,
    out: &mut [T; BLOCK],
    f: impl Fn(u32, u32) -> [T; 2],
) -> impl FnOnce() {
    #[inline(always)]
    move || {
        for (i, out) in out.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
            pairs(seed, ((first + i * GROUP) / 4) as u64, out, &f);
        }
    }
}

const _: () = assert!(TASK.is_multiple_of(GROUP) && BLOCK.is_multiple_of(GROUP));
