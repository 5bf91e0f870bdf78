//! How many blocks launches of products have.

use super::Choice;
use crate::{Grid, launch::walk::grid};
use taut_core::Result;
use taut_kernels::{
    Kernel, Major,
    args::{Product, WALK_LIMIT},
};

/// The most products of one launch: those along `z` of the grid, or whose columns 32 bits count.
pub(super) fn limit(choice: &Choice) -> u64 {
    match choice.kernel {
        Kernel::Matvec(_, Major::K) => (WALK_LIMIT / choice.product.n.max(1)).max(1),
        _ => u16::MAX.into(),
    }
}

/// The grid of a launch of so many products.
pub(super) fn blocks(choice: &Choice, count: u64) -> Result<Grid> {
    let Product { n, splits, lanes, .. } = choice.product;
    let threads = choice.kernel.threads();
    let (x, z) = match choice.kernel {
        Kernel::Matvec(_, Major::K) => ((n * count).div_ceil((threads / lanes).into()), 1),
        kernel @ Kernel::MatmulWgmma(..) => {
            return staying(kernel, &choice.product, count, choice.processors);
        }
        kernel @ Kernel::MatmulParts(..) => {
            let cluster = choice.cluster.max(kernel.shares());
            let blocks = choice.blocks * count * u64::from(splits) * u64::from(choice.cluster);
            let grid = grid([blocks, 1], threads)?;
            return Ok(Grid { shared_bytes: kernel.shared_bytes(), cluster, ..grid });
        }
        _ => (choice.blocks * u64::from(choice.cluster), u32::try_from(count).unwrap_or(u32::MAX)),
    };
    let Grid { blocks: [x, y, _], .. } = grid([x, splits.into()], threads)?;
    Ok(Grid {
        blocks: [x, y, z],
        threads,
        shared_bytes: choice.kernel.shared_bytes(),
        cluster: choice.cluster,
    })
}

/// Rounds of tiles from which on blocks share them evenly.
const MANY_ROUNDS: u64 = 8;

/// The grid of `matmul_wgmma.cu`, whose blocks stay on their multiprocessors; in pairs where they fill the card.
pub(super) fn staying(kernel: Kernel, product: &Product, count: u64, processors: u32) -> Result<Grid> {
    let Tiles { down, right, in_pairs } = Tiles::new(kernel, product.m, product.n);
    let (works, processors) = (down * right * u64::from(product.splits) * count, u64::from(processors));
    // Nearly: of 128 tiles on 132 multiprocessors, too.
    let paired = in_pairs && works + processors / 16 >= processors;
    let (most, cluster) = if paired { (processors / 2 * 2, 2_u32) } else { (processors, 1) };
    // Of many rounds the last is seldom a whole one: as few blocks as take no more rounds need less power.
    let rounds = works.div_ceil(most.max(1));
    let blocks = if rounds < MANY_ROUNDS {
        works.min(most)
    } else {
        works.div_ceil(rounds).next_multiple_of(u64::from(cluster))
    };
    let grid = grid([blocks, 1], kernel.threads())?;
    Ok(Grid { shared_bytes: kernel.shared_bytes(), cluster, ..grid })
}

/// The tiles of a product of `matmul_wgmma.cu`.
pub(super) struct Tiles {
    pub(super) down: u64,
    pub(super) right: u64,
    /// Whether those below one another make pairs.
    pub(super) in_pairs: bool,
}

impl Tiles {
    /// Of an odd number of rows of tiles from which on pairs save more time than a row that is none takes.
    const ODD: u64 = 33;

    pub(super) fn new(kernel: Kernel, m: u64, n: u64) -> Tiles {
        let (down, right) = kernel.extent();
        let (down, right) = (m.div_ceil(down.into()), n.div_ceil(right.into()));
        let in_pairs = kernel.pairs() && (down.is_multiple_of(2) || down >= Tiles::ODD);
        Tiles { down: if in_pairs { down.next_multiple_of(2) } else { down }, right, in_pairs }
    }
}
