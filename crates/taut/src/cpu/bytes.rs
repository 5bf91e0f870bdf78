//! Elements that lie as bytes anywhere: a part of a file, at whatever address.

use super::{BLOCK, Scalar, TASK, copy::Casts, tasks::each_chunk, with_scalar};
use bytemuck::Zeroable;
use taut_core::{DType, Result};

/// Bytes that one task copies.
const COPY_BYTES: usize = 1 << 20;

/// Writes the elements of `src`, cast as [`Tensor::cast`](crate::Tensor::cast) says, to `dst`, which is aligned for
/// `dtype` and holds as many. `src` need not be aligned; its bools are 0 or 1.
pub(crate) fn cast(src: &[u8], stored: DType, dst: &mut [u8], dtype: DType) -> Result<()> {
    if stored == dtype {
        copy(src, dst);
    } else {
        with_scalar!(stored, S => cast_from::<S>(src, dst, dtype)?);
    }
    Ok(())
}

fn copy(src: &[u8], dst: &mut [u8]) {
    if dst.len() <= COPY_BYTES {
        // Not worth waking the threads: rows that are gathered are short.
        return dst.copy_from_slice(src);
    }
    each_chunk(dst, COPY_BYTES, &|task, dst| dst.copy_from_slice(&src[task * COPY_BYTES..][..dst.len()]));
}

fn cast_from<S: Scalar>(src: &[u8], dst: &mut [u8], dtype: DType) -> Result<()> {
    with_scalar!(dtype, D => cast_to::<S, D>(src, bytemuck::cast_slice_mut(dst)));
    Ok(())
}

fn cast_to<S: Scalar, D: Scalar>(src: &[u8], dst: &mut [D]) {
    if dst.len() <= TASK {
        return cast_run::<S, D>(src, dst);
    }
    each_chunk(dst, TASK, &|task, dst| {
        cast_run::<S, D>(&src[task * TASK * size_of::<S>()..][..dst.len() * size_of::<S>()], dst);
    });
}

fn cast_run<S: Scalar, D: Scalar>(src: &[u8], dst: &mut [D]) {
    let (mut aligned, mut wide) = ([S::zeroed(); BLOCK], [S::Acc::zeroed(); BLOCK]);
    for (src, out) in src.chunks(BLOCK * size_of::<S>()).zip(dst.chunks_mut(BLOCK)) {
        let block = bytemuck::try_cast_slice(src).unwrap_or_else(|_| {
            let aligned = &mut aligned[..out.len()];
            bytemuck::cast_slice_mut(aligned).copy_from_slice(src);
            aligned
        });
        S::Acc::cast(S::wide(block, &mut wide), out);
    }
}
