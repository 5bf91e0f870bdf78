//! The ways of `matmul_parts.cu`: products of so few tiles that a card holds all of them at once, each a block's or a cluster's,
//! whole or cut along `k` for a second pass.

use super::{
    Way,
    boxes::{ROW_BYTES, of_turned_strip},
    matrix::{MEMORY_BYTES, MOST_MEMORY_BYTES, Pace, STEP, most_parts, pace, second_pass},
};
use crate::Card;
use taut_core::{DType, Products};
use taut_kernels::{Kernel, Major, Strip, args::PARTIAL_PACK};

/// Cycles in which the blocks of a cluster meet, and those that each of them adds; bytes that one reads of the others in a cycle.
const CLUSTER: u64 = 2000;
const CLUSTER_BLOCK: u64 = 150;
const CLUSTER_BYTES: u64 = 14;

/// Blocks of a cluster at most that every card takes, and `matmul_parts.cu`.
pub(super) const LARGEST_CLUSTER: u64 = 8;

/// Steps at most of what blocks share where both factors are more than a part of L2 holds: they read them again and again.
const MOST_STEPS: u64 = 512;

/// Columns of a tile at least: with fewer, most of what blocks read is the same.
const FEWEST_COLUMNS: u64 = 16;

/// Multiprocessors come in groups of so many or a few more, and a cluster lies within one. One group may be half as large: of an
/// H200's 132, 37 clusters of 3 fit, 30 of 4 and 22 of 5. Two make a pair, which all are in.
pub(super) const GROUP: u64 = 16;

/// Bytes that a multiprocessor gets from memory in a cycle, and at most, where blocks that share a factor leave L2 less to do.
const SHARED_MEMORY_BYTES: u64 = 20;
const MOST_SHARED_MEMORY_BYTES: u64 = 30;

/// The most of one of two blocks side by side.
const MOST_PAIRED_MEMORY_BYTES: u64 = 35;

/// Percent of the places that blocks take at least which share a multiprocessor.
const FILLED: u64 = 95;

/// Bytes that a multiprocessor gets in a cycle at most, from wherever they come.
const MOST_BYTES: u64 = 68;

/// The kernel of strips in turned roles whose clusters have halves of `k`, where the first factor lies across it: such a factor
/// takes the tensor cores longer the more often they read it.
pub(super) fn halves(dtype: DType, [of_a, of_b]: [Major; 2]) -> Option<Kernel> {
    let strip = Strip::M64N256Turned;
    (of_a == Major::Outer && dtype != DType::F32).then_some(Kernel::MatmulParts(dtype, [of_b, of_a], strip))
}

/// Its way, if the card holds as many clusters as there are tiles.
fn way_of_halves(kernel: Kernel, products: &Products, dtype: DType, card: &Card) -> Option<Way> {
    let [m, n, k, count] = [products.m, products.n, products.k, products.count()].map(|n| n as u64);
    let (rows, columns) = kernel.extent();
    let (tiles, width) = (n.div_ceil(rows.into()) * m.div_ceil(columns.into()), u64::from(columns));
    let size = dtype.size() as u64;
    let stage = u64::from(ROW_BYTES) / (STEP * size);
    let (steps, blocks) = (k.div_ceil(STEP), 2 * tiles * count);
    let Pace { busy, ends, .. } = pace(kernel);
    let bytes = count * (m + n) * k * size;
    let processors = u64::from(card.multiprocessors);
    let least = bytes / (processors * MEMORY_BYTES).min(blocks * MOST_MEMORY_BYTES).max(1);
    let cycles = (steps.div_ceil(2 * stage) * stage * busy).max(least) + ends;
    let fits = blocks <= processors && steps >= 2 * stage && processors >= 2 * GROUP;
    fits.then_some(Way { cluster: 2, width, cycles, ..Way::of(kernel, tiles, 1) })
}

/// The ways to run a kernel, with the cycles that they should take. `trusted`: those that the model was fitted to.
pub(super) fn ways(
    kernel: Kernel,
    products: &Products,
    dtype: DType,
    card: &Card,
    trusted: bool,
) -> Vec<Way> {
    let [m, n, k, count] = [products.m, products.n, products.k, products.count()].map(|n| n as u64);
    let (tile_m, tile_n) = kernel.extent();
    let (tile_m, tile_n) = (u64::from(tile_m), u64::from(tile_n));
    // Blocks of a cluster have parts of one tile, or these many take as many tiles.
    let Kernel::MatmulParts(_, majors, strip) = kernel else { return Vec::new() };
    if strip == Strip::M64N256Turned {
        return way_of_halves(kernel, products, dtype, card).into_iter().collect();
    }
    let (across, below) = strip.shares();
    let (across, below, shares) = (u64::from(across), u64::from(below), u64::from(kernel.shares()));
    let places = u64::from(strip.blocks());
    let down = m.div_ceil(tile_m).next_multiple_of(below);
    let right = n.div_ceil(tile_n).next_multiple_of(across);
    let size = dtype.size() as u64;
    let stage = u64::from(ROW_BYTES) / (STEP * size);
    let steps = k.div_ceil(STEP);
    let processors = u64::from(card.multiprocessors).max(1);
    let groups = (processors / GROUP).saturating_sub(1);
    let all = (down * right * count).max(1);
    let bytes = count * (m + n) * k * size;
    let sums = count * m * n.next_multiple_of(PARTIAL_PACK.into());
    // The broadest ones read the least of what is the same again and again.
    let is_known = |steps| {
        let rereads_little = strip == Strip::M128N192 || steps <= MOST_STEPS;
        !trusted || rereads_little || m.min(n) * k * size <= card.l2_bytes / 4
    };
    // Where the second factor is the larger one, and no cache holds both.
    let from_memory = m < n && 2 * bytes > card.l2_bytes;
    let mut ways = Vec::new();
    let is_tried = !trusted || is_tried(strip, majors, m, from_memory);
    if m <= (below - 1) * tile_m || n <= (across - 1) * tile_n || !is_tried {
        return ways;
    }
    let (memory, most_memory) = match (across, below) {
        (1, 1) => (MEMORY_BYTES, MOST_MEMORY_BYTES),
        (2, 1) if places == 1 => (MEMORY_BYTES, MOST_PAIRED_MEMORY_BYTES),
        _ => (SHARED_MEMORY_BYTES, MOST_SHARED_MEMORY_BYTES),
    };
    let most = if shares > 1 { 1 } else { LARGEST_CLUSTER };
    for cluster in 1..=most.min(steps.div_ceil(stage)) {
        // Clusters that the card holds at once take a tile each, or each of their blocks does.
        let clusters = match cluster * shares {
            size @ (1 | 2) => processors * places / size,
            size => groups * (GROUP / size) + GROUP / 2 / size,
        };
        let at_once = clusters * shares;
        if groups == 0 || all > if trusted || shares > 1 { at_once } else { processors } {
            continue;
        }
        // Uneven numbers of blocks on multiprocessors take longer than one after the other.
        if places > 1 && 100 * all < FILLED * at_once {
            continue;
        }
        // Whole, or cut so that the card is full.
        let fullest = (at_once / all).clamp(1, most_parts(steps / cluster, sums));
        // Those that share the first factor were slower in parts than others.
        let cut = fullest > 1 && !(trusted && across > 1);
        let cuts = [Some(1), cut.then_some(fullest)];
        for parts in cuts.into_iter().flatten().filter(|parts| is_known(steps.div_ceil(*parts))) {
            let width = if from_memory && cluster * parts == 1 {
                width(kernel, n, down * count, at_once)
            } else {
                tile_n
            };
            let right = n.div_ceil(width).next_multiple_of(across);
            let rows = m.min(tile_m);
            let turned = of_turned_strip(m, kernel).filter(|_| cluster * parts == 1);
            let Pace { busy, ends, .. } = pace(turned.unwrap_or(kernel));
            // A block waits for what it reads, from wherever it comes, or the others of a cluster for it; the second factor of
            // few rows comes from memory. Two blocks that share it wait for it together, of four the others find it in L2.
            let of_reading = (rows / across + width / below) * STEP * size / MOST_BYTES;
            let of_memory =
                if from_memory { width * STEP * size / (most_memory * down.div_ceil(2)) } else { 0 };
            let of_block = steps.div_ceil(stage).div_ceil(parts).div_ceil(cluster) * stage;
            let blocks = down * right * count * parts * cluster;
            let rounds = blocks.div_ceil(processors);
            let work = rounds * of_block * busy.max(of_reading).max(of_memory);
            let least = bytes / (processors * memory).min(blocks * most_memory).max(1);
            let joined = match cluster {
                1 => 0,
                _ => {
                    let of_others = tile_m * width * 4 * (cluster - 1) / cluster;
                    CLUSTER + cluster * CLUSTER_BLOCK + of_others / CLUSTER_BYTES
                }
            };
            // What comes from memory hides most of the products.
            let first =
                (work + rounds.div_ceil(places) * ends).max(least + ends + rounds * of_block * busy / 8);
            let cycles = first + joined + second_pass(parts, sums, processors);
            ways.push(Way { kernel, blocks: down * right, width, parts, cluster, tail: None, cycles });
        }
    }
    ways
}

/// Whether products of so many rows have been timed as strips of two blocks side by side, and were faster so.
fn is_tried(strip: Strip, [of_a, _]: [Major; 2], m: u64, from_memory: bool) -> bool {
    let fewest = if of_a == Major::Outer { 16 } else { 8 };
    match strip {
        Strip::M64N64Across2 => from_memory && m <= 64,
        Strip::M64N96Across2 => !from_memory,
        Strip::M64N128Thrice => from_memory && (fewest..=32).contains(&m),
        _ => true,
    }
}

/// Columns of a tile: as few as the card has multiprocessors for, if `others` share each of them and it holds so many at once.
fn width(kernel: Kernel, n: u64, others: u64, at_once: u64) -> u64 {
    let most = u64::from(kernel.extent().1);
    // Across `k` boxes of fewer columns end within sectors, and one that brings a number of them known at run time only is late.
    let Kernel::MatmulParts(_, [_, Major::K], _) = kernel else { return most };
    n.div_ceil((at_once / others.max(1)).max(1)).next_multiple_of(8).clamp(FEWEST_COLUMNS, most)
}
