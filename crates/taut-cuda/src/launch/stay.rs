//! Rows that one block does not hold, by blocks that stay (`stay.cuh`): what the launches of norms and of backward ops share.

use super::rows::Choice;
use crate::{Card, Grid};
use taut_kernels::{
    RowPart,
    args::{STAY_BLOCKS, STAY_TEAMS, stay_before, stay_threads},
};

const PACK_BYTES: usize = 16;

/// How blocks that stay do rows. Pure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stay {
    /// Teams of a block, each with a row of its own.
    pub(crate) teams: usize,
    /// What the kernels call `side`.
    pub(crate) side: u32,
    pub(crate) grid: Grid,
}

/// For rows of packs that [`choose`](super::rows::choose) would give to a cluster or have read twice, where they are many.
/// `sources` operands are read, and beside each row stand `beside_bytes`, the same for all of them. `None` where less than
/// `least` shares of rows fit beside those.
pub(crate) fn stay<const N: usize>(
    choice: &Choice<N>,
    sources: usize,
    beside_bytes: usize,
    least: usize,
    card: &Card,
) -> Option<Stay> {
    let is_long = choice.packs && matches!(choice.part, RowPart::Cluster | RowPart::Long);
    if !is_long || !card.own_kernels || card.capability.0 != 9 {
        return None;
    }
    let units = usize::try_from(choice.rows.units).ok()?;
    let bytes =
        |teams, side| stay_before(teams) + ((beside_bytes + teams * sources * units * PACK_BYTES) >> side);
    let fits = |teams, side| bytes(teams, side) <= card.shared_bytes as usize;
    let teams = |side| (least..=STAY_TEAMS).rev().find(|&teams| fits(teams, side));
    // The fewest blocks for a row of each of all teams, or as many as there can be.
    let most = STAY_BLOCKS.ilog2();
    let side = (0..most).find(|&side| teams(side) == Some(STAY_TEAMS)).unwrap_or(most);
    let (teams, size) = (teams(side)?, 1 << side);
    let clusters = at_once(size, card);
    if !units.is_multiple_of(size) || choice.rows.walk.numel < (2 * clusters * teams) as u64 {
        return None;
    }
    let grid = Grid {
        blocks: [u32::try_from(clusters * size).ok()?, 1, 1],
        threads: u32::try_from(teams * stay_threads(teams)).ok()?,
        shared_bytes: u32::try_from(bytes(teams, side)).ok()?,
        cluster: 1 << side,
    };
    Some(Stay { teams, side, grid })
}

/// Clusters of so many blocks that a card has at once, each on multiprocessors of its own: those of four and of eight leave
/// some over, an H200 twelve of its 132.
fn at_once(size: usize, card: &Card) -> usize {
    let all = card.multiprocessors as usize;
    (if size > 2 { all * 10 / 11 } else { all }) / size
}

#[cfg(test)]
mod tests {
    use super::{super::rows, *};
    use crate::Operand;
    use taut_core::{DType, Layout, Shape};

    fn chosen(rows: usize, n: usize, dtype: DType, [sources, beside, least]: [usize; 3]) -> Option<[u32; 4]> {
        let card = Card::h200();
        let layout = Layout::contiguous(Shape::new(&[rows, n]).unwrap());
        let operands = [Operand { address: 0, layout: &layout, dtype }; 2];
        let choice = rows::choose(&operands, 1, sources, true, rows::Staging::Late(&card));
        let stay = stay(&choice, sources, beside * n * dtype.size(), least, &card)?;
        let grid = stay.grid;
        assert!(grid.shared_bytes <= card.shared_bytes && grid.cluster == 1 << stay.side);
        Some([stay.teams as u32, grid.threads, grid.cluster, grid.blocks[0]])
    }

    #[test]
    fn long_rows_are_shared_by_as_few_blocks_as_hold_one_for_each_team() {
        let (f16, f32) = (DType::F16, DType::F32);
        for (n, dtype, of, want) in [
            (65_536, f16, [1, 2, 2], Some([4, 1024, 4, 120])),
            (131_072, f16, [1, 2, 2], Some([4, 1024, 8, 120])),
            (131_072, f32, [1, 1, 2], Some([2, 1024, 8, 120])),
            (131_072, f32, [1, 2, 2], None),
            (65_536, f16, [2, 1, 1], Some([4, 1024, 8, 120])),
            (131_072, f16, [2, 1, 1], Some([2, 1024, 8, 120])),
            (131_072, f16, [2, 0, 1], Some([3, 960, 8, 120])),
            (131_072, f32, [2, 1, 1], Some([1, 1024, 8, 120])),
            // What a block holds, what none holds, and what can not be shared evenly.
            (32_768, f16, [1, 2, 2], None),
            (1 << 20, f16, [2, 1, 1], None),
            (131_080, f16, [1, 1, 2], None),
        ] {
            assert_eq!(chosen(1000, n, dtype, of), want, "{n} {dtype} {of:?}");
        }
        assert_eq!(chosen(119, 131_072, f16, [1, 2, 2]), None);
    }
}
