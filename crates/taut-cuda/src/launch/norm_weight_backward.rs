//! Launches of `norm_weight_backward.cu`: sums of slices of rows, by one kernel or after what there is in each row, and the sums
//! of those.

use super::{
    fill::flat,
    rows::{Staging, choose as choose_rows},
    walk::{check_dtypes, check_shapes, grid},
};
use crate::{Arg, Card, Grid, Operand, Stream, operand};
use taut_core::{DType, Error, Layout, Norm, Result};
use taut_kernels::{
    Kernel,
    args::{CENTER_BYTES, SLICE_STAGES, SLICE_TAKE, SLICE_THREADS, THREADS, WARP},
    pack_len,
};
use taut_memory::Block;

const NAME: &str = "norm_weight_backward";

/// Blocks that a multiprocessor is given at least, where there is work for as many.
const BLOCKS: u64 = 8;
/// Rows of a slice at least: eight for each warp of a block.
const LEAST: u64 = 64;
/// The same, of rows that are read once: each slice costs as much as a row of f32 for each kind of sum.
const LEAST_ONCE: u64 = 32;

/// How the rows are read and cut. A pure function of layouts, dtype, op and card.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// What [`norm_weight_backward`] needs beside its operands.
    pub workspace_bytes: u64,
    op: Norm,
    operands: [Layout; 2],
    dtype: DType,
    /// How rows are read once.
    once: Option<Once>,
    /// Sums for each column: of Layer two, of Rms one.
    kinds: u64,
    slice: u64,
    slices: u64,
}

/// A kernel that reads rows once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Once {
    /// One of [`SLICE_THREADS`].
    threads: u32,
    /// Warps that share a row.
    share: u32,
    /// Of dynamic shared memory.
    shared_bytes: u32,
    /// Blocks that the card has at once.
    blocks: u64,
}

/// For rows of packs that fill more than half of a warp's share and fit in a stage, where they fill half of the card.
fn once(operands: &[Layout; 2], [rows, n]: [u64; 2], dtype: DType, card: &Card) -> Option<Once> {
    let operands = operands.each_ref().map(|layout| Operand { address: 0, layout, dtype });
    let axis = operands[0].layout.rank().checked_sub(1)?;
    let units = usize::try_from(n).ok()? / pack_len(&[dtype]);
    let threads = SLICE_THREADS.into_iter().find(|&threads| units <= (threads * SLICE_TAKE) as usize)?;
    let a_warp = (WARP * SLICE_TAKE) as usize;
    let once = Once {
        threads,
        share: units.div_ceil(a_warp).next_power_of_two() as u32,
        shared_bytes: SLICE_STAGES * 2 * threads * SLICE_TAKE * 16,
        blocks: u64::from(card.multiprocessors * (2 * THREADS / threads)),
    };
    let is_worth = 2 * units > a_warp && 2 * rows >= u64::from(card.multiprocessors) * LEAST_ONCE;
    let fits = once.shared_bytes + 1024 <= card.shared_bytes;
    (is_worth && fits && choose_rows(&operands, axis, 1, true, Staging::Never).packs).then_some(once)
}

/// Chooses for the gradient and the input, over whose last axis the op is.
pub fn choose(op: Norm, grad: &Layout, input: &Layout, dtype: DType, card: &Card) -> Choice {
    let (op, operands) = (op.of_rows(), [*grad, *input]);
    let n = input.shape().last().copied().unwrap_or(1) as u64;
    let rows = (input.numel() as u64).checked_div(n).unwrap_or(0);
    let kinds = if op == Norm::Layer { 2 } else { 1 };
    let once = once(&operands, [rows, n], dtype, card);
    // As if of packs of 16-bit floats: the sums are cut alike for all dtypes.
    let tiles = n.div_ceil(8 * u64::from(WARP)).max(1);
    let wanted = once.map_or(u64::from(card.multiprocessors) * BLOCKS / tiles, |once| once.blocks);
    let least = if once.is_some() { LEAST_ONCE } else { LEAST };
    let wanted = wanted.min(rows / least).clamp(1, u64::from(u16::MAX));
    let slice = rows.div_ceil(wanted).max(1);
    let slices = rows.div_ceil(slice);
    let centers = if once.is_some() { 0 } else { rows * CENTER_BYTES as u64 };
    let workspace_bytes = centers + slices * kinds * n * size_of::<f32>() as u64;
    Choice { workspace_bytes, op, operands, dtype, once, kinds, slice, slices }
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
    let Choice { op, once, kinds, slice, slices, .. } = *choice;
    let operands = [grad, input];
    check_shapes(NAME, &operands)?;
    check_dtypes(NAME, &operands)?;
    let Some(axis) = input.layout.rank().checked_sub(1) else {
        return Err(Error::shape(format!("{NAME}: the input is a scalar")));
    };
    let planned = operands.map(|operand| *operand.layout) == choice.operands && input.dtype == choice.dtype;
    if !planned || (kinds == 2) != bias.is_some() {
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
    let workspace = operand::workspace(NAME, workspace, choice.workspace_bytes)?;
    let partials =
        if once.is_some() { workspace } else { workspace + rows.rows.walk.numel * CENTER_BYTES as u64 };
    let [grad, input, centers_arg, partials_arg] = [&grad, &input, &workspace, &partials].map(Arg::new);
    let (rows_arg, slice_arg, eps_arg) = (Arg::new(&rows.rows), Arg::new(&slice), Arg::new(&eps));
    if let Some(Once { threads, share, shared_bytes, .. }) = once {
        let grid = Grid { shared_bytes, ..grid([slices, 1], threads)? };
        let args = [grad, input, partials_arg, rows_arg, slice_arg, eps_arg, Arg::new(&share)];
        // SAFETY: `norm_weight_backward_slices(grad, in, partials, rows, slice, eps, share)`; the rows are of packs, stay within
        // the layouts of operands that the caller vouches for, and the workspace holds the sums of all slices.
        unsafe { stream.launch(Kernel::NormWeightSlices(op, source, threads), grid, args)? };
    } else {
        let args = [input, centers_arg, rows_arg, eps_arg, Arg::new(&rows.side)];
        let kernel = Kernel::NormWeightRows(op, source, rows.part, rows.packs);
        // SAFETY: `norm_weight_backward_rows(in, centers, rows, eps, side)`; the rows stay within the layout of an operand
        // that the caller vouches for, and the workspace holds a center for each.
        unsafe { stream.launch(kernel, rows.grid()?, args)? };

        let units = n / if rows.packs { pack_len(&[source]) as u64 } else { 1 };
        let args = [grad, input, centers_arg, partials_arg, rows_arg, slice_arg];
        let kernel = Kernel::NormWeightColumns(op, source, rows.packs);
        // SAFETY: `norm_weight_backward_columns(grad, in, centers, partials, rows, slice)`; as above, after what the first
        // launch wrote on this stream; behind the centers there are as many sums as slices, kinds and columns.
        unsafe { stream.launch(kernel, grid([units.div_ceil(WARP.into()), slices], THREADS)?, args)? };
    }

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
            for dtype in [DType::F16, DType::F32] {
                let choice = choose(Norm::AddLayer, &layout, &layout, dtype, &Card::h200());
                let Choice { slice, slices, workspace_bytes, .. } = choice;
                let rows = rows as u64;
                assert!(slice * slices >= rows && slice * (slices - 1) < rows, "{rows} x {n}");
                let centers = if choice.once.is_some() { 0 } else { rows * 16 };
                assert_eq!(workspace_bytes, centers + slices * 2 * n as u64 * 4);
                assert!(slices * n as u64 <= rows * n as u64 / 8 || slices == 1);
            }
        }
    }

    #[test]
    fn many_rows_of_packs_are_read_once() {
        let card = Card::h200();
        let chosen = |rows: usize, n: usize, dtype, card: &Card| {
            let layout = Layout::contiguous(Shape::new(&[rows, n]).unwrap());
            choose(Norm::Layer, &layout, &layout, dtype, card).once.map(|once| (once.threads, once.share))
        };
        for (n, dtype, once) in [
            (512, DType::F16, None),
            (520, DType::F16, Some((256, 1))),
            (1024, DType::F16, Some((256, 1))),
            (1032, DType::BF16, Some((256, 2))),
            (4096, DType::F16, Some((256, 4))),
            (4096, DType::F32, Some((256, 8))),
            (16_384, DType::F16, Some((512, 16))),
            (16_392, DType::F16, None),
            (4100, DType::F16, None),
        ] {
            assert_eq!(chosen(10_000, n, dtype, &card), once, "{n} {dtype}");
            // Rows go evenly into a block, and have room for all of their packs.
            let Some((threads, share)) = once else { continue };
            assert!(threads.is_multiple_of(share * WARP));
            assert!((share * WARP * SLICE_TAKE) as usize * pack_len(&[dtype]) >= n);
        }
        assert_eq!(chosen(1000, 4096, DType::F16, &card), None);
        let old = Card { shared_bytes: 101_376, ..Card::h200() };
        assert_eq!([4096, 16_384].map(|n| chosen(10_000, n, DType::F16, &old).is_some()), [true, false]);
    }
}
