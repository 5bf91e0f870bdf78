//! Products of few rows or few columns: bound by how soon and how fast their operands come to the multiprocessors.

use super::matrix::{Pace, STEP, major};
use taut_core::{DType, Products};
use taut_kernels::{Kernel, Major, Thin};

/// The most rows of a product of few rows, or columns of one of few columns.
const FEW: usize = 64;

/// Bytes that a multiprocessor gets from L2 in a cycle.
const L2_BYTES: u64 = 36;

/// Bytes that a multiprocessor brings from L2 in a cycle beside those that come from memory.
pub(super) const AGAIN_BYTES: u64 = 136;

/// Cycles that a warp takes for a step whose operands are there.
fn step_of_warp(thin: Thin) -> u64 {
    if matches!(thin, Thin::Square | Thin::Tall) { 1000 } else { 700 }
}

/// Cycles from a load to what it brings, while other loads are on their way.
const LATENCY: u64 = 800;

/// The kernels of the family that can compute the products.
pub(super) fn candidates(products: &Products, dtype: DType) -> [Option<Kernel>; Thin::ALL.len()] {
    let Products { m, k, n, a, b, batch } = *products;
    let fits = dtype != DType::F32
        && m.min(n) <= FEW
        && k > 0
        // What is left of a chunk of 8 elements would take loads of single ones.
        && k.is_multiple_of(8)
        && major(&batch[0], (m, a[0]), (k, a[1]), 8) == Some(Major::K)
        && major(&batch[1], (n, b[1]), (k, b[0]), 8) == Some(Major::K);
    Thin::ALL.map(|thin| fits.then_some(Kernel::MatmulThin(dtype, thin)))
}

/// How fast a kernel of the family is: nothing is used twice in it, so a step costs what its operands take from L2, and
/// a block that is alone waits for all that it has on its way.
pub(super) fn pace(thin: Thin) -> Pace {
    let (m, n) = thin.extent();
    let step_bytes = u64::from(m + n) * STEP * 2;
    Pace {
        blocks: thin.blocks().into(),
        busy: step_bytes / L2_BYTES,
        alone: (step_of_warp(thin) + LATENCY / u64::from(thin.ahead())) / u64::from(thin.warps()),
        ends: 1500 + LATENCY,
    }
}

/// Cycles of the last round of blocks beyond those in which memory brings all factors, where not all `places` have a block.
pub(super) fn late(least: u64, blocks: u64, places: u64) -> u64 {
    least * (places - blocks) / (4 * blocks).max(1)
}
