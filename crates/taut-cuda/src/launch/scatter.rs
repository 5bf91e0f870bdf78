//! Launches of `scatter.cu`: the places that elements go to are sorted, then runs of equal places are summed.

use super::{
    gather::check_index,
    sort::Rows,
    walk::{check_dtypes, check_shapes, each_part, grid},
};
use crate::{Arg, Operand, Param, Stream};
use std::iter::successors;
use taut_core::{DType, Error, Index, Layout, Result};
use taut_kernels::{
    Kernel,
    args::{self, SCATTER_CHUNK, THREADS, Walk},
};

const CHUNK: u64 = SCATTER_CHUNK as u64;

// SAFETY: `Scatter` is `repr(C)`, and the build checks its size against that of its twin.
unsafe impl Param for args::Scatter {}

/// How a sum by places runs. A pure function of layouts, dtype and axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// What [`scatter_add`] needs beside its operands.
    pub workspace_bytes: u64,
    /// Additions.
    pub flops: u64,
    /// Bytes of the elements and of the list, read once, and of the sums, read and written.
    pub moved_bytes: u64,
    index: Layout,
    dtype: DType,
    axis: usize,
    rows: Rows,
    /// Lanes that are summed at once.
    part: u64,
    /// The workspace of the sorted lists; the rest is for sums.
    lists_bytes: u64,
}

/// Chooses how elements of `dtype` are added along `axis` to the places that an index of this layout names.
pub fn choose(index: &Layout, dtype: DType, axis: usize) -> Choice {
    let n = index.shape()[axis] as u64;
    let kept = index.split(&[axis]).0;
    let (lanes, lists) = (kept.numel() as u64, kept.distinct().numel() as u64);
    let rows = Rows { n, k: n, key_bytes: 4, pairs: true };
    // Lanes that share lists go together, so that no list is sorted twice.
    let shared = lists < lanes;
    let part = if shared { lanes.max(1) } else { rows.part(lanes) };
    let lists_bytes = rows.workspace_bytes(if shared { lists } else { part });
    let [one, other] = halves(n, part, dtype);
    let flops = n * lanes;
    let moved_bytes = flops * dtype.size() as u64 + lists * n * (8 + 4 * rows.key_bytes);
    let workspace_bytes = if n * lanes == 0 { 0 } else { lists_bytes + one + other };
    Choice { workspace_bytes, flops, moved_bytes, index: *index, dtype, axis, rows, part, lists_bytes }
}

/// The entries that launches take, one after the other.
fn levels(n: u64) -> impl Iterator<Item = u64> {
    successors(Some(n), |n| (*n > CHUNK).then(|| 2 * n.div_ceil(CHUNK)))
}

/// The two places that launches write sums to in turn: the bytes of each.
fn halves(n: u64, lanes: u64, dtype: DType) -> [u64; 2] {
    let mut bytes = levels(n).skip(1).map(|n| (n * lanes * (total_bytes(dtype) + 4)).next_multiple_of(16));
    [bytes.next().unwrap_or(0), bytes.next().unwrap_or(0)]
}

/// The size of `Total` in `scatter.cu`.
fn total_bytes(dtype: DType) -> u64 {
    if dtype.is_float() { 4 } else { 8 }
}

/// Adds each element of `src` to the element of `dst` at its `index` on `axis`, and at its own coordinates on the other
/// axes. `index` and `src` have one shape; `workspace` is the address of [`Choice::workspace_bytes`], aligned to 256. An
/// index that is out of range is reported by the next call that waits for the device, and its element goes nowhere.
///
/// # Errors
///
/// [`Shape`](taut_core::ErrorKind::Shape) or [`DType`](taut_core::ErrorKind::DType) if the operands do not fit or are not
/// those of the choice, [`Driver`](taut_core::ErrorKind::Driver) if a launch fails.
pub fn scatter_add(
    stream: &Stream,
    op: Index,
    choice: &Choice,
    index: Operand<'_>,
    src: Operand<'_>,
    dst: Operand<'_>,
    workspace: u64,
) -> Result<()> {
    let Choice { axis, rows, part, .. } = *choice;
    let at = op.along(dst.layout, axis, index.layout.shape())?;
    let dst_at = Operand { layout: &at, ..dst };
    check_shapes(op.name(), &[index, src, dst_at])?;
    check_dtypes(op.name(), &[src, dst])?;
    check_index(op, &index)?;
    if (*index.layout, dst.dtype) != (choice.index, choice.dtype) {
        return Err(Error::shape(format!("{}: the operands are not those that were planned", op.name())));
    }
    if src.layout.numel() == 0 {
        return Ok(());
    }
    let kept = [src, dst_at, index].map(|operand| operand.layout.split(&[axis]).0);
    let extent = dst.layout.shape()[axis] as u64;
    let step = |operand: Operand<'_>| operand.layout.strides()[axis] as u64;
    each_part(&kept, part, &mut |kept| {
        let [src_kept, dst_kept, index_kept] = kept;
        let pointer = |operand: Operand<'_>, layout| Operand { layout, ..operand }.pointer();
        // One list for each index that is not a repetition.
        let lists = index_kept.distinct();
        let sort = args::Sort {
            keys: pointer(index, &lists),
            key_step: step(index),
            rows: lists.numel() as u64,
            extent,
            fault: stream.context().faults().of(op),
            ..Default::default()
        };
        let walk = Walk::wide(&Layout::collapse([lists; 3]), 1);
        // SAFETY: the index is walked within its layout; nothing comes out but pairs, into workspace for this part.
        let [keys, order] = unsafe { rows.run(stream, Kernel::SortPositions, sort, &walk, workspace)? };

        let base = args::Scatter {
            src: pointer(src, src_kept),
            src_step: step(src),
            keys,
            order,
            out: pointer(dst, dst_kept),
            out_step: dst.layout.strides()[axis] as u64,
            extent,
            ..Default::default()
        };
        let numbers = Layout::contiguous(*lists.shape()).broadcast_to(*index_kept.shape())?;
        let lanes = Walk::wide(&Layout::collapse([*src_kept, *dst_kept, numbers]), 1);
        // SAFETY: `src` and `dst` are walked within their layouts, `dst` along the axis below its extent, and what was
        // sorted is what the walk numbers.
        unsafe { sums(stream, choice, base, &lanes, workspace + choice.lists_bytes) }
    })
}

/// Sums the runs of sorted lists, launch by launch.
///
/// # Safety
///
/// `base` and `lanes` say what the first launch reads and all write, as `scatter.cu` requires it; `workspace` starts the
/// bytes of [`halves`] for at least as many lanes.
unsafe fn sums(
    stream: &Stream,
    choice: &Choice,
    base: args::Scatter,
    lanes: &Walk<3>,
    workspace: u64,
) -> Result<()> {
    let Choice { dtype, rows, .. } = *choice;
    let [half, _] = halves(rows.n, lanes.numel, dtype);
    let mut from = [0; 2];
    for (i, n) in levels(rows.n).enumerate() {
        let chunks = n.div_ceil(CHUNK);
        let start = workspace + if i % 2 == 0 { 0 } else { half };
        let to = [start, start + 2 * chunks * lanes.numel * total_bytes(dtype)];
        let args = args::Scatter {
            sums_in: from[0],
            places_in: from[1],
            sums_out: to[0],
            places_out: to[1],
            n,
            chunks,
            ..base
        };
        let kernel = if i == 0 { Kernel::ScatterAdd(dtype) } else { Kernel::ScatterJoin(dtype) };
        let blocks = (lanes.numel * chunks).div_ceil(u64::from(THREADS));
        // SAFETY: `scatter_add(scatter, lanes)`, over the caller's elements or what the launch before wrote.
        unsafe { stream.launch(kernel, grid([blocks, 1], THREADS)?, [Arg::new(&args), Arg::new(lanes)])? };
        from = to;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use taut_core::Shape;

    fn layout(dims: &[usize]) -> Layout {
        Layout::contiguous(Shape::new(dims).unwrap())
    }

    #[test]
    fn an_index_that_repeats_is_sorted_once() {
        let index = layout(&[1000, 1]).broadcast_to(Shape::new(&[1000, 64]).unwrap()).unwrap();
        assert_eq!(index.split(&[0]).0.distinct().numel(), 1);
        let choice = choose(&index, DType::F16, 0);
        assert_eq!((choice.part, choice.lists_bytes), (64, 8 * 1000));
        // 2 * 32 entries of 64 lanes, then 4.
        assert_eq!(choice.workspace_bytes, 8 * 1000 + (64 + 4) * 64 * 8);
        let own = choose(&layout(&[1000, 64]), DType::F16, 0);
        assert_eq!(own.lists_bytes, 8 * 1000 * 64);
        assert_eq!(choose(&layout(&[0, 64]), DType::F16, 0).workspace_bytes, 0);
    }

    #[test]
    fn levels_end_in_one_chunk() {
        assert_eq!(levels(32).collect::<Vec<_>>(), [32]);
        assert_eq!(levels(33).collect::<Vec<_>>(), [33, 4]);
        assert_eq!(levels(1 << 20).collect::<Vec<_>>(), [1 << 20, 1 << 16, 1 << 12, 1 << 8, 16]);
    }
}
