//! How the rows of operands are given to teams of threads: what the launches of `softmax.cu` and `norm.cu` share.

use super::walk::{by_stride_of_last, grid};
use crate::{Grid, Operand, Param};
use taut_core::{DType, Layout, Result};
use taut_kernels::{
    RowPart,
    args::{MOST_THREADS, Rows, THREADS, Walk},
    pack_len,
};

const WARP: usize = 32;
const PACK_BYTES: usize = 16;

/// Threads that any card has at once. Rows that take no more with a unit for each are few: what counts is how soon one of
/// them is done.
const FEW_THREADS: usize = 1 << 16;

// SAFETY: `Rows` is `repr(C)`, and the build checks its size against that of its twin.
unsafe impl<const N: usize> Param for Rows<N> {}

/// How a kernel goes over the rows of `N` operands of one shape, the last of which it writes. Pure: addresses play no
/// part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Choice<const N: usize> {
    pub(crate) part: RowPart,
    /// Whether units are packs.
    pub(crate) packs: bool,
    /// What the kernels call `side`.
    pub(crate) side: u32,
    pub(crate) rows: Rows<N>,
    threads: usize,
    /// Rows that a block does.
    teams: usize,
    /// Of dynamic shared memory.
    shared_bytes: usize,
    /// From row to row.
    outer: [Layout; N],
}

/// Chooses for rows along `axis` of operands, none of them empty. The kernel reads `streams` of them in the size of the
/// last; `aligned` says whether packs are right for whatever else it reads along a row, `shared_bytes` how much shared
/// memory a block may have for a row, 0 where the family has no [`RowPart::Staged`]. A [`DType::Bool`] may be broadcast along
/// rows of packs.
pub(crate) fn choose<const N: usize>(
    operands: &[Operand<'_>; N],
    axis: usize,
    streams: usize,
    aligned: bool,
    shared_bytes: u32,
) -> Choice<N> {
    let dst = &operands[N - 1];
    let outer = by_stride_of_last(operands.each_ref().map(|operand| operand.layout.split(&[axis]).0));
    let steps = operands.each_ref().map(|operand| operand.layout.strides()[axis]);
    let (n, len) = (dst.layout.shape()[axis], pack_len(&[dst.dtype]));
    let packs = aligned
        && n.is_multiple_of(len)
        && (0..N).all(|i| match steps[i] {
            1 => starts_on_packs(&outer[i], len),
            step => step == 0 && operands[i].dtype == DType::Bool,
        });
    let len = if packs { len } else { 1 };
    // Neighbouring threads on neighbouring elements of what is written.
    let columns = !packs && outer[N - 1].strides().last().is_some_and(|&stride| stride < steps[N - 1]);
    let units = n / len;
    let Team { part, threads, side, teams } = if columns {
        column(n, streams)
    } else {
        row(outer[0].numel(), units, len, streams, shared_bytes as usize)
    };
    let shared_bytes = if part == RowPart::Staged { staged_bytes(units, len, threads) } else { 0 };
    let rows = Rows {
        walk: Walk::wide(&outer, 1),
        units: units as u64,
        step: steps.map(|step| (step * len) as u64),
    };
    Choice { part, packs, side: side as u32, rows, threads, teams, shared_bytes, outer }
}

impl<const N: usize> Choice<N> {
    pub(crate) fn grid(&self) -> Result<Grid> {
        let grid = grid([self.rows.walk.numel.div_ceil(self.teams as u64), 1], self.threads as u32)?;
        Ok(Grid { shared_bytes: self.shared_bytes as u32, ..grid })
    }

    /// The addresses of the first elements.
    pub(crate) fn pointers(&self, operands: &[Operand<'_>; N]) -> [u64; N] {
        std::array::from_fn(|i| Operand { layout: &self.outer[i], ..operands[i] }.pointer())
    }
}

/// Whether every row begins on a whole pack of its storage.
fn starts_on_packs(outer: &Layout, len: usize) -> bool {
    outer.offset().is_multiple_of(len) && outer.strides().iter().all(|stride| stride.is_multiple_of(len))
}

struct Team {
    part: RowPart,
    threads: usize,
    side: usize,
    teams: usize,
}

/// Neighbouring threads on neighbouring units of a row.
fn row(rows: usize, units: usize, len: usize, streams: usize, shared_bytes: usize) -> Team {
    let threads = units.next_multiple_of(WARP);
    if len > 1 && threads <= MOST_THREADS as usize && rows.saturating_mul(threads) <= FEW_THREADS {
        return Team { part: RowPart::Rush, threads, side: 1, teams: 1 };
    }
    let holds = |part: RowPart, threads: usize| units <= threads * part.units(len, streams);
    let most = |part: RowPart| part.most_threads(len) as usize;
    let group = |part, side| {
        let threads = THREADS as usize;
        Team { part, threads, side, teams: threads / side }
    };
    if holds(RowPart::Short, WARP) {
        return group(RowPart::Short, units.next_power_of_two().min(WARP));
    }
    if holds(RowPart::Warp, WARP) {
        return group(RowPart::Warp, WARP);
    }
    if let Some(threads) = staging(units, len, shared_bytes) {
        return Team { part: RowPart::Staged, threads, side: 1, teams: 1 };
    }
    let (part, threads) = if holds(RowPart::Block, most(RowPart::Block)) {
        let threads = units.div_ceil(RowPart::Block.units(len, streams));
        (RowPart::Block, threads.next_multiple_of(WARP))
    } else {
        // Two blocks share a multiprocessor: while one waits for all of its threads, the other does not.
        (RowPart::Long, MOST_THREADS as usize / 2)
    };
    Team { part, threads, side: 1, teams: 1 }
}

/// Units from which on rows go by shared memory: shorter ones are as fast in registers.
const STAGED_UNITS: usize = 1024;

/// Threads for a row in shared memory, if it fits there and pays. As many blocks share a multiprocessor as its memory
/// allows; all in all they have the threads for which there are registers, and take even shares of the row.
fn staging(units: usize, len: usize, shared_bytes: usize) -> Option<usize> {
    const THREADS_OF_ALL: usize = 1152;
    if len == 1 || units < STAGED_UNITS {
        return None;
    }
    let at_once = RowPart::Staged.units(len, 1);
    // The system keeps a little for each block.
    let blocks = shared_bytes / (units * PACK_BYTES + 1024);
    let most = THREADS_OF_ALL.checked_div(blocks)?.clamp(128, RowPart::Staged.most_threads(len) as usize);
    let threads = units.div_ceil(units.div_ceil(at_once * most) * at_once).next_multiple_of(WARP);
    (staged_bytes(units, len, threads) <= shared_bytes).then_some(threads)
}

/// The shared memory of a row, in whole chunks.
fn staged_bytes(units: usize, len: usize, threads: usize) -> usize {
    units.next_multiple_of(threads * RowPart::Staged.units(len, 1)) * PACK_BYTES
}

/// Neighbouring threads on neighbouring rows of `n` elements.
fn column(n: usize, streams: usize) -> Team {
    let most = RowPart::Columns.most_threads(1) as usize / WARP;
    let sharing = n.div_ceil(RowPart::Columns.units(1, streams)).next_power_of_two();
    let part = if sharing <= most { RowPart::Columns } else { RowPart::LongColumns };
    let sharing = sharing.min(most);
    let side = (THREADS as usize / sharing).max(WARP);
    Team { part, threads: side * sharing, side, teams: side }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taut_core::Shape;

    fn layout(dims: &[usize]) -> Layout {
        Layout::contiguous(Shape::new(dims).unwrap())
    }

    fn pair(src: &Layout, dtype: DType, axis: usize) -> Choice<2> {
        let dst = Layout::contiguous(*src.shape());
        choose(&[src, &dst].map(|layout| Operand { address: 0, layout, dtype }), axis, 1, true, 0)
    }

    #[test]
    fn longer_rows_take_more_threads() {
        for (n, part, threads) in [
            (8, RowPart::Short, 256),
            (256, RowPart::Short, 256),
            (512, RowPart::Warp, 256),
            (1024, RowPart::Block, 32),
            (4096, RowPart::Block, 128),
            (16_384, RowPart::Block, 512),
            (32_768, RowPart::Block, 1024),
            (131_072, RowPart::Long, 512),
        ] {
            let choice = pair(&layout(&[7000, n]), DType::F16, 1);
            assert_eq!((choice.part, choice.packs, choice.threads), (part, true, threads), "{n}");
        }
        for (n, part) in [
            (1, RowPart::Short),
            (127, RowPart::Short),
            (255, RowPart::Warp),
            (8191, RowPart::Block),
            (8193, RowPart::Long),
        ] {
            let choice = pair(&layout(&[7, n]), DType::F16, 1);
            assert_eq!((choice.part, choice.packs), (part, false), "{n}");
        }
    }

    #[test]
    fn long_rows_of_packs_go_by_shared_memory() {
        let chosen = |n: usize, dtype, shared_bytes| {
            let both = [Layout::contiguous(Shape::new(&[7000, n]).unwrap()); 2];
            let operands = both.each_ref().map(|layout| Operand { address: 0, layout, dtype });
            let choice = choose(&operands, 1, 1, true, shared_bytes);
            (choice.part, choice.threads, choice.shared_bytes)
        };
        let h200 = 232_448;
        for (n, dtype, threads, bytes) in [
            (8192, DType::BF16, 128, 16 << 10),
            (20_480, DType::F16, 224, 43_008),
            (50_304, DType::BF16, 480, 107_520),
            (100_352, DType::F16, 512, 212_992),
            (8192, DType::F32, 192, 36_864),
        ] {
            assert_eq!(chosen(n, dtype, h200), (RowPart::Staged, threads, bytes), "{n} {dtype}");
        }
        assert_eq!(chosen(8184, DType::F16, h200).0, RowPart::Block);
        assert_eq!(chosen(131_072, DType::F16, h200).0, RowPart::Long);
        assert_eq!(chosen(50_304, DType::F16, 101_376).0, RowPart::Long);
        assert_eq!(chosen(8193, DType::F16, h200).0, RowPart::Long);
        assert_eq!(chosen(8192, DType::F16, 0).0, RowPart::Block);
    }

    #[test]
    fn few_rows_take_a_thread_for_each_unit() {
        for (rows, n, dtype, threads) in [
            (16, 384, DType::F16, 64),
            (1, 8, DType::BF16, 32),
            (16, 4096, DType::F32, 1024),
            (64, 8192, DType::F16, 1024),
            (1024, 384, DType::F16, 64),
        ] {
            let choice = pair(&layout(&[rows, n]), dtype, 1);
            assert_eq!((choice.part, choice.threads), (RowPart::Rush, threads), "{rows} x {n}");
        }
        for (rows, n) in [(1025, 384), (65, 8192), (1, 8200), (1, 12)] {
            assert_ne!(pair(&layout(&[rows, n]), DType::F16, 1).part, RowPart::Rush, "{rows} x {n}");
        }
    }

    #[test]
    fn packs_need_whole_and_aligned_rows() {
        let wide = layout(&[30, 64]);
        let packs = |from, to| pair(&wide.sliced(1, from..to).unwrap(), DType::F32, 1).packs;
        assert_eq!([packs(0, 64), packs(4, 60), packs(1, 33), packs(0, 33)], [true, true, false, false]);
        // A row that is broadcast is read again and again, from the same place.
        let rows = layout(&[64]).broadcast_to(*wide.shape()).unwrap();
        assert!(pair(&rows, DType::F32, 1).packs);
        let one = layout(&[30, 1]).broadcast_to(*wide.shape()).unwrap();
        assert!(!pair(&one, DType::F32, 1).packs);
    }

    #[test]
    fn masks_lie_along_rows_or_are_broadcast() {
        let x = layout(&[3, 5, 64]);
        let choice = |mask: &Layout| {
            let mask = Operand { address: 0, layout: mask, dtype: DType::Bool };
            let x = Operand { address: 0, layout: &x, dtype: DType::F16 };
            choose(&[x, mask, x], 2, 2, true, 0)
        };
        for (dims, packs, step) in
            [(&[64][..], true, 8), (&[3, 1, 64], true, 8), (&[5, 1], true, 0), (&[1], true, 0)]
        {
            let choice = choice(&layout(dims).broadcast_to(*x.shape()).unwrap());
            assert_eq!((choice.packs, choice.rows.step[1]), (packs, step), "{dims:?}");
        }
        let odd = layout(&[65]).sliced(0, 1..65).unwrap().broadcast_to(*x.shape()).unwrap();
        assert!(!choice(&odd).packs);
    }

    #[test]
    fn other_axes_go_by_columns() {
        let x = layout(&[100, 3, 50]);
        for (axis, part, rows) in [(0, RowPart::Columns, 150), (1, RowPart::Columns, 5000)] {
            let choice = pair(&x, DType::F32, axis);
            assert_eq!((choice.part, choice.packs, choice.rows.walk.numel), (part, false, rows));
            assert!(choice.threads.is_multiple_of(choice.side as usize) && choice.side.is_power_of_two());
        }
        assert_eq!(pair(&layout(&[4096, 50]), DType::F32, 0).part, RowPart::LongColumns);
        // Alone, a column is a row.
        assert_eq!(pair(&layout(&[100, 1]), DType::F32, 0).part, RowPart::Rush);
    }

    #[test]
    fn every_team_is_sound() {
        for streams in [1, 2] {
            for n in (1..600).chain((1..40).map(|i| i * 997)) {
                for len in [1, 4, 8] {
                    for rows in [1, 1000, 100_000] {
                        let shared = if streams == 1 { 99 << 10 } else { 0 };
                        let Team { part, threads, side, teams } = row(rows, n, len, streams, shared);
                        let team = match part {
                            RowPart::Short | RowPart::Warp => side,
                            _ => threads,
                        };
                        let held = team * part.units(len, streams);
                        let any = matches!(part, RowPart::Staged | RowPart::Long);
                        assert!(n <= held || any, "{n} {len}");
                        assert!(part != RowPart::Staged || staged_bytes(n, len, threads) <= shared);
                        assert!(threads.is_multiple_of(WARP) && threads <= part.most_threads(len) as usize);
                        assert!(side.is_power_of_two() && (teams == 1 || teams * side == threads));
                    }
                }
                let Team { part, threads, side, teams } = column(n, streams);
                let sharing = threads / side;
                assert!(sharing.is_power_of_two() && sharing * side == threads && teams == side);
                assert!(threads <= part.most_threads(1) as usize && side >= WARP);
                assert!(n <= sharing * part.units(1, streams) || part == RowPart::LongColumns);
            }
        }
    }
}
