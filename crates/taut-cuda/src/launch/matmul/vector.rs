//! Products of a row and a matrix: bound by memory, so that what counts is how the matrix lies.

use super::{
    Way,
    matrix::{MEMORY_BYTES, SECOND_LAUNCH},
};
use crate::Card;
use taut_core::{DType, Layout, Products};
use taut_kernels::{
    Kernel, Major,
    args::{Product, THREADS},
};

/// How rows by matrices run. `product` gets what the kernels must know of it.
pub(super) fn choose(products: &Products, dtype: DType, card: &Card, product: &mut Product) -> Way {
    let Products { n, k, a: [_, a_k], b: [b_k, b_n], ref batch, .. } = *products;
    let pack = 16 / dtype.size();
    let count = products.count() as u64;
    // What a block covers of the columns, the least of k that is worth a part, and blocks for each multiprocessor, where parts
    // make as many.
    let (major, covers, least, each) = if b_n == 1 && b_k != 1 && n > 1 {
        (Major::Outer, 32 * pack as u64, 128, SHORT)
    } else {
        let packed =
            (b_k == 1 || k <= 1) && on_packs(&batch[1], pack) && (b_n.is_multiple_of(pack) || n == 1);
        product.packed = u32::from(packed) + 2 * u32::from(a_k == 1 && on_packs(&batch[0], pack));
        let loads = if packed { k.div_ceil(pack) } else { k };
        product.lanes = lanes(loads, n * products.count(), card);
        (Major::K, u64::from(THREADS / product.lanes), 1024, 4)
    };
    let n = n as u64;
    // Along rows a block takes columns of neighbouring products too.
    let blocks = if major == Major::K { (n * count).div_ceil(covers) } else { n.div_ceil(covers) * count };
    let processors = u64::from(card.multiprocessors);
    let parts = (each * processors / blocks.max(1)).min(2 * processors).min(k as u64 / least).max(1);
    Way::of(Kernel::Matvec(dtype, major), n.div_ceil(covers), parts)
}

/// Blocks for each multiprocessor that are so short that it is no matter how they are dealt out: of 4, as many as are there
/// at once, some multiprocessors get more than others, since the blocks of a kernel come while those of the last one leave. On
/// an H200 16,384 x 16,384 of f16 takes 164 us with 4, 142 with 8; 16,384 x 8,192 of f32 147 and 133.
const SHORT: u64 = 8;

/// Cycles before the first and after the last element of a row by a matrix that lies along `n`, and percent of the speed of
/// memory between them, of 16 bits, which it takes time to convert, and of `f32`.
const ENDS: u64 = 2500;
const OF_MEMORY: [u64; 2] = [75, 85];

/// Cycles that such a product should take, with a second pass for its parts of `k`.
pub(super) fn cycles_across(products: &Products, dtype: DType, card: &Card) -> u64 {
    let bytes = (products.k * products.n * dtype.size()) as u64 / u64::from(card.multiprocessors).max(1);
    let percent = OF_MEMORY[usize::from(dtype == DType::F32)];
    ENDS + SECOND_LAUNCH + bytes * 100 / (MEMORY_BYTES * percent)
}

/// Loads of a thread that are on their way at once: `kAhead` in the source.
const AHEAD: usize = 4;

/// Threads that share a column of so many loads: up to a warp, of those that leave no part of the card without a column the
/// ones whose last loads are the fullest; all of a block where it has few columns.
fn lanes(loads: usize, columns: usize, card: &Card) -> u32 {
    let most = THREADS as usize / columns.next_power_of_two().min(8);
    let warp = loads.clamp(1, most).next_power_of_two();
    let fills = |&lanes: &usize| columns * lanes >= 4 * 256 * card.multiprocessors as usize || lanes == warp;
    let taken = |&lanes: &usize| loads.next_multiple_of(AHEAD * lanes);
    // Of equals the first, which is the most.
    let few = [warp, warp / 2, warp / 4].into_iter().filter(|&lanes| lanes >= 8 || lanes == warp);
    few.filter(fills).min_by_key(taken).unwrap_or(warp) as u32
}

/// Whether the factors of all products begin at multiples of `len` elements.
pub(super) fn on_packs(batch: &Layout, len: usize) -> bool {
    batch.offset().is_multiple_of(len) && batch.strides().iter().all(|stride| stride.is_multiple_of(len))
}
