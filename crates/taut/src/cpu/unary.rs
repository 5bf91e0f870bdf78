//! The twin of `unary.cu`.

use super::{Acc, BLOCK, Scalar, TASK, vectorized, with_scalar};
use crate::tensor::{View, ViewMut};
use bytemuck::Zeroable;
use rayon::prelude::*;
use taut_core::{Layout, Result, Unary};

/// `dst = op(src)`, where `dst` is flat; without `src`, over `dst` itself, whatever its strides.
pub(crate) fn unary(op: Unary, src: Option<View<'_>>, dst: ViewMut<'_>) -> Result<()> {
    with_scalar!(dst.dtype, T => run::<T>(op, src, dst))
}

fn run<T: Scalar>(op: Unary, src: Option<View<'_>>, mut dst: ViewMut<'_>) -> Result<()> {
    let f = T::Acc::unary(op, T::param(op.param()));
    let layout = *dst.layout;
    let src = src.map(|src| src.source::<T>()).transpose()?;
    // In place the order does not matter, so that a transposed matrix is as good as a flat one.
    let range = if src.is_some() { layout.flat() } else { layout.dense() };
    let data = dst.data::<T>()?;
    let Some(range) = range else {
        in_place_strided(data, &layout, f);
        return Ok(());
    };
    data[range].par_chunks_mut(TASK).enumerate().for_each(|(task, chunk)| {
        for (i, out) in chunk.chunks_mut(BLOCK).enumerate() {
            if let Some(src) = &src {
                src.read(task * TASK + i * BLOCK, out);
            }
            over(out, &f);
        }
    });
    Ok(())
}

/// Applies `f` to at most a block of elements.
fn over<T: Scalar>(block: &mut [T], f: impl Fn(T::Acc) -> T::Acc) {
    let mut wide = [T::Acc::zeroed(); BLOCK];
    let wide = &mut wide[..block.len()];
    T::widen(block, wide);
    vectorized(|| wide.iter_mut().for_each(|x| *x = f(*x)));
    T::narrow(wide, block);
}

fn in_place_strided<T: Scalar>(data: &mut [T], layout: &Layout, f: impl Fn(T::Acc) -> T::Acc) {
    for position in layout.positions() {
        over(&mut data[position..=position], &f);
    }
}
