//! Sums of parts of `k`, and the second pass that adds them: `matmul_reduce.cu`.

use super::{Choice, matrix::STEP};
use crate::{Arg, Stream, launch::walk::grid};
use taut_core::Result;
use taut_kernels::{
    Kernel,
    args::{PARTIAL_PACK, Product},
};

/// Cuts `k` into at most so many parts.
pub(super) fn split(product: &mut Product, count: u64, parts: u64) {
    let (k, step) = (product.k, 4 * STEP);
    product.k_part = if parts > 1 {
        k.div_ceil(parts).next_multiple_of(2 * STEP)
    } else {
        k.next_multiple_of(step).max(step)
    };
    product.splits = u32::try_from(k.div_ceil(product.k_part).max(1)).unwrap_or(u32::MAX);
    product.part_step = count * product.m * padded(product.n);
}

/// Of the sums of all parts.
pub(super) fn sums_bytes(product: &Product) -> u64 {
    if product.splits > 1 { u64::from(product.splits) * product.part_step * 4 } else { 0 }
}

/// The sums in a row of a part.
pub(super) fn padded(n: u64) -> u64 {
    n.next_multiple_of(PARTIAL_PACK.into())
}

/// Parts that a thread of the second pass adds at most, unless there are too many: all are on their way at once.
const PARTS_OF_THREAD: u32 = 8;

/// Threads that share the parts of a sum at most: a warp.
const MOST_LANES: u32 = 32;

/// Launches the second pass, which adds the parts of all rows.
pub(super) fn reduce(stream: &Stream, choice: &Choice, rows: &Product) -> Result<()> {
    let kernel = Kernel::MatmulReduce(choice.dtype);
    let lanes = rows.splits.div_ceil(PARTS_OF_THREAD).next_power_of_two().min(MOST_LANES);
    let threads = rows.m * rows.n.div_ceil(4) * u64::from(lanes);
    let grid = grid([threads.div_ceil(kernel.threads().into()), 1], kernel.threads())?;
    // SAFETY: as above.
    unsafe { stream.launch(kernel, grid, [Arg::new(&Product { lanes, ..*rows })]) }
}
