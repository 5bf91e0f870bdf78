//! Launches of `norm_weight_backward.cu`: what there is in each row, sums of slices of rows, and the sums of those.

use super::{
    fill::flat,
    rows::{Staging, choose as choose_rows},
    walk::{check_dtypes, check_shapes, grid},
};
use crate::{Arg, Card, Operand, Stream, operand};
use taut_core::{Error, Layout, Norm, Result};
use taut_kernels::{
    Kernel,
    args::{CENTER_BYTES, THREADS, WARP},
    pack_len,
};
use taut_memory::Block;

const NAME: &str = "norm_weight_backward";

/// Blocks that a multiprocessor is given at least, where there is work for as many.
const BLOCKS: u64 = 8;
/// Rows of a slice at least: eight for each warp of a block.
const LEAST: u64 = 64;

/// How the rows are cut. A pure function of layouts, dtype, op and card.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// What [`norm_weight_backward`] needs beside its operands.
    pub workspace_bytes: u64,
    op: Norm,
    operands: [Layout; 2],
    /// Sums for each column: of Layer two, of Rms one.
    kinds: u64,
    slice: u64,
    slices: u64,
}

/// Chooses for the gradient and the input, over whose last axis the op is.
pub fn choose(op: Norm, grad: &Layout, input: &Layout, card: &Card) -> Choice {
    let op = op.of_rows();
    let n = input.shape().last().copied().unwrap_or(1) as u64;
    let rows = (input.numel() as u64).checked_div(n).unwrap_or(0);
    let kinds = if op == Norm::Layer { 2 } else { 1 };
    // As if of packs of 16-bit floats: the sums are cut alike for all dtypes.
    let tiles = n.div_ceil(8 * u64::from(WARP)).max(1);
    let wanted = u64::from(card.multiprocessors) * BLOCKS / tiles;
    let wanted = wanted.min(rows / LEAST).clamp(1, u64::from(u16::MAX));
    let slice = rows.div_ceil(wanted).max(1);
    let slices = rows.div_ceil(slice);
    let workspace_bytes = rows * CENTER_BYTES as u64 + slices * kinds * n * size_of::<f32>() as u64;
    Choice { workspace_bytes, op, operands: [*grad, *input], kinds, slice, slices }
}

/// The gradients of the weight and of the bias, `[n]` and flat, from that of the output and the input, of which there is at
/// least one element. `bias` is for [`Norm::Layer`], and no other takes it; `workspace` has [`Choice::workspace_bytes`].
///
/// # Errors
///
/// [`Shape`](taut_core::ErrorKind::Shape) and [`DType`](taut_core::ErrorKind::DType) if the operands are not those of the
/// choice, [`Driver`](taut_core::ErrorKind::Driver) if a launch fails.
pub fn norm_weight_backward(
    stream: &Stream,
    choice: &Choice,
    eps: f32,
    [grad, input]: [Operand<'_>; 2],
    weight: Operand<'_>,
    bias: Option<Operand<'_>>,
    workspace: &Block,
) -> Result<()> {
    let Choice { op, kinds, slice, slices, .. } = *choice;
    let operands = [grad, input];
    check_shapes(NAME, &operands)?;
    check_dtypes(NAME, &operands)?;
    let Some(axis) = input.layout.rank().checked_sub(1) else {
        return Err(Error::shape(format!("{NAME}: the input is a scalar")));
    };
    if operands.map(|operand| *operand.layout) != choice.operands || (kinds == 2) != bias.is_some() {
        return Err(Error::shape(format!("{NAME}: the operands are not those that were planned")));
    }
    let n = input.layout.shape()[axis] as u64;
    let place = |x: &Operand<'_>| match flat(NAME, x)? {
        Some((at, len)) if len == n && x.dtype == weight.dtype => Ok(at),
        _ => Err(Error::shape(format!("{NAME}: {} {} for rows of {n}", x.dtype, x.layout.shape()))),
    };
    let (weight_at, bias_at) = (place(&weight)?, bias.as_ref().map_or(Ok(0), place)?);

    let rows = choose_rows(&operands, axis, 1, true, Staging::Never);
    let source = input.dtype;
    let [grad, input] = rows.pointers(&operands);
    let centers = operand::workspace(NAME, workspace, choice.workspace_bytes)?;
    let partials = centers + rows.rows.walk.numel * CENTER_BYTES as u64;
    let [grad, input, centers_arg, partials_arg] = [&grad, &input, &centers, &partials].map(Arg::new);
    let args = [input, centers_arg, Arg::new(&rows.rows), Arg::new(&eps), Arg::new(&rows.side)];
    let kernel = Kernel::NormWeightRows(op, source, rows.part, rows.packs);
    // SAFETY: `norm_weight_backward_rows(in, centers, rows, eps, side)`; the rows stay within the layout of an operand that
    // the caller vouches for, and the workspace holds a center for each.
    unsafe { stream.launch(kernel, rows.grid()?, args)? };

    let units = n / if rows.packs { pack_len(&[source]) as u64 } else { 1 };
    let args = [grad, input, centers_arg, partials_arg, Arg::new(&rows.rows), Arg::new(&slice)];
    let kernel = Kernel::NormWeightColumns(op, source, rows.packs);
    // SAFETY: `norm_weight_backward_columns(grad, in, centers, partials, rows, slice)`; as above, after what the first launch
    // wrote on this stream; behind the centers there are as many sums as slices, kinds and columns.
    unsafe { stream.launch(kernel, grid([units.div_ceil(WARP.into()), slices], THREADS)?, args)? };

    let (sums, weight_dtype) = (kinds * n, weight.dtype);
    let count = u32::try_from(slices).unwrap_or(u32::MAX);
    let [weight, bias] = [&weight_at, &bias_at].map(Arg::new);
    let args = [partials_arg, weight, bias, Arg::new(&n), Arg::new(&sums), Arg::new(&count)];
    // SAFETY: `norm_weight_backward_join(partials, weight, bias, n, sums, slices)`; the results hold `n` elements each, and
    // without a bias there are no sums for it.
    unsafe {
        stream.launch(
            Kernel::NormWeightJoin(weight_dtype),
            grid([sums.div_ceil(WARP.into()), 1], THREADS)?,
            args,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taut_core::Shape;

    #[test]
    fn slices_cover_all_rows_and_none_is_empty() {
        for (rows, n) in
            [(1, 1), (63, 768), (64, 768), (16_384, 1024), (100_003, 8), (5, 131_072), (1 << 20, 64)]
        {
            let layout = Layout::contiguous(Shape::new(&[rows, n]).unwrap());
            let Choice { slice, slices, workspace_bytes, .. } =
                choose(Norm::AddLayer, &layout, &layout, &Card::h200());
            let rows = rows as u64;
            assert!(slice * slices >= rows && slice * (slices - 1) < rows, "{rows} x {n}");
            assert_eq!(workspace_bytes, rows * 16 + slices * 2 * n as u64 * 4);
            assert!(slices * n as u64 <= rows * n as u64 / 8 || slices == 1);
        }
    }
}
