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
    /// The same; and they hold them as they lie in memory, as many as there can be.
    Narrow(&'a Card),
    /// Those of [`STAGED_UNITS`] and more.
    Early(&'a Card),
    /// None, and none are held either: they are read once, by as few threads as fill the card, which have the less to tell each
    /// other.
    Once,
}

/// Units of such a row for each thread, where rows fill the card, and threads of a block at most.
const ONCE_UNITS: usize = 64;
/// See [`ONCE_UNITS`].
const ONCE_THREADS: usize = 512;

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
    if len > 1 && matches!(staging, Staging::Once) {
        let threads = (units / ONCE_UNITS).max(2 * FEW_THREADS / rows.max(1)).min(ONCE_THREADS);
        let threads = threads.min(units.div_ceil(RowPart::Long.units(len, streams))).next_multiple_of(WARP);
        return Team { part: RowPart::Long, threads, side: 1, teams: 1 };
    }
    let halves = len * size_of::<u16>() == PACK_BYTES;
    let block = match staging {
        Staging::Wide(_) if halves => RowPart::Wide,
        Staging::Narrow(_) if halves => RowPart::Narrow,
        _ => RowPart::Block,
    };
    let held = holds(block, most(block));
    let holders = units.div_ceil(block.units(len, streams)).next_multiple_of(WARP);
    // Such a block leaves no room for another one, where shared memory has it.
    let is_crowded = |card| {
        halves
            && block != RowPart::Narrow
            && 2 * holders > most(block)
            && at_once(units, streams, 0, card) > 1
    };
    let staged = match staging {
        Staging::Early(card) if len > 1 && units >= STAGED_UNITS => staged(units, len, streams, 128, card),
        Staging::Late(card) | Staging::Wide(card) | Staging::Narrow(card)
            if len > 1 && (!held || is_crowded(card)) =>
        {
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
mod tests;
