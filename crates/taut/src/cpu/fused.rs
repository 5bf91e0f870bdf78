//! The twin of `fused.cu`.

use super::{
    BLOCK, Scalar, Source,
    binary::Binaries,
    philox,
    runs::{each_row, each_run},
    unary::Unaries,
    vectorized,
};
use crate::tensor::{View, ViewMut};
use bytemuck::Zeroable;
use half::{bf16, f16};
use std::ops::Mul;
use taut_core::{Activation, Binary, DType, Error, Layout, Mask, Result};

/// What is done in one pass: `dst = residual + dropout(activation(src + bias))`. Operands are already broadcast to the
/// shape of `dst`.
#[derive(Clone, Copy)]
pub(crate) struct Fused<'a> {
    /// Added first.
    pub(crate) bias: Option<View<'a>>,
    /// Applied to the sum.
    pub(crate) activation: Activation,
    /// What is dropped of that.
    pub(crate) mask: Option<Mask>,
    /// Added last.
    pub(crate) residual: Option<View<'a>>,
}

/// Runs the pass; without `src`, over `dst` itself. Whatever the strides.
pub(crate) fn fused(fused: &Fused<'_>, src: Option<View<'_>>, dst: ViewMut<'_>) -> Result<()> {
    match dst.dtype {
        DType::F32 => run::<f32>(fused, src, dst),
        DType::F16 => run::<f16>(fused, src, dst),
        DType::BF16 => run::<bf16>(fused, src, dst),
        DType::F64 => run::<f64>(fused, src, dst),
        dtype => Err(Error::dtype(format!("fused: does not take {dtype}"))),
    }
}

fn run<T>(fused: &Fused<'_>, src: Option<View<'_>>, mut dst: ViewMut<'_>) -> Result<()>
where
    T: Scalar<Acc: From<f32> + Mul<Output = T::Acc>>,
{
    // Their positions are the row-major numbers of the elements.
    let numbers = if fused.mask.is_some() { Layout::contiguous(*dst.layout.shape()) } else { *dst.layout };
    let layout = |view: Option<View<'_>>| view.map_or(*dst.layout, |view| *view.layout);
    let layouts = [layout(src), layout(fused.bias), layout(fused.residual), numbers, *dst.layout];
    let [src_layout, bias_layout, residual_layout, numbers, to] = Layout::collapse_by_last(layouts);
    let src = source::<T>(src, &src_layout)?;
    let bias = source::<T>(fused.bias, &bias_layout)?;
    let residual = source::<T>(fused.residual, &residual_layout)?;
    let activation = fused.activation.unary().map(|op| (op, op.params().map(T::param)));
    // What is dropped leaves a residual as it is: also -0, to which 0 would be added.
    let nothing = T::Acc::from(if residual.is_some() { -0.0 } else { 0.0 });

    each_run(dst.data::<T>()?, &to, &|first, run| {
        let (mut narrow, mut halves) = ([T::zeroed(); BLOCK], [0; BLOCK]);
        let (mut wide, mut term) = ([T::Acc::zeroed(); BLOCK], [T::Acc::zeroed(); BLOCK]);
        for (i, block) in run.chunks_mut(BLOCK).enumerate() {
            let (at, n) = (first + i * BLOCK, block.len());
            if let Some(src) = &src {
                src.read(at, block);
            }
            T::over(block, &mut wide, |x| {
                if let Some(bias) = &bias {
                    let bias = T::wide(bias.get(at, &mut narrow[..n]), &mut term);
                    T::Acc::combine(Binary::Add, x, bias);
                }
                if let Some((op, params)) = activation {
                    T::Acc::unary(op, params, x);
                }
                if let Some(mask) = fused.mask {
                    draw(mask.seed, &numbers, at, &mut halves[..n]);
                    vectorized(drop_below(mask.threshold, T::Acc::from(mask.scale), nothing, &halves, x));
                }
                if let Some(residual) = &residual {
                    let residual = T::wide(residual.get(at, &mut narrow[..n]), &mut term);
                    T::Acc::combine(Binary::Add, x, residual);
                }
            });
        }
    });
    Ok(())
}

fn source<'a, T: Scalar>(view: Option<View<'a>>, layout: &Layout) -> Result<Option<Source<'a, T>>> {
    view.map(|view| Ok(Source::new(view.data()?, layout))).transpose()
}

/// The 16 bits of the elements from `at` on, in the order of the walk; `numbers` says which they are.
fn draw(seed: u64, numbers: &Layout, at: usize, halves: &mut [u16]) {
    let step = match numbers.flat() {
        Some(_) => return vectorized(drawn(seed, at, 1, halves)),
        None => numbers.strides().last().copied().unwrap_or(1),
    };
    let len = numbers.shape().last().copied().unwrap_or(1);
    each_row(at, halves, len, |row, column, part| {
        vectorized(drawn(seed, numbers.row_position(row) + column * step, step, part));
    });
}

#[inline(always)]
fn drawn(seed: u64, first: usize, step: usize, halves: &mut [u16]) -> impl FnOnce() {
    #[inline(always)]
    move || philox::half_words(seed, first as u64, step as u64, halves)
}

/// Scales the elements whose bits are not below the threshold; the others become `nothing`.
#[inline(always)]
fn drop_below<A: Copy + Mul<Output = A>>(
    threshold: u32,
    scale: A,
    nothing: A,
    halves: &[u16],
    x: &mut [A],
) -> impl FnOnce() {
    #[inline(always)]
    move || {
        for (x, &half) in x.iter_mut().zip(halves) {
            *x = if u32::from(half) >= threshold { *x * scale } else { nothing };
        }
    }
}
