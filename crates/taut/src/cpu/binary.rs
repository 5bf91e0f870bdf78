//! The twin of `binary.cu`.

use super::{Acc, BLOCK, Scalar, TASK, vectorized, with_scalar};
use crate::tensor::{View, ViewMut};
use bytemuck::Zeroable;
use rayon::prelude::*;
use taut_core::{Binary, Result};

/// `dst = op(a, b)`, all of one shape, where `dst` is flat; without `a`, `dst` is the first operand, whatever its strides.
pub(crate) fn binary(op: Binary, a: Option<View<'_>>, b: View<'_>, dst: ViewMut<'_>) -> Result<()> {
    with_scalar!(dst.dtype, T => run::<T>(op, a, b, dst))
}

fn run<T: Scalar>(op: Binary, a: Option<View<'_>>, b: View<'_>, mut dst: ViewMut<'_>) -> Result<()> {
    let f = T::Acc::binary(op);
    let layout = *dst.layout;
    let a = a.map(|a| a.source::<T>()).transpose()?;
    let b = b.source::<T>()?;
    let data = dst.data::<T>()?;
    let Some(range) = layout.flat() else {
        let mut value = [T::zeroed()];
        for (i, position) in layout.positions().enumerate() {
            b.read(i, &mut value);
            over(&mut data[position..=position], &value, f);
        }
        return Ok(());
    };
    data[range].par_chunks_mut(TASK).enumerate().for_each(|(task, chunk)| {
        let mut second = [T::zeroed(); BLOCK];
        for (i, out) in chunk.chunks_mut(BLOCK).enumerate() {
            let (start, second) = (task * TASK + i * BLOCK, &mut second[..out.len()]);
            if let Some(a) = &a {
                a.read(start, out);
            }
            b.read(start, second);
            over(out, second, f);
        }
    });
    Ok(())
}

/// Combines at most a block of elements into the first.
fn over<T: Scalar>(a: &mut [T], b: &[T], f: impl Fn(T::Acc, T::Acc) -> T::Acc) {
    let (mut left, mut right) = ([T::Acc::zeroed(); BLOCK], [T::Acc::zeroed(); BLOCK]);
    let (left, right) = (&mut left[..a.len()], &mut right[..a.len()]);
    T::widen(a, left);
    T::widen(b, right);
    vectorized(|| left.iter_mut().zip(right).for_each(|(x, y)| *x = f(*x, *y)));
    T::narrow(left, a);
}
