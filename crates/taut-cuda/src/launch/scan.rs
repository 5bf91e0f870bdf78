//! Launches of `scan.cu`: rows, columns, and either of them in slices with two more passes, or of which each waits for the one
//! in front of it.

use super::{
    fill::fill_flat,
    walk::{by_stride_of_last, check_shapes, grid},
};
use crate::{Arg, Card, Grid, Operand, Stream, operand};
use taut_core::{DType, Error, Layout, Result, Scan, Shape};
use taut_kernels::{
    Kernel, ScanPart,
    args::{CHAIN_ROWS, COLUMN_SIDE, THREADS, Walk},
    scan_pack_len,
};
use taut_memory::Block;

const WARP: u64 = 32;
const BLOCK: u64 = THREADS as u64;

/// Blocks that a multiprocessor is given at least, where there is work for as many: a thread of columns has eight packs in
/// flight, one of rows a single one.
const ROWS: u64 = 8;
const COLUMNS: u64 = 2;

/// Elements of a slice of a chain, and the packs side by side in one.
const CHAIN_SLICE: u64 = BLOCK / STRIPE * CHAIN_ROWS as u64;
const STRIPE: u64 = COLUMN_SIDE as u64;

/// Stripes side by side that a chain has at least: a slice waits about a microsecond for the one in front of it, while those of
/// all stripes are moved. With 64 of them it is as fast as a copy, with 8 faster than to read twice by half.
const CHAIN_STRIPES: u64 = 8;

/// Packs that a thread takes at least before the axis is cut into slices, because it is then read twice.
const UNITS: u64 = 8;

/// How a scan runs. A pure function of op, layouts, dtype, axis and card.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// What [`scan`] needs beside its operands.
    pub workspace_bytes: u64,
    /// Bytes read and written, workspace included.
    pub moved_bytes: u64,
    op: Scan,
    src: Layout,
    dst: Layout,
    dtype: DType,
    pass: Pass,
}

/// One walk along all lines.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pass {
    part: ScanPart,
    /// Elements in a pack, or 1.
    len: u64,
    /// Input and output over the other axes.
    lines: [Layout; 2],
    /// Elements of a line.
    n: u64,
    /// From element to element, of input and output.
    steps: [u64; 2],
    /// Threads that share a line.
    group: u64,
    /// Elements of a slice.
    slice: u64,
}

/// Chooses how `op` runs along `axis` of `src`, which exists, into `dst` of the same shape, which may be `src`.
pub fn choose(op: Scan, src: &Layout, dst: &Layout, dtype: DType, axis: usize, card: &Card) -> Choice {
    let output = op.output(dtype).unwrap_or(dtype);
    let pass = Pass::new(src, dst, axis, scan_pack_len(op, dtype), u64::from(card.multiprocessors));
    let chains = dtype.is_float() && card.own_kernels && card.capability.0 == 9;
    let pass = pass.chain().filter(|_| chains).unwrap_or(pass);
    let (numel, slices) = (src.numel() as u64, pass.slices());
    let (workspace_bytes, reads) = match pass.part {
        ScanPart::Chain => (8 * pass.links(), 1),
        _ if slices > 1 => (pass.count() * slices * accumulator(dtype).size() as u64, 2),
        _ => (0, 1),
    };
    let moved_bytes = numel * (reads * dtype.size() as u64 + output.size() as u64) + 4 * workspace_bytes;
    Choice { workspace_bytes, moved_bytes, op, src: *src, dst: *dst, dtype, pass }
}

/// `dst = op(src)` along the chosen axis; `workspace` has [`Choice::workspace_bytes`].
///
/// # Errors
///
/// [`Shape`](taut_core::ErrorKind::Shape) or [`DType`](taut_core::ErrorKind::DType) if the operands are not those of the
/// choice or the workspace is too small, [`Driver`](taut_core::ErrorKind::Driver) if a launch fails.
pub fn scan(
    stream: &Stream,
    choice: &Choice,
    src: Operand<'_>,
    dst: Operand<'_>,
    workspace: &Block,
) -> Result<()> {
    let Choice { op, dtype, pass, .. } = *choice;
    check_shapes(op.name(), &[src, dst])?;
    let layouts = (*src.layout, *dst.layout) == (choice.src, choice.dst);
    if !layouts || (src.dtype, Some(dst.dtype)) != (dtype, op.output(dtype)) {
        return Err(Error::dtype(format!("{}: the operands are not those that were planned", op.name())));
    }
    if dst.layout.numel() == 0 {
        return Ok(());
    }
    let totals = operand::workspace(op.name(), workspace, choice.workspace_bytes)?;
    let (src, dst) = (src.pointer(), dst.pointer());
    if pass.part == ScanPart::Chain {
        fill_flat(stream, 0, 8, totals, pass.links())?;
        return pass.launch_chain(stream, op, dtype, [src, dst, totals]);
    }
    if pass.slices() > 1 {
        pass.launch(stream, op, dtype, [src, 0, totals])?;
        pass.of_totals()?.launch(stream, op, accumulator(dtype), [totals, totals, 0])?;
    }
    pass.launch(stream, op, dtype, [src, dst, totals])
}

impl Pass {
    fn new(src: &Layout, dst: &Layout, axis: usize, len: usize, multiprocessors: u64) -> Pass {
        let ((src_lines, src_axis), (dst_lines, dst_axis)) = (src.split(&[axis]), dst.split(&[axis]));
        let n = src_axis.numel() as u64;
        let steps = [src_axis, dst_axis].map(|axis| axis.strides().last().map_or(1, |&step| step as u64));
        // Neighbouring threads write neighbouring elements, whatever the order of the lines.
        let lines = by_stride_of_last([src_lines, dst_lines]);
        let inner = lines[1].strides().last().map_or(u64::MAX, |&stride| stride as u64);
        let is_rows = steps[1] <= inner;
        let packed = if is_rows {
            steps == [1, 1] && lines.iter().all(|lines| aligned(lines, lines.strides(), len))
        } else {
            steps.iter().all(|step| step.is_multiple_of(len as u64))
                && lines.iter().all(|lines| in_packs(lines, len))
        };
        let len = if packed { len as u64 } else { 1 };
        let count = lines[0].numel() as u64;
        let part = match (is_rows, packed) {
            (true, true) => ScanPart::RowsPacked,
            (true, false) => ScanPart::Rows,
            (false, true) => ScanPart::ColumnsPacked,
            (false, false) => ScanPart::Columns,
        };
        let (group, slice) = if is_rows {
            let units = n.div_ceil(len);
            // A block for a line where its elements or the threads of the card would be too many for a warp.
            let few = count * WARP < multiprocessors * BLOCK * ROWS / 2;
            let group = side_of(units, if few { WARP } else { 1024 });
            let blocks = count.div_ceil(BLOCK / group);
            (group, len * slice_of(units, group, blocks, multiprocessors * ROWS))
        } else {
            (1, slice_of(n, 1, (count / len).div_ceil(BLOCK), multiprocessors * COLUMNS))
        };
        Pass { part, len, lines, n, steps, group, slice }
    }

    /// The same in one launch, where it is columns of packs that fill a slice, of enough stripes.
    fn chain(self) -> Option<Pass> {
        let fits =
            self.part == ScanPart::ColumnsPacked && self.n >= CHAIN_SLICE && self.stripes() >= CHAIN_STRIPES;
        fits.then_some(Pass { part: ScanPart::Chain, slice: CHAIN_SLICE, ..self })
    }

    fn stripes(&self) -> u64 {
        (self.count() / self.len).div_ceil(STRIPE)
    }

    /// Words of a chain.
    fn links(&self) -> u64 {
        self.slices() * self.stripes() * STRIPE * self.len
    }

    fn launch_chain(
        &self,
        stream: &Stream,
        op: Scan,
        dtype: DType,
        [src, dst, links]: [u64; 3],
    ) -> Result<()> {
        let lines = Walk::wide(&self.lines, usize::try_from(self.len).unwrap_or(1));
        let stripes = u32::try_from(self.stripes()).map_err(|_| Error::shape("scan: too many lines"))?;
        let [src, dst, links, n] = [&src, &dst, &links, &self.n].map(Arg::new);
        let [src_step, dst_step] = [&self.steps[0], &self.steps[1]].map(Arg::new);
        let args = [src, dst, links, Arg::new(&lines), n, src_step, dst_step, Arg::new(&stripes)];
        let grid = Grid {
            shared_bytes: CHAIN_ROWS * THREADS * 16,
            ..grid([self.slices() * self.stripes(), 1], THREADS)?
        };
        // SAFETY: `scan_chain(in, out, links, lines, n, in_step, out_step, stripes)`; lines and steps stay within the layouts
        // that the choice was made from, and the workspace has a word of 0 for each link.
        unsafe { stream.launch(Kernel::Scan(op, dtype, ScanPart::Chain), grid, args) }
    }

    /// The number of lines.
    fn count(&self) -> u64 {
        self.lines[0].numel() as u64
    }

    fn slices(&self) -> u64 {
        self.n.div_ceil(self.slice).max(1)
    }

    /// The scan of the totals of the slices, `[lines, slices]`, in place.
    fn of_totals(&self) -> Result<Pass> {
        let n = self.slices();
        // Fewer than the elements of the operands.
        let slices = usize::try_from(n).unwrap_or(usize::MAX);
        let totals = Layout::contiguous(Shape::new(&[self.lines[0].numel(), slices])?);
        let lines = [totals.split(&[1]).0; 2];
        let group = side_of(n, WARP);
        Ok(Pass { part: ScanPart::Rows, len: 1, lines, n, steps: [1, 1], group, slice: n })
    }

    /// Launches over addresses of input, output and totals. Without an output, each slice writes its total; without
    /// totals, there is one slice.
    fn launch(&self, stream: &Stream, op: Scan, dtype: DType, [src, dst, totals]: [u64; 3]) -> Result<()> {
        // The bytes of bools are 0 and 1, and their sums those of u8.
        let element = if dtype == DType::Bool { DType::U8 } else { dtype };
        let kernel = Kernel::Scan(op, element, self.part);
        let [src_step, dst_step] = self.steps;
        let [src, dst, totals, n, slice] = [&src, &dst, &totals, &self.n, &self.slice].map(Arg::new);
        let [src_step, dst_step] = [&src_step, &dst_step].map(Arg::new);
        let columns = matches!(self.part, ScanPart::ColumnsPacked | ScanPart::Columns);
        let walk_len = if columns { usize::try_from(self.len).unwrap_or(1) } else { 1 };
        let lines = Walk::wide(&self.lines, walk_len);
        let args = [src, dst, totals, Arg::new(&lines), n, slice, src_step, dst_step];
        if columns {
            let grid = grid([lines.numel.div_ceil(BLOCK), self.slices()], THREADS)?;
            // SAFETY: `scan_columns(in, out, totals, lines, n, slice, in_step, out_step)`; lines and steps stay within the
            // layouts that the choice was made from, and the workspace holds one accumulator for each line and slice.
            return unsafe { stream.launch(kernel, grid, args) };
        }
        let group = u32::try_from(self.group).unwrap_or(THREADS);
        let grid = grid([lines.numel.div_ceil(BLOCK / self.group), self.slices()], THREADS)?;
        let [src, dst, totals, lines, n, slice, src_step, dst_step] = args;
        let args = [src, dst, totals, lines, n, slice, src_step, dst_step, Arg::new(&group)];
        // SAFETY: `scan_rows(in, out, totals, lines, n, slice, in_step, out_step, group)`, as above.
        unsafe { stream.launch(kernel, grid, args) }
    }
}

/// What totals are kept in: `Acc` in `scan.cu`.
fn accumulator(dtype: DType) -> DType {
    if dtype.is_float() { DType::F32 } else { DType::I64 }
}

/// Threads side by side along `units`: a power of two up to a warp, or a block if there are more than `limit`.
fn side_of(units: u64, limit: u64) -> u64 {
    if units > limit { BLOCK } else { units.max(1).next_power_of_two().min(WARP) }
}

/// How many of `units`, of which `threads` threads take one each at a time, are in a slice, so that there are about
/// `wanted` blocks where one slice makes `blocks`. Less than twice as many are not worth the second reading.
fn slice_of(units: u64, threads: u64, blocks: u64, wanted: u64) -> u64 {
    let slices = wanted / blocks.max(1);
    let slices = slices.min(units / (threads * UNITS)).min(u64::from(u16::MAX));
    units.div_ceil(slices.max(1)).max(1)
}

/// Whether the layout lies in whole packs of `len` along its last axis.
fn in_packs(layout: &Layout, len: usize) -> bool {
    let (Some(dim), Some((&inner, outer))) = (layout.shape().last(), layout.strides().split_last()) else {
        return false;
    };
    inner == 1 && dim.is_multiple_of(len) && aligned(layout, outer, len)
}

fn aligned(layout: &Layout, strides: &[usize], len: usize) -> bool {
    layout.offset().is_multiple_of(len) && strides.iter().all(|stride| stride.is_multiple_of(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(dims: &[usize]) -> Layout {
        Layout::contiguous(Shape::new(dims).unwrap())
    }

    fn sums(src: &Layout, dtype: DType, axis: usize) -> Choice {
        choose(Scan::Sum, src, &Layout::contiguous(*src.shape()), dtype, axis, &Card::h200())
    }

    #[test]
    fn inner_axes_go_by_rows_and_outer_axes_by_columns() {
        let a = layout(&[4096, 1024]);
        let part = |src: &Layout, axis| sums(src, DType::F16, axis).pass.part;
        assert_eq!((part(&a, 1), part(&a, 0)), (ScanPart::RowsPacked, ScanPart::Chain));
        // Writes decide: a transposed input is read across.
        let t = a.transposed(0, 1).unwrap();
        assert_eq!((part(&t, 1), part(&t, 0)), (ScanPart::Rows, ScanPart::Columns));
        let odd = layout(&[4096, 1023]);
        assert_eq!((part(&odd, 1), part(&odd, 0)), (ScanPart::Rows, ScanPart::Columns));
        // A single line may end in a part of a pack.
        assert_eq!(part(&layout(&[1001]), 0), ScanPart::RowsPacked);
        // In place, over a transposed matrix.
        let in_place = choose(Scan::Sum, &t, &t, DType::F32, 0, &Card::h200());
        assert_eq!(in_place.pass.part, ScanPart::RowsPacked);
    }

    #[test]
    fn few_lines_are_cut_into_slices_that_fill_the_card() {
        let long = sums(&layout(&[1 << 28]), DType::F32, 0);
        assert_eq!(long.pass.slices(), u64::from(Card::h200().multiprocessors) * ROWS);
        assert_eq!(long.workspace_bytes, 4 * long.pass.slices());
        let tall = sums(&layout(&[1 << 20, 64]), DType::U8, 0);
        assert!(tall.pass.slices() > 100, "{tall:?}");
        assert_eq!(tall.workspace_bytes, 64 * 8 * tall.pass.slices());
        for (src, axis) in [(layout(&[8192, 4096]), 1), (layout(&[100]), 0), (layout(&[64, 1 << 20]), 0)] {
            let choice = sums(&src, DType::F32, axis);
            assert_eq!((choice.pass.slices(), choice.workspace_bytes), (1, 0), "{choice:?}");
        }
    }

    #[test]
    fn columns_of_many_packs_are_a_chain() {
        let x = layout(&[65_536, 4096]);
        let choice = sums(&x, DType::F16, 0);
        assert_eq!(
            (choice.pass.part, choice.pass.slices(), choice.pass.stripes()),
            (ScanPart::Chain, 128, 64)
        );
        assert_eq!(choice.workspace_bytes, 8 * 128 * 4096);
        let part = |src: &Layout, dtype| sums(src, dtype, 0).pass.part;
        assert_eq!(part(&x, DType::I64), ScanPart::ColumnsPacked);
        assert_eq!(part(&layout(&[1 << 20, 64]), DType::F16), ScanPart::ColumnsPacked);
        assert_eq!(part(&layout(&[65_536, 4095]), DType::F16), ScanPart::Columns);
        let old = Card { own_kernels: false, ..Card::h200() };
        assert_eq!(choose(Scan::Sum, &x, &x, DType::F16, 0, &old).pass.part, ScanPart::ColumnsPacked);
    }

    #[test]
    fn every_slice_is_sound() {
        for dims in [&[1usize, 1][..], &[3, 5], &[1000, 7], &[7, 100_003], &[100_003, 7], &[2, 0], &[0, 2]] {
            for axis in [0, 1] {
                for dtype in [DType::F16, DType::I64] {
                    let pass = sums(&layout(dims), dtype, axis).pass;
                    let rows = matches!(pass.part, ScanPart::RowsPacked | ScanPart::Rows);
                    assert!(pass.group.is_power_of_two(), "{pass:?}");
                    assert!(!rows || pass.slice.is_multiple_of(pass.len), "{pass:?}");
                    assert!((pass.slices() - 1) * pass.slice <= pass.n, "{pass:?}");
                    assert!(pass.slices() <= u64::from(u16::MAX) && pass.of_totals().is_ok());
                }
            }
        }
    }
}
