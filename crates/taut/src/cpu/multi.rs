//! The twin of `multi.cuh`.

use super::{
    Acc, BLOCK, Scalar, TASK, bytes,
    copy::Casts,
    reduce::{Squares, lanes},
    tasks::{each_chunk, each_part},
    vectorized, with_float,
};
use crate::tensor::{View, ViewMut};
use bytemuck::Zeroable;
use half::{bf16, f16};
use rayon::prelude::*;
use std::ops::{Add, Mul};
use taut_core::{DType, Error, Multi, Result};

/// Bytes that one task sets.
const ZERO_BYTES: usize = 1 << 20;

/// `x = factor x` for flat floats.
pub(crate) fn scale(list: Vec<ViewMut<'_>>, factor: f32) -> Result<()> {
    list.into_par_iter().try_for_each(|mut x| {
        with_float!(x.dtype, Multi::Scale.name(), T => {
            let factor = <T as Scalar>::Acc::from(factor);
            each_chunk(x.flat::<T>()?, TASK, &|_, run| {
                let mut wide = [<T as Scalar>::Acc::zeroed(); BLOCK];
                for block in run.chunks_mut(BLOCK) {
                    T::over(block, &mut wide, |x| vectorized(times(x, factor)));
                }
            });
            Ok(())
        })
    })
}

#[inline(always)]
fn times<A: Copy + Mul<Output = A>>(x: &mut [A], factor: A) -> impl FnOnce() {
    #[inline(always)]
    move || {
        for x in x {
            *x = *x * factor;
        }
    }
}

/// `y = y + factor x` for flat pairs of as many elements.
pub(crate) fn axpy(list: Vec<ViewMut<'_>>, sources: &[View<'_>], factor: f32) -> Result<()> {
    list.into_par_iter().zip(sources).try_for_each(|(y, &x)| match (y.dtype, x.dtype) {
        (DType::F32, DType::F32) => add::<f32, f32>(y, x, factor),
        (DType::F32, DType::F16) => add::<f32, f16>(y, x, factor),
        (DType::F32, DType::BF16) => add::<f32, bf16>(y, x, factor),
        (DType::F16, DType::F16) => add::<f16, f16>(y, x, factor),
        (DType::BF16, DType::BF16) => add::<bf16, bf16>(y, x, factor),
        (DType::F64, other) => with_float!(other, Multi::Axpy.name(), T => add::<f64, T>(y, x, factor)),
        (own, other) => {
            Err(Error::dtype(format!("{}: does not take {other} beside {own}", Multi::Axpy.name())))
        }
    })
}

fn add<Y, X>(mut y: ViewMut<'_>, x: View<'_>, factor: f32) -> Result<()>
where
    Y: Scalar<Acc: From<f32> + From<X::Acc> + Add<Output = Y::Acc> + Mul<Output = Y::Acc>>,
    X: Scalar,
{
    let (source, factor) = (x.source::<X>()?, Y::Acc::from(factor));
    each_chunk(y.flat::<Y>()?, TASK, &|i, run| {
        let mut narrow = [X::zeroed(); BLOCK];
        let (mut wide, mut term) = ([Y::Acc::zeroed(); BLOCK], [X::Acc::zeroed(); BLOCK]);
        for (j, block) in run.chunks_mut(BLOCK).enumerate() {
            let x = source.get(i * TASK + j * BLOCK, &mut narrow[..block.len()]);
            let x = X::wide(x, &mut term);
            Y::over(block, &mut wide, |y| vectorized(plus(y, factor, x)));
        }
    });
    Ok(())
}

#[inline(always)]
fn plus<A: Copy + From<B> + Add<Output = A> + Mul<Output = A>, B: Copy>(
    y: &mut [A],
    factor: A,
    x: &[B],
) -> impl FnOnce() {
    #[inline(always)]
    move || {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = *y + A::from(x) * factor;
        }
    }
}

/// Zeros in flat tensors.
pub(crate) fn zero(list: Vec<ViewMut<'_>>) -> Result<()> {
    list.into_par_iter().try_for_each(|mut x| {
        each_chunk(x.host_bytes()?, ZERO_BYTES, &|_, run| run.fill(0));
        Ok(())
    })
}

/// `y = factor x` for flat pairs of as many elements.
pub(crate) fn cast(list: Vec<ViewMut<'_>>, sources: &[View<'_>], factor: f32) -> Result<()> {
    list.into_par_iter().zip(sources).try_for_each(|(mut y, x)| {
        let dtype = y.dtype;
        if factor == 1.0 {
            return bytes::cast(x.host_bytes()?, x.dtype, y.host_bytes()?, dtype);
        }
        with_float!(dtype, Multi::Cast.name(), Y => {
            let y = y.flat::<Y>()?;
            with_float!(x.dtype, Multi::Cast.name(), X => scaled::<Y, X>(y, x, factor))
        })
    })
}

fn scaled<Y: Scalar, X: Scalar<Acc: From<f32> + Mul<Output = X::Acc>>>(
    y: &mut [Y],
    x: &View<'_>,
    factor: f32,
) -> Result<()> {
    let (source, factor) = (x.source::<X>()?, X::Acc::from(factor));
    each_chunk(y, TASK, &|i, run| {
        let (mut narrow, mut wide) = ([X::zeroed(); BLOCK], [X::Acc::zeroed(); BLOCK]);
        let mut products = [X::Acc::zeroed(); BLOCK];
        for (j, block) in run.chunks_mut(BLOCK).enumerate() {
            let x = source.get(i * TASK + j * BLOCK, &mut narrow[..block.len()]);
            let products = &mut products[..block.len()];
            products.copy_from_slice(X::wide(x, &mut wide));
            vectorized(times(products, factor));
            X::Acc::cast(products, block);
        }
    });
    Ok(())
}

/// `dst`, one f32, becomes the norm of all flat floats. Chunks are a fact of the sizes, and joined in their order, so that
/// results do not depend on the number of threads.
pub(crate) fn norm(list: &[View<'_>], mut dst: ViewMut<'_>) -> Result<()> {
    let parts = list.par_iter().map(|x| {
        with_float!(x.dtype, Multi::Norm.name(), T => {
            let (source, n) = (x.source::<T>()?, x.layout.numel());
            Ok(each_part(n.div_ceil(TASK), &|i| {
                let (mut narrow, mut wide) = ([T::zeroed(); BLOCK], [<T as Scalar>::Acc::zeroed(); BLOCK]);
                let end = n.min((i + 1) * TASK);
                (i * TASK..end).step_by(BLOCK).fold(Squares::default(), |sum, at| {
                    let x = source.get(at, &mut narrow[..BLOCK.min(end - at)]);
                    squares(sum, T::wide(x, &mut wide))
                })
            }))
        })
    });
    let parts = parts.collect::<Result<Vec<Vec<Squares>>>>()?;
    let all = parts.into_iter().flatten().fold(Squares::default(), Squares::join);
    dst.flat::<f32>()?[0] = all.root() as f32;
    Ok(())
}

/// With the squares of a block, which of f64 alone may be too large or too small.
fn squares<A: Acc + super::reduce::Real>(sum: Squares, x: &[A]) -> Squares {
    if size_of::<A>() == 8 {
        return x.iter().fold(sum, |sum, &x| sum.with(x.into()));
    }
    let mut squares = 0.0;
    vectorized(
        #[inline(always)]
        || squares = lanes(x, |x| x * x),
    );
    sum.join(Squares::usual(squares))
}
