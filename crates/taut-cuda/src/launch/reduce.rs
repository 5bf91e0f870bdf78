//! Launches of `reduce_sums.cu` and `reduce_order.cu`: rows, columns, and either of them in slices with a second pass.

use super::{
    fill::flat,
    walk::{by_stride_of_last, grid},
};
use crate::{Arg, Card, Operand, Stream, operand};
use taut_core::{DType, Error, Layout, Reduce, Result};
use taut_kernels::{
    Kernel, ReducePart,
    args::{THREADS, Walk},
    reduce_pack_len,
};
use taut_memory::Block;

/// Blocks that a multiprocessor is given at least, where there is work for as many.
const BLOCKS: u64 = 8;

/// Units that a thread takes at least before the reduced axes are cut into slices.
const UNITS: u64 = 8;

const WARP: u64 = 32;
const BLOCK: u64 = THREADS as u64;

/// How a reduction runs. A pure function of op, layout, dtype, axes and card.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// What [`reduce`] needs beside its operands.
    pub workspace_bytes: u64,
    /// Additions or comparisons.
    pub flops: u64,
    /// Bytes read and written, workspace included.
    pub moved_bytes: u64,
    op: Reduce,
    src: Layout,
    dtype: DType,
    part: ReducePart,
    /// Input and output over the axes that stay.
    kept: [Layout; 2],
    /// The axes that go, in whole packs if the kernel takes packs.
    reduced: Layout,
    /// Elements that go into one output.
    n: u64,
    /// Threads side by side: on one output in rows, on neighbouring outputs in columns.
    side: u64,
    blocks: u64,
    slices: u64,
}

/// Chooses how `op` runs over `axes` of a layout. The axes exist, and none is named twice.
pub fn choose(op: Reduce, src: &Layout, dtype: DType, axes: &[usize], card: &Card) -> Choice {
    let (kept, reduced) = src.split(axes);
    let dst = Layout::contiguous(*kept.shape());
    let (n, outputs) = (reduced.numel() as u64, dst.numel() as u64);
    // Neighbouring threads read neighbouring elements, whatever the order of the outputs.
    let [dst, kept] = by_stride_of_last([dst, kept]);
    // Positions count in row-major order, so there the order of the axes is not ours to choose.
    let reduced = if op.is_position() { reduced.collapsed() } else { by_stride_of_last([reduced])[0] };

    let plan = if is_rows(&kept, &reduced) { rows } else { columns };
    let Plan { part, reduced, side, blocks, slices } = plan(&kept, &reduced, dtype, card);
    let workspace_bytes = if slices > 1 { outputs * slices * accumulator_bytes(op, dtype) } else { 0 };
    let out_bytes = op.output(dtype).map_or(0, DType::size) as u64;
    let moved_bytes = n * outputs * dtype.size() as u64 + outputs * out_bytes + 2 * workspace_bytes;
    let (kept, src) = ([kept, dst], *src);
    Choice {
        workspace_bytes,
        flops: n * outputs,
        moved_bytes,
        op,
        src,
        dtype,
        part,
        kept,
        reduced,
        n,
        side,
        blocks,
        slices,
    }
}

/// `dst = op(src)` over the chosen axes. `dst` is flat, in row-major order of the axes that stay, of dtype
/// `op.output(src.dtype)`; `workspace` has [`Choice::workspace_bytes`].
///
/// # Errors
///
/// [`Shape`](taut_core::ErrorKind::Shape) or [`DType`](taut_core::ErrorKind::DType) if the operands are not those of the
/// choice or the workspace is too small, [`Driver`](taut_core::ErrorKind::Driver) if a launch fails.
pub fn reduce(
    stream: &Stream,
    choice: &Choice,
    src: Operand<'_>,
    dst: Operand<'_>,
    workspace: &Block,
) -> Result<()> {
    let Choice { op, dtype, part, kept, n, side, slices, .. } = *choice;
    if *src.layout != choice.src || (src.dtype, Some(dst.dtype)) != (dtype, op.output(dtype)) {
        return Err(Error::dtype(format!("{}: the operands are not those that were planned", op.name())));
    }
    let Some((dst, outputs)) = flat(op.name(), &dst)? else { return Ok(()) };
    if outputs != kept[0].numel() as u64 {
        return Err(Error::shape(format!(
            "{}: {outputs} outputs do not hold {}",
            op.name(),
            kept[0].numel()
        )));
    }
    // The bytes of bools are 0 and 1, and their sums and positions those of u8.
    let element = if dtype == DType::Bool { DType::U8 } else { dtype };
    let len = reduce_pack_len(element);
    let (kept_len, reduced_len) = match part {
        ReducePart::RowsPacked => (1, len),
        ReducePart::ColumnsPacked => (len, 1),
        _ => (1, 1),
    };
    let kept_walk = Walk::wide(&kept, kept_len);
    let reduced_walk = Walk::wide(&[choice.reduced], reduced_len);
    let slice = reduced_walk.numel.div_ceil(slices);
    let src = src.pointer();
    let partials = operand::workspace(op.name(), workspace, choice.workspace_bytes)?;
    let divisor = op.divisor(usize::try_from(n).unwrap_or(usize::MAX)) as f32;
    let count = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    let [side, slices_arg] = [side, slices].map(count);
    let args = [
        Arg::new(&src),
        Arg::new(&dst),
        Arg::new(&partials),
        Arg::new(&kept_walk),
        Arg::new(&reduced_walk),
        Arg::new(&n),
        Arg::new(&slice),
        Arg::new(&divisor),
        Arg::new(&side),
    ];
    // SAFETY: `reduce_rows` and `reduce_columns(in, out, partials, kept, reduced, n, slice, divisor, side)`; the walks stay within
    // the layout that the choice was made from, and the workspace holds one accumulator for each output and slice.
    unsafe {
        stream.launch(Kernel::Reduce(op, element, part), grid([choice.blocks, slices], THREADS)?, args)?
    };
    if slices == 1 {
        return Ok(());
    }

    let group = side_of(slices, 128);
    let kept_walk = Walk::wide(&kept, 1);
    let blocks = kept_walk.numel.div_ceil(BLOCK / group);
    let group = count(group);
    let args = [
        Arg::new(&partials),
        Arg::new(&dst),
        Arg::new(&kept_walk),
        Arg::new(&divisor),
        Arg::new(&slices_arg),
        Arg::new(&group),
    ];
    // SAFETY: `reduce_join(partials, out, kept, divisor, slices, group)`, over what the first launch wrote on this stream.
    unsafe { stream.launch(Kernel::Reduce(op, element, ReducePart::Join), grid([blocks, 1], THREADS)?, args) }
}

/// The part of a choice that rows and columns make each in their way.
struct Plan {
    part: ReducePart,
    reduced: Layout,
    side: u64,
    blocks: u64,
    slices: u64,
}

/// Whether threads lie along the reduced axes: where these have the smaller stride.
fn is_rows(kept: &Layout, reduced: &Layout) -> bool {
    // A broadcast axis is as good as none.
    let inner =
        |layout: &Layout| layout.strides().last().copied().filter(|&stride| stride > 0).unwrap_or(usize::MAX);
    reduced.rank() > 0 && inner(reduced) <= inner(kept)
}

fn rows(kept: &Layout, reduced: &Layout, dtype: DType, card: &Card) -> Plan {
    let outputs = kept.numel() as u64;
    let len = reduce_pack_len(dtype);
    let packed = packs_along(reduced, len, true).filter(|_| aligned(kept, len, false));
    let (part, reduced, units) = match packed {
        Some(packs) => (ReducePart::RowsPacked, packs, packs.numel() / len),
        None => (ReducePart::Rows, *reduced, reduced.numel()),
    };
    let units = units as u64;
    // A block for an output where its elements or the threads of the card would be too many for a warp.
    let few = outputs * WARP < u64::from(card.multiprocessors) * BLOCK * BLOCKS / 2;
    let side = side_of(units, if few { BLOCK - 1 } else { 1024 });
    let blocks = outputs.div_ceil(BLOCK / side);
    Plan { part, reduced, side, blocks, slices: slices(blocks, units, side, card) }
}

fn columns(kept: &Layout, reduced: &Layout, dtype: DType, card: &Card) -> Plan {
    let len = reduce_pack_len(dtype);
    let packed = packs_along(kept, len, false).is_some() && aligned(reduced, len, false);
    let (part, units) = match packed {
        true => (ReducePart::ColumnsPacked, kept.numel() / len),
        false => (ReducePart::Columns, kept.numel()),
    };
    let (units, n) = (units as u64, reduced.numel() as u64);
    // Eight threads share a column, fewer if it is short, more if there are few columns.
    let sharing = (n / 2 + 1).next_power_of_two().min(BLOCK / WARP);
    let side = units.max(1).next_power_of_two().min(BLOCK / sharing);
    let blocks = units.div_ceil(side);
    Plan { part, reduced: *reduced, side, blocks, slices: slices(blocks, n, BLOCK / side, card) }
}

/// Threads side by side along `units`: a power of two up to a warp, or a block if there are more than `limit`.
fn side_of(units: u64, limit: u64) -> u64 {
    if units > limit { BLOCK } else { units.max(1).next_power_of_two().min(WARP) }
}

/// Into how many slices `units` are cut, of which `threads` threads take one each at a time, to fill the card.
fn slices(blocks: u64, units: u64, threads: u64, card: &Card) -> u64 {
    let wanted = u64::from(card.multiprocessors) * BLOCKS / blocks.max(1);
    let wanted = wanted.min(units / (threads * UNITS)).clamp(1, u64::from(u16::MAX));
    // As many as are not empty when all but the last have the same length.
    units.div_ceil(units.div_ceil(wanted).max(1)).max(1)
}

/// The layout in whole packs of `len` along its last axis, if it lies so; with `cut`, without the tail of a single run.
fn packs_along(layout: &Layout, len: usize, cut: bool) -> Option<Layout> {
    let (&dim, &stride) = (layout.shape().last()?, layout.strides().last()?);
    let outer = layout.rank() - 1;
    let whole = dim - dim % len;
    let fits = whole == dim || (cut && outer == 0);
    (stride == 1 && whole > 0 && fits && aligned(layout, len, true))
        .then(|| layout.sliced(outer, 0..whole).ok())
        .flatten()
}

/// Whether all places of a layout, by all axes but the last if `but_last`, are at multiples of `len`.
fn aligned(layout: &Layout, len: usize, but_last: bool) -> bool {
    let axes = layout.rank() - usize::from(but_last);
    layout.offset().is_multiple_of(len)
        && layout.strides()[..axes].iter().all(|stride| stride.is_multiple_of(len))
}

/// The size of `Acc` of the op in CUDA.
fn accumulator_bytes(op: Reduce, dtype: DType) -> u64 {
    match op {
        Reduce::Sum | Reduce::Mean | Reduce::MeanSquare | Reduce::Prod => {
            if dtype.is_float() {
                4
            } else {
                8
            }
        }
        Reduce::Max | Reduce::Min => {
            if dtype == DType::I64 {
                8
            } else {
                4
            }
        }
        Reduce::ArgMax | Reduce::ArgMin => 16,
        Reduce::Any | Reduce::All => 4,
        Reduce::Norm => 12,
        Reduce::Var { .. } | Reduce::Std { .. } => 16,
        Reduce::LogSumExp => 8,
    }
}

#[cfg(test)]
mod tests;
