//! How the rows of operands are given to teams of threads: what the launches of `softmax.cu` and `norm.cu` share.

use super::walk::{by_stride_of_last, grid, in_rows};
use crate::{Card, Grid, Operand, Param};
use taut_core::{DType, Layout, Result};
use taut_kernels::{
    RowPart,
    args::{COLUMN_SIDE, MOST_THREADS, Rows, THREADS, Walk},
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
    /// Blocks that do a row.
    blocks: usize,
    /// Of dynamic shared memory.
    shared_bytes: usize,
    /// From row to row.
    outer: [Layout; N],
}

/// Chooses for rows along `axis` of operands, none of them empty. The kernel reads `streams` of them in the size of the
/// last; `aligned` says whether packs are right for whatever else it reads along a row. A [`DType::Bool`] may be broadcast
/// along rows of packs.
pub(crate) fn choose<const N: usize>(
    operands: &[Operand<'_>; N],
    axis: usize,
    streams: usize,
    aligned: bool,
    staging: Staging<'_>,
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
    let Team { part, threads, side, teams } =
        if columns { column(n, streams) } else { row(outer[0].numel(), units, len, streams, staging) };
    let blocks = if part == RowPart::Cluster { 1 << side } else { 1 };
    let shared_bytes = if part.is_staged() { staged_bytes(units, len, streams, threads, blocks) } else { 0 };
    let rows = Rows {
        walk: Walk::wide(&outer, 1),
        units: units as u64,
        step: steps.map(|step| (step * len) as u64),
    };
    Choice { part, packs, side: side as u32, rows, threads, teams, blocks, shared_bytes, outer }
}

/// Blocks that a multiprocessor is given at least, where packs of columns can be shared by as many.
const COLUMN_BLOCKS: usize = 3;
/// Rows that each thread of a column has at least where a cluster shares it.
const COLUMN_ROWS: usize = 16;

/// For columns that threads do not hold, where neighbours lie side by side in packs of every operand, all of one dtype: by
/// clusters, of so many blocks as fill the card. `None` for all else. The kernel reads `streams` operands.
pub(crate) fn choose_columns<const N: usize>(
    operands: &[Operand<'_>; N],
    axis: usize,
    streams: usize,
    card: &Card,
) -> Option<Choice<N>> {
    let dst = &operands[N - 1];
    let outer = by_stride_of_last(operands.each_ref().map(|operand| operand.layout.split(&[axis]).0));
    let steps = operands.each_ref().map(|operand| operand.layout.strides()[axis]);
    let (n, len) = (dst.layout.shape()[axis], pack_len(&[dst.dtype]));
    let side_by_side = outer.iter().all(|outer| outer.strides().last() == Some(&1));
    let is_packed = len > 1 && side_by_side && in_rows(&outer, len);
    let is_held = column(n, streams).part == RowPart::Columns;
    if !is_packed || is_held || steps.iter().any(|step| !step.is_multiple_of(len) || *step < len) {
        return None;
    }
    let packs = outer[0].numel() / len;
    let tiles = packs.div_ceil(COLUMN_SIDE as usize);
    let most = if card.own_kernels && card.capability.0 == 9 { 3 } else { 0 };
    let fills = |side| tiles << side >= COLUMN_BLOCKS * card.multiprocessors as usize;
    let is_short = |side| n >> side < COLUMN_ROWS * (THREADS / COLUMN_SIDE) as usize;
    let side = (0..most).find(|&side| fills(side) || is_short(side + 1)).unwrap_or(most);
    let rows = Rows { walk: Walk::wide(&outer, len), units: n as u64, step: steps.map(|step| step as u64) };
    Some(Choice {
        part: RowPart::PackedColumns,
        packs: true,
        side: side as u32,
        rows,
        threads: THREADS as usize,
        teams: COLUMN_SIDE as usize,
        blocks: 1 << side,
        shared_bytes: 0,
        outer,
    })
}

impl<const N: usize> Choice<N> {
    pub(crate) fn grid(&self) -> Result<Grid> {
        let blocks = self.rows.walk.numel.div_ceil(self.teams as u64) * self.blocks as u64;
        let (shared_bytes, cluster) = (self.shared_bytes as u32, self.blocks as u32);
        Ok(Grid { shared_bytes, cluster, ..grid([blocks, 1], self.threads as u32)? })
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

/// Which rows go by shared memory, where the family has kernels for that.
#[derive(Clone, Copy)]
pub(crate) enum Staging<'a> {
    Never,
    /// Those that registers do not hold, or of 16 bits only one at a time.
    Late(&'a Card),
    /// The same; and blocks that hold packs of 16 bits are wide.
    Wide(&'a Card),
    /// Those of [`STAGED_UNITS`] and more.
    Early(&'a Card),
}

/// Units from which on exponentials of a row go by shared memory: shorter ones are as fast in registers.
const STAGED_UNITS: usize = 1024;

/// Neighbouring threads on neighbouring units of a row.
fn row(rows: usize, units: usize, len: usize, streams: usize, staging: Staging<'_>) -> Team {
    let threads = units.next_multiple_of(WARP);
    if len > 1 && threads <= MOST_THREADS as usize && rows.saturating_mul(threads) <= FEW_THREADS {
        return Team { part: RowPart::Rush, threads, side: 1, teams: 1 };
    }
    let holds = |part: RowPart, threads: usize| units <= threads * part.units(len, streams);
    let most = |part: RowPart| part.most_threads(len) as usize;
    let group = |part, side| {
        let threads = most(part);
        Team { part, threads, side, teams: threads / side }
    };
    if holds(RowPart::Short, WARP) {
        // Single units of neighbouring threads lie side by side.
        let each = if len > 1 { RowPart::Short.units(len, streams) } else { 1 };
        return group(RowPart::Short, units.div_ceil(each).next_power_of_two().min(WARP));
    }
    if holds(RowPart::Warp, WARP) {
        return group(RowPart::Warp, WARP);
    }
    let halves = len * size_of::<u16>() == PACK_BYTES;
    let block = if matches!(staging, Staging::Wide(_)) && halves { RowPart::Wide } else { RowPart::Block };
    let held = holds(block, most(block));
    let holders = units.div_ceil(block.units(len, streams)).next_multiple_of(WARP);
    // Such a block leaves no room for another one, where shared memory has it.
    let is_crowded = |card| halves && 2 * holders > most(block) && at_once(units, streams, 0, card) > 1;
    let staged = match staging {
        Staging::Early(card) if len > 1 && units >= STAGED_UNITS => staged(units, len, streams, 128, card),
        Staging::Late(card) | Staging::Wide(card) if len > 1 && (!held || is_crowded(card)) => {
            staged(units, len, streams, LATE_THREADS, card)
        }
        _ => None,
    };
    if let Some(team) = staged {
        return team;
    }
    let (part, threads) = if held {
        (block, holders)
    } else {
        // Two blocks share a multiprocessor: while one waits for all of its threads, the other does not.
        (RowPart::Long, MOST_THREADS as usize / 2)
    };
    Team { part, threads, side: 1, teams: 1 }
}

/// Threads of a block of a cluster at least where elements take some that are beside them: the more come at a time, the less
/// often there is a wait for them. Of two operands more are no faster. A block that has a row of its own takes all that it can.
const LATE_THREADS: usize = 352;

/// Rows of this size that a multiprocessor's shared memory has room for. The system keeps a little for each block.
fn at_once(units: usize, streams: usize, side: usize, card: &Card) -> usize {
    card.shared_bytes as usize / (((units * streams * PACK_BYTES) >> side) + 1024)
}

/// A row in the shared memory of a block, or of the fewest blocks of a cluster so that two share a multiprocessor: while one
/// waits, the other does not. All that share one have the threads for which there are registers, and even shares of the row.
///
/// A row of two operands is on its way for longer. A block that holds it alone is faster than a cluster (on an H200 by 10 to
/// 20 % for 32,768 elements of 16 bits), and a cluster of such blocks no faster than to read the row twice.
fn staged(units: usize, len: usize, streams: usize, least: usize, card: &Card) -> Option<Team> {
    const THREADS_OF_ALL: usize = 1024;
    let most = if card.own_kernels && card.capability.0 == 9 { 3 } else { 0 };
    let at_once = |side| at_once(units, streams, side, card);
    let is_alone = streams > 1 && at_once(0) > 0;
    let side = if is_alone { 0 } else { (0..most).find(|&side| at_once(side) >= 2).unwrap_or(most) };
    if streams > 1 && side > 0 && at_once(side) < 2 {
        return None;
    }
    let most = RowPart::Staged.most_threads(len) as usize;
    let least = match (side, streams) {
        (0, _) if least == LATE_THREADS => most,
        (_, 2..) => WARP,
        _ => least,
    };
    let threads = THREADS_OF_ALL.checked_div(at_once(side))?.clamp(least, most);
    let step = RowPart::Staged.units(len, streams) << side;
    let threads =
        units.div_ceil(units.div_ceil(step * (threads / WARP * WARP)) * step).next_multiple_of(WARP);
    let part = if side > 0 { RowPart::Cluster } else { RowPart::Staged };
    let fits = staged_bytes(units, len, streams, threads, 1 << side) <= card.shared_bytes as usize;
    fits.then_some(Team { part, threads, side, teams: 1 })
}

/// The shared memory of each of the blocks of a row, in whole chunks.
fn staged_bytes(units: usize, len: usize, streams: usize, threads: usize, blocks: usize) -> usize {
    let chunk = threads * blocks * RowPart::Staged.units(len, streams);
    units.next_multiple_of(chunk) / blocks * streams * PACK_BYTES
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
        choose(
            &[src, &dst].map(|layout| Operand { address: 0, layout, dtype }),
            axis,
            1,
            true,
            Staging::Never,
        )
    }

    #[test]
    fn longer_rows_take_more_threads() {
        for (n, part, threads) in [
            (8, RowPart::Short, 256),
            (256, RowPart::Short, 256),
            (512, RowPart::Short, 256),
            (768, RowPart::Warp, 128),
            (1024, RowPart::Warp, 128),
            (2048, RowPart::Block, 64),
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
        use RowPart::{Block, Cluster, Long, Staged, Wide};
        fn chosen(n: usize, dtype: DType, staging: Staging<'_>) -> (RowPart, usize, [u32; 2]) {
            chosen_of(1, n, dtype, staging)
        }
        fn chosen_of(
            streams: usize,
            n: usize,
            dtype: DType,
            staging: Staging<'_>,
        ) -> (RowPart, usize, [u32; 2]) {
            let both = [Layout::contiguous(Shape::new(&[7000, n]).unwrap()); 2];
            let operands = both.each_ref().map(|layout| Operand { address: 0, layout, dtype });
            let choice = choose(&operands, 1, streams, true, staging);
            let grid = choice.grid().unwrap();
            assert_eq!(grid.blocks[0], 7000 * grid.cluster);
            (choice.part, choice.threads, [grid.cluster, grid.shared_bytes])
        }
        let (f16, f32) = (DType::F16, DType::F32);
        let (h200, old) = (Card::h200(), Card { own_kernels: false, shared_bytes: 101_376, ..Card::h200() });
        for (n, dtype, part, threads, size) in [
            (8192, f16, Staged, 128, [1, 16 << 10]),
            (20_480, f16, Staged, 192, [1, 43_008]),
            (50_304, f16, Staged, 480, [1, 107_520]),
            (65_536, f16, Cluster, 320, [2, 71_680]),
            (128_256, f16, Cluster, 288, [4, 64_512]),
            (262_144, f16, Cluster, 320, [8, 71_680]),
            (8192, f32, Staged, 128, [1, 32_768]),
            (262_144, f32, Cluster, 512, [8, 131_072]),
        ] {
            assert_eq!(chosen(n, dtype, Staging::Early(&h200)), (part, threads, size), "{n} {dtype}");
        }
        let part = |n, staging| chosen(n, f16, staging).0;
        assert_eq!([8184, 8193, 8192 * 128].map(|n| part(n, Staging::Early(&h200))), [Block, Long, Long]);
        assert_eq!([16_384, 16_392].map(|n| part(n, Staging::Late(&h200))), [Block, Staged]);
        assert_eq!(chosen(32_768, f32, Staging::Late(&h200)).0, Block);
        assert_eq!([32_768, 65_536].map(|n| part(n, Staging::Early(&old))), [Staged, Long]);
        assert_eq!(part(8192, Staging::Never), Block);
        let late = |n, dtype| chosen(n, dtype, Staging::Late(&h200));
        assert_eq!(late(131_072, f16), (Cluster, 352, [4, 67_584]));
        assert_eq!(late(131_072, f32), (Cluster, 352, [8, 67_584]));
        for (n, dtype, part, threads, size) in [
            (8192, f16, Block, 512, [1, 0]),
            (8200, f16, Staged, 352, [1, 33_792]),
            (16_384, f16, Staged, 512, [1, 65_536]),
            (32_768, f16, Staged, 512, [1, 131_072]),
            (65_536, f16, Cluster, 320, [4, 71_680]),
            (131_072, f16, Cluster, 320, [8, 71_680]),
            (262_144, f16, Long, 512, [1, 0]),
            (16_384, f32, Block, 1024, [1, 0]),
            (32_768, f32, Cluster, 256, [4, 65_536]),
            (131_072, f32, Long, 512, [1, 0]),
        ] {
            assert_eq!(chosen_of(2, n, dtype, Staging::Late(&h200)), (part, threads, size), "{n} {dtype}");
        }
        assert_eq!(chosen_of(2, 32_768, f16, Staging::Late(&old)).0, Long);
        for (n, dtype, part, threads) in
            [(8192, f16, Wide, 256), (8200, f16, Staged, 352), (8192, f32, Block, 512)]
        {
            let wide = chosen_of(2, n, dtype, Staging::Wide(&h200));
            assert_eq!((wide.0, wide.1), (part, threads), "{n} {dtype}");
        }
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
            choose(&[x, mask, x], 2, 2, true, Staging::Never)
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
    fn long_columns_of_packs_are_shared_by_clusters() {
        let (h200, old) = (Card::h200(), Card { own_kernels: false, ..Card::h200() });
        let chosen = |layout: &Layout, axis, card| {
            let x = Operand { address: 0, layout, dtype: DType::F16 };
            let choice = choose_columns(&[x, x], axis, 1, card)?;
            let blocks = choice.grid().unwrap().blocks[0];
            Some((choice.rows.walk.numel, choice.rows.units, choice.side, blocks))
        };
        let x = layout(&[65_536, 4096]);
        assert_eq!(chosen(&x, 0, &h200), Some((512, 65_536, 3, 512)));
        assert_eq!(chosen(&x, 0, &old), Some((512, 65_536, 0, 64)));
        assert_eq!(chosen(&layout(&[1024, 1 << 18]), 0, &h200), Some((1 << 15, 1024, 0, 4096)));
        assert_eq!(chosen(&layout(&[5, 1100, 72]), 1, &h200), Some((45, 1100, 1, 12)));
        // Rows, short columns, and such as begin anywhere.
        assert_eq!(chosen(&x, 1, &h200), None);
        assert_eq!(chosen(&layout(&[256, 4096]), 0, &h200), None);
        assert_eq!(chosen(&layout(&[4096, 4092]), 0, &h200), None);
        assert_eq!(chosen(&x.sliced(1, 4..4092).unwrap(), 0, &h200), None);
        assert!(chosen(&x.sliced(1, 8..4080).unwrap(), 0, &h200).is_some());
    }

    #[test]
    fn every_team_is_sound() {
        for streams in [1, 2] {
            for n in (1..600).chain((1..40).map(|i| i * 997)) {
                for len in [1, 4, 8] {
                    let card = Card { shared_bytes: 32 << 10, ..Card::h200() };
                    for (rows, staging) in [1, 1000, 100_000]
                        .into_iter()
                        .flat_map(|rows| [(rows, Staging::Early(&card)), (rows, Staging::Wide(&card))])
                    {
                        let Team { part, threads, side, teams } = row(rows, n, len, streams, staging);
                        let team = match part {
                            RowPart::Short | RowPart::Warp => side,
                            _ => threads,
                        };
                        let held = team * part.units(len, streams);
                        assert!(n <= held || part.is_staged() || part == RowPart::Long, "{n} {len}");
                        if part.is_staged() {
                            assert!(
                                side <= 3 && staged_bytes(n, len, streams, threads, 1 << side) <= 32 << 10
                            );
                            continue;
                        }
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
