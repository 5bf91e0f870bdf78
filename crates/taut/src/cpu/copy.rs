//! The twin of `copy.cu`: casts and strided copies.

use super::{Acc, BLOCK, Scalar, Source, TASK, runs::each_run, with_scalar};
use crate::tensor::{View, ViewMut};
use bytemuck::Zeroable;
use rayon::prelude::*;
use taut_core::{Layout, Result};

/// Writes the elements of `src`, cast, to `dst` of the same shape; between dtypes, to a flat one.
pub(crate) fn copy(src: View<'_>, dst: ViewMut<'_>) -> Result<()> {
    if dst.layout.flat().is_none() && src.dtype == dst.dtype {
        return with_scalar!(src.dtype, T => scatter::<T>(src, dst));
    }
    if src.dtype == dst.dtype {
        return with_scalar!(src.dtype, T => move_elements::<T>(src, dst));
    }
    with_scalar!(src.dtype, S => with_scalar!(dst.dtype, D => cast::<S, D>(src, dst)))
}

fn move_elements<T: Scalar>(src: View<'_>, mut dst: ViewMut<'_>) -> Result<()> {
    let src = src.source::<T>()?;
    let tasks = dst.flat::<T>()?.par_chunks_mut(TASK).enumerate();
    tasks.for_each(|(task, out)| src.read(task * TASK, out));
    Ok(())
}

fn scatter<T: Scalar>(src: View<'_>, mut dst: ViewMut<'_>) -> Result<()> {
    let [from, to] = Layout::collapse_by_last([*src.layout, *dst.layout]);
    let src = Source::new(src.data::<T>()?, &from);
    each_run(dst.data::<T>()?, &to, |first, run| src.read(first, run));
    Ok(())
}

fn cast<S: Scalar, D: Scalar>(src: View<'_>, mut dst: ViewMut<'_>) -> Result<()> {
    let src = src.source::<S>()?;
    dst.flat::<D>()?.par_chunks_mut(TASK).enumerate().for_each(|(task, chunk)| {
        let (mut narrow, mut wide) = ([S::zeroed(); BLOCK], [S::Acc::zeroed(); BLOCK]);
        for (i, out) in chunk.chunks_mut(BLOCK).enumerate() {
            let (narrow, wide) = (&mut narrow[..out.len()], &mut wide[..out.len()]);
            src.read(task * TASK + i * BLOCK, narrow);
            S::widen(narrow, wide);
            out.iter_mut().zip(wide).for_each(|(o, x)| *o = x.cast());
        }
    });
    Ok(())
}
