//! Rows that one block does not hold, by blocks that stay (`stay.cuh`): what the launches of norms and of backward ops share.

use super::rows::Choice;
use crate::{Card, Grid};
use taut_kernels::{
    RowPart,
    args::{STAY_BLOCKS, STAY_HELD, STAY_TEAMS, stay_before, stay_threads},
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

/// For rows of packs that [`choose`](super::rows::choose) would give to a cluster or have read twice, or of `least_units` packs
/// and more, where they are many.
/// `sources` operands are read, and beside each row stand `beside_bytes`, the same for all of them. `None` where no block has
/// room for a row's share of its registers and of its shared memory, beside those.
pub(crate) fn stay<const N: usize>(
    choice: &Choice<N>,
    sources: usize,
    beside_bytes: usize,
    least_units: usize,
    card: &Card,
) -> Option<Stay> {
    let is_long =
        matches!(choice.part, RowPart::Cluster | RowPart::Long) || choice.rows.units >= least_units as u64;
    let walk = &choice.rows.walk;
    if !is_long
        || !choice.packs
        || choice.part.is_columns()
        || walk.rank != 1
        || !card.own_kernels
        || card.capability.0 != 9
    {
        return None;
    }
    let (units, rows) = (usize::try_from(choice.rows.units).ok()?, u32::try_from(walk.numel).ok()?);
    let bytes =
        |teams, side| stay_before(teams) + ((beside_bytes + teams * sources * units * PACK_BYTES) >> side);
    let holds = |teams, side| (units * sources) >> side <= STAY_HELD * stay_threads(teams);
    let fits = |teams, side| holds(teams, side) && bytes(teams, side) <= card.shared_bytes as usize;
    let teams = |side| (1..=STAY_TEAMS).rev().find(|&teams| fits(teams, side));
    // The fewest blocks for a row of each of all teams, or as many as there can be.
    let most = STAY_BLOCKS.ilog2();
    let side = (0..most).find(|&side| teams(side) == Some(STAY_TEAMS)).unwrap_or(most);
    let (most_teams, size) = (teams(side)?, 1 << side);
    let clusters = at_once(size, card);
    // All teams take as long for a row: what counts is how long they wait for the last ones.
    let until_last = |teams: usize| (rows as usize).div_ceil(clusters * teams) * teams;
    let is_idle = most_teams == STAY_TEAMS && side > 0 && until_last(most_teams - 1) < until_last(most_teams);
    let teams = if is_idle { most_teams - 1 } else { most_teams };
    if !units.is_multiple_of(size) || (rows as usize) < 2 * clusters * teams {
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
        const MOST: usize = usize::MAX;
        let (f16, f32) = (DType::F16, DType::F32);
        for (n, dtype, of, want) in [
            (65_536, f16, [1, 2, MOST], Some([4, 512, 4, 120])),
            (131_072, f16, [1, 2, MOST], Some([4, 512, 8, 120])),
            (131_072, f32, [1, 1, MOST], Some([2, 512, 8, 120])),
            (131_072, f32, [1, 2, MOST], Some([1, 512, 8, 120])),
            (65_536, f16, [2, 1, MOST], Some([4, 512, 8, 120])),
            (131_072, f16, [2, 1, MOST], Some([2, 512, 8, 120])),
            (131_072, f16, [2, 0, MOST], Some([2, 512, 8, 120])),
            (131_072, f32, [2, 1, MOST], Some([1, 512, 8, 120])),
            // From so many packs on.
            (16_384, f16, [1, 2, 2048], Some([4, 512, 1, 132])),
            (16_384, f16, [2, 1, 2048], Some([4, 512, 2, 132])),
            (32_768, f16, [2, 1, 4096], Some([4, 512, 4, 120])),
            (16_384, f16, [1, 2, 2049], None),
            // What a block holds, what none holds, and what can not be shared evenly.
            (32_768, f16, [1, 2, MOST], None),
            (1 << 20, f16, [2, 1, MOST], None),
            (131_080, f16, [1, 1, MOST], None),
        ] {
            assert_eq!(chosen(1200, n, dtype, of), want, "{n} {dtype} {of:?}");
        }
        // The fourth teams would have 2 of 60 rows left to do, while all others wait.
        assert_eq!(chosen(2048, 131_072, f16, [1, 2, MOST]), Some([3, 384, 8, 120]));
        assert_eq!(chosen(119, 131_072, f16, [1, 2, MOST]), None);
    }
}
