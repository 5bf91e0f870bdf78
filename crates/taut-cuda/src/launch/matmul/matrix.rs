//! Which kernel computes products of matrices: a model of their times. Nothing is measured, so that equal problems
//! always run alike.

use super::{Way, thin, vector::on_packs};
use crate::Card;
use taut_core::{DType, Layout, Products};
use taut_kernels::{Kernel, Major, Tile, args::PARTIAL_PACK};

/// Elements along `k` that 16-bit kernels take in one step.
pub(super) const STEP: u64 = 32;

/// Steps that a part of `k` has at least, so that the second pass costs less than it saves.
const STEPS_PER_PART: u64 = 8;

/// The most parts of `k` in a product of matrices: the second pass walks over them one after the other.
pub(super) const MOST_PARTS: u64 = 64;

/// The most workspace that is worth a split.
const MOST_WORKSPACE: u64 = 32 << 20;

/// The way that should be the fastest; of equals the one with larger tiles and fewer parts.
pub(super) fn choose(products: &Products, dtype: DType, card: &Card) -> Way {
    let kernels = thin::candidates(products, dtype).into_iter().chain(candidates(products, dtype));
    let fits = kernels.flatten().filter(|kernel| kernel.shared_bytes() <= card.shared_bytes);
    let best = fits.flat_map(|kernel| ways(kernel, products, card)).min_by_key(|(cycles, _)| *cycles);
    best.map_or(Way { kernel: Kernel::MatmulAny(dtype), blocks: 0, parts: 1 }, |(_, way)| way)
}

/// The kernels that can compute the products, the largest tile first.
fn candidates(products: &Products, dtype: DType) -> [Option<Kernel>; 3] {
    if dtype == DType::F32 {
        return [Some(Kernel::MatmulF32(Tile::Medium)), Some(Kernel::MatmulF32(Tile::Small)), None];
    }
    let Products { m, k, n, a, b, batch } = *products;
    match (major(&batch[0], (m, a[0]), (k, a[1])), major(&batch[1], (n, b[1]), (k, b[0]))) {
        (Some(a), Some(b)) => Tile::ALL.map(|tile| Some(Kernel::Matmul(dtype, [a, b], tile))),
        _ => [Some(Kernel::MatmulAny(dtype)), None, None],
    }
}

/// The axis along which chunks of 8 elements lie on 16 bytes in every product, if there is one. Axes are extents and
/// strides; `outer` is the one that is not `k`.
pub(super) fn major(batch: &Layout, outer: (usize, usize), k: (usize, usize)) -> Option<Major> {
    let in_chunks = |along: (usize, usize), across: (usize, usize)| {
        (along.1 == 1 || along.0 <= 1) && (across.1.is_multiple_of(8) || across.0 <= 1)
    };
    match on_packs(batch, 8) {
        true if in_chunks(k, outer) => Some(Major::K),
        true if in_chunks(outer, k) => Some(Major::Outer),
        _ => None,
    }
}

/// The ways to run a kernel, with the cycles that they should take: with `k` whole, and with as many parts as fill the
/// card a whole number of times.
fn ways(kernel: Kernel, products: &Products, card: &Card) -> impl Iterator<Item = (u64, Way)> {
    let Pace { extent: (tile_m, tile_n), blocks, busy, alone, ends } = pace(kernel);
    let [m, n, k, count] = [products.m, products.n, products.k, products.count()].map(|n| n as u64);
    let tiles = m.div_ceil(tile_m) * n.div_ceil(tile_n);
    let all = (tiles * count).max(1);
    let steps = k.div_ceil(STEP);
    let processors = u64::from(card.multiprocessors).max(1);
    // One more part costs m * n sums of every product, written and read again.
    let sums = count * m * n.next_multiple_of(PARTIAL_PACK.into());
    let most = (steps / STEPS_PER_PART).min(MOST_PARTS).min(MOST_WORKSPACE / (4 * sums).max(1)).max(1);
    (0..=blocks).map(move |fill| {
        let parts = (processors * fill / all).clamp(1, most);
        let per_processor = (all * parts).div_ceil(processors);
        let rounds = per_processor.div_ceil(blocks);
        let first = steps.div_ceil(parts) * (per_processor * busy).max(rounds * alone) + rounds * ends;
        let second = if parts > 1 { 5000 + parts * sums * 8 / (processors * 16) } else { 0 };
        (first + second, Way { kernel, blocks: tiles, parts })
    })
}

/// How fast a kernel is. Cycles are estimates, and only their ratios matter.
pub(super) struct Pace {
    /// Rows and columns of a tile.
    pub(super) extent: (u64, u64),
    /// Blocks that share a multiprocessor.
    pub(super) blocks: u64,
    /// Cycles that a multiprocessor needs for one block and one step of [`STEP`], if it has enough blocks.
    pub(super) busy: u64,
    /// Cycles of a step that one block needs even if it is alone.
    pub(super) alone: u64,
    /// Cycles before the first and after the last step.
    pub(super) ends: u64,
}

fn pace(kernel: Kernel) -> Pace {
    match kernel {
        Kernel::Matmul(_, _, tile) => {
            let (m, n) = tile.extent();
            let (busy, alone, ends) = match tile {
                Tile::Large => (1000, 1050, 4000),
                Tile::Medium => (560, 800, 3500),
                Tile::Small => (200, 450, 2000),
            };
            Pace { extent: (m.into(), n.into()), blocks: tile.blocks().into(), busy, alone, ends }
        }
        Kernel::MatmulThin(_, thin) => thin::pace(thin),
        Kernel::MatmulF32(Tile::Small) => {
            Pace { extent: (64, 64), blocks: 2, busy: 1600, alone: 2200, ends: 2000 }
        }
        Kernel::MatmulF32(_) => Pace { extent: (128, 128), blocks: 2, busy: 5200, alone: 6500, ends: 3500 },
        // `MatmulAny`: the only candidate where it is one.
        _ => Pace { extent: (64, 64), blocks: 4, busy: 400, alone: 900, ends: 2000 },
    }
}
