//! Products of few rows by a matrix that lies along `n`: bound by how fast it comes, so by how many bytes of it are on their way.

use super::{
    Way,
    matrix::{MEMORY_BYTES, STEP, is_hopper, major},
    strips::{GROUP, LARGEST_CLUSTER},
};
use crate::Card;
use taut_core::{DType, Precision, Products};
use taut_kernels::{Across, Kernel, Major, pack_len};

/// Cycles before the first and after the last step.
const ENDS: u64 = 2800;

/// Cycles in which the blocks of a cluster meet, and those that each of them adds.
const CLUSTER: u64 = 500;
const CLUSTER_BLOCK: u64 = 40;

/// Percent of the speed of memory that blocks get which all run at once: few, what the square of the share of the places that
/// they take adds, and the most.
const ALONE: u64 = 62;
const FILLED: u64 = 50;
const AT_ONCE: u64 = 96;

/// Cycles that clusters lose which run one after the other: one waits until there are places for all of its blocks in one group
/// of multiprocessors. Where those of one multiprocessor are enough it waits for one cluster only; but then those of the last
/// round are on as many multiprocessors, which bring less than memory gives if they are few. Pairs lie on two each.
const AGAIN: u64 = 6000;
const AGAIN_ALONE: u64 = 4000;
const AGAIN_PAIRS: u64 = 1600;

/// Bytes that a block gets in a cycle at most, however few there are.
const BLOCK_BYTES: u64 = 20;

/// Bytes of the few rows that a multiprocessor gets from L2 in a cycle, beside the strips.
const ROWS_BYTES: u64 = 128;

/// The kernels of the family that can compute the products.
pub(super) fn candidates(
    products: &Products,
    dtype: DType,
    precision: Precision,
    card: &Card,
) -> impl Iterator<Item = Kernel> {
    let Products { m, k, n, b, ref batch, .. } = *products;
    let lies_across = major(&batch[1], (n, b[1]), (k, b[0]), pack_len(&[dtype])) == Some(Major::Outer);
    let fits = is_hopper(card) && precision == Precision::Exact && lies_across && k > 0 && n < 1 << 31;
    let takes = move |across: &Across| match across {
        Across::Single => m == 1,
        _ => m <= across.rows() as usize && (m > 1 || dtype != DType::F32),
    };
    Across::of(dtype)
        .filter(move |across| fits && takes(across))
        .map(move |across| Kernel::MatmulAcross(dtype, across))
}

/// The ways to run a kernel of the family, with the cycles that they should take: in clusters of any size.
pub(super) fn ways(kernel: Kernel, products: &Products, dtype: DType, card: &Card) -> Vec<Way> {
    let Kernel::MatmulAcross(_, across) = kernel else { return Vec::new() };
    let [m, n, k, count] = [products.m, products.n, products.k, products.count()].map(|n| n as u64);
    let processors = u64::from(card.multiprocessors).max(1);
    let shared = u64::from(across.blocks(dtype));
    let strips = n.div_ceil(kernel.extent().1.into());
    let clusters = (strips * count).max(1);
    let steps = k.div_ceil(STEP);
    let step_bytes = STEP * u64::from(Across::ROW_BYTES);
    let bytes = clusters * steps * step_bytes / processors;
    let of_rows = clusters * m * k * dtype.size() as u64 / processors / ROWS_BYTES;
    // Larger ones only where those that every card takes would leave a quarter of the multiprocessors without a block.
    let is_few = clusters * LARGEST_CLUSTER * 4 < processors * 3;
    let largest = if is_few { kernel.largest_cluster().into() } else { LARGEST_CLUSTER };
    let mut ways = Vec::new();
    for cluster in 1..=largest.min(steps) {
        let at_once = at_once(processors, shared, cluster);
        if at_once == 0 {
            continue;
        }
        let rounds = clusters.div_ceil(at_once);
        let filled = 100 * clusters * cluster / (processors * shared);
        let percent = if rounds > 1 { 100 } else { (ALONE + FILLED * filled * filled / 10_000).min(AT_ONCE) };
        let again = match (rounds, cluster) {
            (1, _) | (_, 1) => 0,
            (_, 2) if shared == 2 => AGAIN_PAIRS,
            _ if cluster == shared => AGAIN_ALONE * (rounds * at_once - clusters) / at_once,
            _ => AGAIN,
        };
        let join = if cluster > 1 { CLUSTER + cluster * CLUSTER_BLOCK } else { 0 };
        let of_block = steps.div_ceil(cluster) * step_bytes / BLOCK_BYTES;
        let brought = (bytes * 100 / (MEMORY_BYTES * percent)).max(of_block) + of_rows;
        let cycles = ENDS + brought + again + join;
        ways.push(Way { cluster, cycles, ..Way::of(kernel, strips, 1) });
    }
    ways
}

/// Clusters that the card runs at once, where so many blocks share a multiprocessor.
fn at_once(processors: u64, shared: u64, cluster: u64) -> u64 {
    match cluster {
        1 => processors * shared,
        _ => {
            (processors / GROUP).saturating_sub(1) * (GROUP * shared / cluster) + GROUP / 2 * shared / cluster
        }
    }
}
