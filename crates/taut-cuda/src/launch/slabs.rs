//! Columns that the cache does not hold until they are read again, in three launches (`slabs.cuh`): what the launches of
//! softmax and of its backward share.

use super::{rows::Choice, walk::grid};
use crate::{Arg, Card, Stream, operand};
use taut_core::{DType, Result, Softmax};
use taut_kernels::{
    Kernel, RowPart, SlabPart,
    args::{COLUMN_SIDE, SLAB_ROWS, THREADS, WARP},
    pack_len,
};
use taut_memory::Block;

/// Elements of a column at least: a thread that finishes some rows reads first what there is in its columns.
const ROWS: u64 = 2048;
/// Of a column that a thread looks at, at least, where slices fill the card.
const SLICE_ROWS: u64 = 64;
/// Blocks of a multiprocessor that look for what there is, and those of all other kernels of columns.
const BLOCKS: u64 = 3;
const SHARERS: u64 = (THREADS / WARP) as u64;

/// How columns go by. Pure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Slabs {
    /// What there is in slices and in columns.
    pub(crate) workspace_bytes: u64,
    /// Packs of columns side by side, of a warp each.
    tiles: u64,
    slices: u64,
    slabs: u64,
    columns: u64,
    stat_bytes: u64,
}

/// For what `choose_columns` chose, where it pays; `stat_bytes` are those of a `Stat` of the family.
pub(crate) fn slabs<const N: usize>(
    choice: &Choice<N>,
    dtype: DType,
    stat_bytes: u64,
    card: &Card,
) -> Option<Slabs> {
    let (packs, n) = (choice.rows.walk.numel, choice.rows.units);
    let columns = packs * pack_len(&[dtype]) as u64;
    let tiles = packs.div_ceil(u64::from(WARP));
    let at_once = BLOCKS * u64::from(card.multiprocessors);
    // Eight blocks of a cluster share a pack of columns at most, which leaves some of the card idle.
    let fills = packs.div_ceil(u64::from(COLUMN_SIDE)) << 3 >= at_once;
    let least = if fills { 2 * card.l2_bytes } else { card.l2_bytes / 2 };
    let slabs = n.div_ceil(SHARERS * u64::from(SLAB_ROWS));
    let is_long = n >= ROWS && columns * n * dtype.size() as u64 >= least && slabs <= u64::from(u16::MAX);
    if choice.part != RowPart::PackedColumns || !is_long || !card.own_kernels || card.capability.0 != 9 {
        return None;
    }
    let slices = (at_once / tiles).clamp(1, n / SLICE_ROWS);
    let workspace_bytes = (slices + 1) * columns * stat_bytes;
    Some(Slabs { workspace_bytes, tiles, slices, slabs, columns, stat_bytes })
}

impl Slabs {
    /// Where in a workspace is what is found in slices, and in columns.
    pub(crate) fn places(&self, name: &str, workspace: &Block) -> Result<[u64; 2]> {
        let partials = operand::workspace(name, workspace, self.workspace_bytes)?;
        Ok([partials, partials + self.slices * self.columns * self.stat_bytes])
    }

    /// The three launches, of an op on a dtype or of its backward.
    ///
    /// # Safety
    ///
    /// `find` and `finish` are the arguments of `softmax_find` and `softmax_finish`, or of those of the backward, over operands
    /// that live and these [`places`](Self::places).
    pub(crate) unsafe fn launch<const F: usize, const L: usize>(
        &self,
        stream: &Stream,
        (op, dtype, backward): (Softmax, DType, bool),
        [partials, totals]: [u64; 2],
        find: [Arg<'_>; F],
        finish: [Arg<'_>; L],
    ) -> Result<()> {
        let kernel = |op, dtype, part| Kernel::SoftmaxSlabs(op, dtype, part, backward);
        // What softmax looks for is the same for all ops.
        let find_of = kernel(if backward { op } else { Softmax::Plain }, dtype, SlabPart::Find);
        let slices = u32::try_from(self.slices).unwrap_or(u32::MAX);
        let join = [Arg::new(&partials), Arg::new(&totals), Arg::new(&self.columns), Arg::new(&slices)];
        let grid_of = |rows| grid([self.tiles, rows], THREADS);
        let blocks = self.columns.div_ceil(u64::from(WARP));
        // SAFETY: by the contract above; `join_slices(partials, totals, columns, slices)` is over the same places.
        unsafe {
            stream.launch(find_of, grid_of(self.slices)?, find)?;
            stream.launch(
                kernel(Softmax::Plain, DType::F32, SlabPart::Join),
                grid([blocks, 1], THREADS)?,
                join,
            )?;
            stream.launch(kernel(op, dtype, SlabPart::Finish), grid_of(self.slabs)?, finish)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Operand;
    use crate::launch::rows::choose_columns;
    use taut_core::{Layout, Shape};

    #[test]
    fn columns_that_leave_the_cache_or_most_of_the_card_idle_go_in_slabs() {
        let chosen = |dims: &[usize], dtype, card: &Card| {
            let layout = Layout::contiguous(Shape::new(dims).unwrap());
            let x = Operand { address: 0, layout: &layout, dtype };
            let slabs = slabs(&choose_columns(&[x, x], 0, 1, card)?, dtype, 8, card)?;
            Some((slabs.tiles, slabs.slices, slabs.slabs, slabs.workspace_bytes))
        };
        let (h200, old) = (Card::h200(), Card { own_kernels: false, ..Card::h200() });
        let f16 = DType::F16;
        assert_eq!(chosen(&[65_536, 4096], f16, &h200), Some((16, 24, 1024, 25 * 4096 * 8)));
        assert_eq!(chosen(&[1 << 20, 64], f16, &h200), Some((1, 396, 16_384, 397 * 64 * 8)));
        assert_eq!(chosen(&[32_768, 4096], DType::F32, &h200), Some((32, 12, 512, 13 * 4096 * 8)));
        assert!(chosen(&[16_384, 4096], f16, &h200).is_some());
        for dims in [[8192, 4096], [1024, 1 << 18], [4096, 64], [65_536, 4095]] {
            assert_eq!(chosen(&dims, f16, &h200), None, "{dims:?}");
        }
        assert_eq!(chosen(&[65_536, 4096], f16, &old), None);
    }
}
