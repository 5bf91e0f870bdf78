//! Which kernel computes products of matrices: a model of their times. Nothing is measured, so that equal problems
//! always run alike.

use super::{Pick, Tail, Way, across, strips, thin, vector, vector::on_packs};
use crate::Card;
use taut_core::{DType, Layout, Precision, Products};
use taut_kernels::{Copies, Kernel, Major, Strip, Tile, args::PARTIAL_PACK, pack_len};

/// Elements along `k` that 16-bit kernels take in one step.
pub(super) const STEP: u64 = 32;

/// Steps that a part of `k` has at least, so that the second pass costs less than it saves.
const STEPS_PER_PART: u64 = 8;

/// The most parts of `k` in a product of matrices: the second pass walks over them one after the other.
pub(super) const MOST_PARTS: u64 = 64;

/// The most workspace that is worth a split.
const MOST_WORKSPACE: u64 = 32 << 20;

/// Cycles of a second pass however little there is to add, and those more where its blocks find no room beside the first; bytes
/// of sums that a multiprocessor stores in a cycle for it, and that are read again.
const SECOND_PASS: u64 = 4000;
const NO_ROOM: u64 = 2000;
const SUMS_BYTES: u64 = 10;

/// Columns of a thin tile from which on it brings the rows less often, but has less on its way.
const WIDEST: u64 = 32;

/// Cycles from the end of one kernel to the work of the next.
pub(super) const SECOND_LAUNCH: u64 = 3000;

/// Columns of a matrix from which on a row by it is a product of few rows.
const FEWEST_STREAMED: usize = 256;

/// Bytes that a multiprocessor gets from memory in a cycle, if all of them want some.
pub(super) const MEMORY_BYTES: u64 = 18;

/// The same where they come in tiles, whose rows are short.
pub(super) const TILE_MEMORY_BYTES: u64 = 16;

/// The same at most, of one that does not share with all.
pub(super) const MOST_MEMORY_BYTES: u64 = 24;

/// The way that should be the fastest; of equals the one with larger tiles and fewer parts.
pub(super) fn choose(products: &Products, dtype: DType, card: &Card) -> Way {
    let best = fastest(products, dtype, Precision::Exact, card);
    best.unwrap_or(Way::of(Kernel::MatmulAny(dtype), 0, 1))
}

/// The way of a row by a matrix that lies as `matmul_thin.cu`, `matmul_parts.cu` or `matmul_across.cu` take it: they bring it
/// faster than `matvec.cu`, which has more instructions for each element. Not of many small ones, which fill blocks there
/// together.
pub(super) fn streamed(products: &Products, dtype: DType, card: &Card) -> Option<Way> {
    let streams = |kernel: &Kernel| match kernel {
        Kernel::MatmulThin(..) | Kernel::MatmulAcross(..) => true,
        Kernel::MatmulParts(_, majors, _) => dtype != DType::F32 && *majors == [Major::K; 2],
        _ => false,
    };
    let kernels = kernels(products, dtype, Precision::Exact, card).filter(streams);
    let ways = kernels.flat_map(|kernel| ways(kernel, products, dtype, card, true));
    let best = ways.min_by_key(|way| way.cycles)?;
    let is_slow = matches!(best.kernel, Kernel::MatmulAcross(..))
        && best.cycles > vector::cycles_across(products, dtype, card);
    (products.count() == 1 && products.n >= FEWEST_STREAMED && !is_slow).then_some(best)
}

/// Likewise in that precision, if there is a way.
pub(super) fn fastest(products: &Products, dtype: DType, precision: Precision, card: &Card) -> Option<Way> {
    let kernels = kernels(products, dtype, precision, card);
    kernels.flat_map(|kernel| ways(kernel, products, dtype, card, true)).min_by_key(|way| way.cycles)
}

/// All ways that there are, the fastest first as the model has it. More than it chooses from: who times them need not trust it.
pub(super) fn all(products: &Products, dtype: DType, precision: Precision, card: &Card) -> Vec<Way> {
    let kernels = kernels(products, dtype, precision, card);
    let mut ways: Vec<Way> = kernels.flat_map(|kernel| ways(kernel, products, dtype, card, false)).collect();
    ways.sort_by_key(|way| way.cycles);
    ways
}

/// The way of that kernel with these parts, if it is one of [`all`].
pub(super) fn picked(
    pick: &Pick,
    products: &Products,
    dtype: DType,
    precision: Precision,
    card: &Card,
) -> Option<Way> {
    let mut kernels = kernels(products, dtype, precision, card).filter(|kernel| *kernel == pick.kernel);
    ways(kernels.next()?, products, dtype, card, false).into_iter().find(|way| Pick::from(*way) == *pick)
}

/// The kernels that can compute the products on that card.
fn kernels(
    products: &Products,
    dtype: DType,
    precision: Precision,
    card: &Card,
) -> impl Iterator<Item = Kernel> {
    let thin = thin::candidates(products, dtype).into_iter().flatten();
    let shared_bytes = card.shared_bytes;
    let across = across::candidates(products, dtype, precision, card);
    let all = thin.chain(across).chain(candidates(products, dtype, precision, card));
    all.filter(move |kernel| kernel.shared_bytes() <= shared_bytes)
}

/// Whether the card has the kernels of 9.0.
pub(super) fn is_hopper(card: &Card) -> bool {
    card.own_kernels && card.capability == (9, 0)
}

/// The kernels of tiles that can compute the products, the largest tile first. Those as tf32 lie along `k`: `tf32` sees to it.
fn candidates(products: &Products, dtype: DType, precision: Precision, card: &Card) -> Vec<Kernel> {
    let Products { k, a, b, .. } = *products;
    let majors = majors(products, dtype);
    match majors {
        _ if dtype == DType::F32 && precision == Precision::Exact => {
            let copies = |major, k: (usize, usize)| match major {
                Some(Major::Outer) => Copies::Packs,
                _ if k.1 == 1 || k.0 <= 1 => Copies::Rows,
                _ => Copies::Any,
            };
            let pair = [copies(majors[0], (k, a[1])), copies(majors[1], (k, b[0]))];
            let pair = if pair.contains(&Copies::Any) { [Copies::Any; 2] } else { pair };
            Tile::ALL.map(|tile| Kernel::MatmulF32(pair, tile)).into()
        }
        [Some(a), Some(b)] if is_hopper(card) && in_boxes(products, [a, b]) => {
            let whole = Tile::of_wgmma(dtype, [a, b]).map(|tile| Kernel::MatmulWgmma(dtype, [a, b], tile));
            let parts = Strip::of(dtype, [a, b]).map(|strip| Kernel::MatmulParts(dtype, [a, b], strip));
            let halves = strips::halves(dtype, [a, b]);
            whole.chain(parts).chain(halves).collect()
        }
        [Some(a), Some(b)] => Tile::ALL.map(|tile| Kernel::Matmul(dtype, [a, b], tile)).into(),
        _ => vec![Kernel::MatmulAny(dtype)],
    }
}

/// How both factors lie.
pub(super) fn majors(products: &Products, dtype: DType) -> [Option<Major>; 2] {
    let Products { m, k, n, a, b, batch } = *products;
    let len = pack_len(&[dtype]);
    [major(&batch[0], (m, a[0]), (k, a[1]), len), major(&batch[1], (n, b[1]), (k, b[0]), len)]
}

/// The axis along which packs of `len` elements lie on 16 bytes in every product, if there is one. Axes are extents and
/// strides; `outer` is the one that is not `k`.
pub(super) fn major(batch: &Layout, outer: (usize, usize), k: (usize, usize), len: usize) -> Option<Major> {
    let in_packs = |along: (usize, usize), across: (usize, usize)| {
        (along.1 == 1 || along.0 <= 1) && (across.1.is_multiple_of(len) || across.0 <= 1)
    };
    match on_packs(batch, len) {
        true if in_packs(k, outer) => Some(Major::K),
        true if in_packs(outer, k) => Some(Major::Outer),
        _ => None,
    }
}

/// The ways to run a kernel, with the cycles that they should take: with `k` whole, in up to as many parts as fill the card,
/// and with parts of the last rows only. `trusted`: those that the model was fitted to.
fn ways(kernel: Kernel, products: &Products, dtype: DType, card: &Card, trusted: bool) -> Vec<Way> {
    if matches!(kernel, Kernel::MatmulParts(..)) {
        return strips::ways(kernel, products, dtype, card, trusted);
    }
    if matches!(kernel, Kernel::MatmulAcross(..)) {
        return across::ways(kernel, products, dtype, card);
    }
    let Pace { blocks, busy, alone, ends } = pace(kernel);
    let start = start(kernel);
    let (tile_m, tile_n) = kernel.extent();
    let (tile_m, tile_n) = (u64::from(tile_m), u64::from(tile_n));
    let [m, n, k, count] = [products.m, products.n, products.k, products.count()].map(|n| n as u64);
    let (down, right) = (m.div_ceil(tile_m), n.div_ceil(tile_n));
    let tiles = down * right;
    let all = (tiles * count).max(1);
    let steps = k.div_ceil(STEP);
    let processors = u64::from(card.multiprocessors).max(1);
    // No way is faster than its factors come, and no block faster than its own part of those that no cache holds.
    let bytes = count * (m + n) * k * dtype.size() as u64;
    let is_thin = matches!(kernel, Kernel::MatmulThin(..));
    let least = bytes / (processors * if is_thin { MEMORY_BYTES } else { TILE_MEMORY_BYTES });
    let own = bytes / (all * steps.max(1)) / MOST_MEMORY_BYTES;
    let alone = if bytes > card.l2_bytes { alone.max(own) } else { alone };
    // Rows that there are not bring nothing.
    let busy = if is_thin { busy * (m.min(tile_m) + tile_n) / (tile_m + tile_n) } else { busy };
    // Thin tiles bring their few rows again and again, and a last round that leaves blocks without work takes its time.
    let across = n.div_ceil(tile_n.min(WIDEST));
    let again = count * (m * across.saturating_sub(1) + n * down.saturating_sub(1)) * k * dtype.size() as u64;
    // The products of so many tiles, cut into parts of `k`, beside so many cycles in which their factors come from memory. Of
    // the tiles of 9.0 these hide not all of the products.
    let stays = matches!(kernel, Kernel::MatmulWgmma(..));
    let first = |tiles: u64, parts: u64, least: u64| {
        let per_processor = (tiles * parts).div_ceil(processors);
        let rounds = per_processor.div_ceil(blocks);
        // Of many blocks that are short the next begin while others end.
        let all_ends = ends * if is_thin { rounds.min(3) } else { rounds };
        let work = steps.div_ceil(parts) * (per_processor * busy).max(rounds * alone);
        let least = match (is_thin, m < n) {
            (true, true) => least + thin::late(least, tiles * parts, rounds * blocks * processors),
            _ => least,
        };
        let least = least + if is_thin { again / (processors * thin::AGAIN_BYTES) } else { 0 };
        start + (work + all_ends).max(least + ends + if stays { work / 6 } else { 0 })
    };
    let sums = |rows: u64| rows * n.next_multiple_of(PARTIAL_PACK.into());
    // Blocks that stay leave no registers for those of the second pass, which come later.
    let second = |parts, sums| match parts {
        1 => 0,
        _ => second_pass(parts, sums, processors) + if stays { NO_ROOM } else { 0 },
    };
    // Blocks that stay take tiles one after the other: more rounds may be more even.
    let fullest = if stays && all * 2 >= processors { 2 * blocks } else { blocks };
    let most = (processors * fullest / all).clamp(1, most_parts(steps, count * sums(m)));
    let even = (1..=most).map(|parts| {
        let cycles = first(all, parts, least) + second(parts, count * sums(m));
        Way { cycles, ..Way::of(kernel, tiles, parts) }
    });
    // The rows of tiles that fill the card whole times; in pairs, if all are. The others are the tail.
    let above = tiles / processors * processors / right.max(1);
    let above = if down.is_multiple_of(2) { above / 2 * 2 } else { above };
    let rest = (down - above) * right;
    let tail = (stays && count == 1 && above > 0 && above < down).then(|| {
        let sums = sums(m - above * tile_m);
        let parts = (processors / rest.max(1)).clamp(1, most_parts(steps, sums));
        let of_above = least * above / down;
        let below = first(rest, parts, least - of_above) + second(parts, sums);
        let cycles = first(above * right, 1, of_above) + SECOND_LAUNCH + below;
        let tail = Some(Tail { first: above * tile_m, parts });
        Way { tail, cycles, ..Way::of(kernel, tiles, 1) }
    });
    even.chain(tail.filter(|way| way.tail.is_some_and(|tail| tail.parts > 1))).collect()
}

/// Parts of `k` at most, of so many steps and sums.
pub(super) fn most_parts(steps: u64, sums: u64) -> u64 {
    (steps / STEPS_PER_PART).min(MOST_PARTS).min(MOST_WORKSPACE / (4 * sums).max(1)).max(1)
}

/// Cycles of the second pass, and of the sums that the first one stores for it.
pub(super) fn second_pass(parts: u64, sums: u64, processors: u64) -> u64 {
    if parts == 1 { 0 } else { SECOND_PASS + parts * sums * 4 / (processors * SUMS_BYTES) }
}

/// How fast a kernel is. Cycles are estimates, and only their ratios matter.
pub(super) struct Pace {
    /// Blocks that share a multiprocessor, or tiles of one block that take turns.
    pub(super) blocks: u64,
    /// Cycles that a multiprocessor needs for one block and one step of [`STEP`], if it has enough blocks.
    pub(super) busy: u64,
    /// Cycles of a step that one block needs even if it is alone.
    pub(super) alone: u64,
    /// Cycles before the first and after the last step.
    pub(super) ends: u64,
}

pub(super) fn pace(kernel: Kernel) -> Pace {
    let (blocks, busy, alone, ends) = match kernel {
        Kernel::MatmulThin(_, thin) => return thin::pace(thin),
        Kernel::MatmulWgmma(dtype, _, tile) | Kernel::MatmulGrouped(dtype, _, tile) => {
            let (blocks, busy, alone, ends) = match tile {
                Tile::Large => (1, 550, 550, 4700),
                Tile::N224 => (1, 515, 515, 4300),
                // Warpgroups that take turns, as most launches of it have them.
                Tile::Broad | Tile::Turns => (1, 425, 425, 2500),
                Tile::N176 => (1, 398, 398, 3700),
                Tile::Square => (1, 660, 660, 4300),
                Tile::Medium => (2, 305, 320, 3400),
                Tile::Small => (2, 185, 185, 2500),
                Tile::Tiny => (2, 200, 200, 1700),
            };
            let times = times(dtype);
            (blocks, times * busy, times * alone, ends)
        }
        Kernel::MatmulParts(dtype, _, strip) => {
            let (busy, alone, ends) = match strip {
                Strip::M128N256 => (600, 600, 6400),
                Strip::M128N192 => (410, 410, 6400),
                Strip::M128N144 => (335, 335, 4900),
                Strip::M128N128 => (312, 312, 4000),
                Strip::M128N112 => (240, 240, 4350),
                Strip::M128N96 => (230, 230, 4200),
                Strip::M128N64 => (190, 190, 3000),
                Strip::M64N128 | Strip::M64N128Thrice => (175, 175, 3100),
                Strip::M64N112 => (165, 165, 3100),
                Strip::M64N96 => (153, 153, 3000),
                Strip::M64N64 => (128, 128, 2400),
                Strip::M64N64Across2 => (128, 128, 3100),
                Strip::M64N96Across2 => (135, 135, 3500),
                Strip::M64N32 => (110, 110, 2450),
                Strip::M128N128Across4 => (312, 312, 4700),
                Strip::M128N96Across4 => (265, 265, 4900),
                Strip::M64N128Across4 => (175, 175, 3800),
                Strip::M64N96Across4 => (153, 153, 3700),
                Strip::M128N128Down2 => (312, 312, 4000),
                Strip::M64N64Down2 => (128, 128, 3150),
                Strip::M64N128Turned => (180, 180, 2750), // launched where another one was chosen
                Strip::M64N256Turned => (360, 360, 8200), // with what a cluster of two takes
            };
            let times = times(dtype);
            (1, times * busy, times * alone, ends)
        }
        Kernel::Matmul(_, _, Tile::Large) => (1, 1000, 1050, 4000),
        Kernel::Matmul(_, _, Tile::Medium) => (2, 560, 800, 3500),
        Kernel::Matmul(_, _, Tile::Small) => (4, 200, 450, 2000),
        Kernel::MatmulF32(_, Tile::Large) => (3, 3620, 4470, 4000),
        Kernel::MatmulF32(_, Tile::Medium) => (4, 1900, 2500, 2500),
        Kernel::MatmulF32(_, Tile::Small) => (4, 1500, 1600, 2000),
        // `MatmulAny`: the only candidate where it is one.
        _ => (4, 1050, 4200, 4000),
    };
    let [busy, alone] = [busy, alone].map(|cycles| cycles * lying(kernel) / 100);
    Pace { blocks, busy, alone, ends }
}

/// The cycles of a step in percent of those where both factors lie along `k`: along their other axes the tensor cores read them
/// more slowly, which narrow tiles feel.
fn lying(kernel: Kernel) -> u64 {
    match kernel {
        Kernel::MatmulWgmma(_, [Major::Outer, _], Tile::Broad) => 108,
        Kernel::MatmulWgmma(_, [Major::K, Major::Outer], Tile::Medium) => 109,
        Kernel::MatmulWgmma(_, [Major::Outer, _], Tile::Medium) => 128,
        Kernel::MatmulWgmma(_, [Major::K, Major::Outer] | [Major::Outer, _], Tile::Small | Tile::Tiny) => 128,
        Kernel::MatmulParts(_, [Major::Outer, _], Strip::M128N192) => 108,
        Kernel::MatmulParts(_, [Major::Outer, _], Strip::M128N128) => 122,
        Kernel::MatmulParts(_, [Major::Outer, _], Strip::M128N96Across4) => 115,
        Kernel::MatmulParts(_, [Major::Outer, _], Strip::M128N64) => 125,
        _ => 100,
    }
}

/// Cycles of a launch beyond those of [`Pace::ends`], which warpgroups that take turns hide but once.
fn start(kernel: Kernel) -> u64 {
    match kernel {
        Kernel::MatmulWgmma(_, _, Tile::Large) => 800,
        Kernel::MatmulWgmma(_, _, Tile::Broad) => 2150,
        Kernel::MatmulWgmma(_, _, Tile::N224 | Tile::N176 | Tile::Square) => 1000,
        Kernel::MatmulWgmma(_, _, Tile::Medium) => 500,
        Kernel::MatmulWgmma(_, _, Tile::Small) => 1200,
        _ => 0,
    }
}

/// How often the tensor cores take a step: as many bytes at a time, whatever the dtype.
fn times(dtype: DType) -> u64 {
    dtype.size() as u64 / 2
}

/// Whether the copy engine of 9.0 can bring both operands: rows that do not overlap, one stride from product to product.
pub(super) fn in_boxes(products: &Products, majors: [Major; 2]) -> bool {
    let Products { m, k, n, a, b, batch } = products;
    let sides = [((*m, a[0]), (*k, a[1]), majors[0]), ((*n, b[1]), (*k, b[0]), majors[1])];
    let apart = sides.into_iter().all(|(outer, k, major)| {
        let (along, (rows, stride)) = if major == Major::K { (k, outer) } else { (outer, k) };
        rows <= 1 || stride >= along.0
    });
    // Rows and tiles are counted in 32 bits, strides in 40.
    let tiles = products.count() * m.div_ceil(64) * n.div_ceil(64);
    let counted = [*m, *n, *k].into_iter().all(|n| n < 1 << 31) && tiles < 1 << 25;
    let results = [m * n];
    let strides = a.iter().chain(b).chain(&results).chain(batch.iter().flat_map(|layout| layout.strides()));
    *k > 0 && apart && counted && batch[0].shape().rank() <= 1 && strides.into_iter().all(|&s| s < 1 << 38)
}
