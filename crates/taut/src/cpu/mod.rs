//! The CPU device: the same families as on CUDA, in safe Rust, parallel through rayon.

pub(crate) mod arrange;
pub(crate) mod attention;
pub(crate) mod binary;
pub(crate) mod bits;
pub(crate) mod bytes;
mod convert;
pub(crate) mod copy;
pub(crate) mod cross_entropy;
pub(crate) mod fill;
pub(crate) mod fused;
pub(crate) mod gather;
mod math;
pub(crate) mod matmul;
pub(crate) mod multi;
pub(crate) mod norm;
pub(crate) mod norm_backward;
pub(crate) mod norm_weight_backward;
mod normal;
pub(crate) mod optimizer;
pub(crate) mod packed;
mod philox;
pub(crate) mod random;
pub(crate) mod reduce;
mod row_pairs;
mod rows;
mod runs;
mod scalar;
pub(crate) mod scan;
pub(crate) mod scatter;
pub(crate) mod select;
pub(crate) mod softmax;
pub(crate) mod softmax_backward;
pub(crate) mod sort;
mod source;
mod tasks;
mod transpose;
pub(crate) mod triangle;
pub(crate) mod unary;
pub(crate) mod unary_backward;
mod word;

use scalar::{Acc, Scalar, Truth, with_float, with_scalar};
pub(crate) use source::Source;

/// Elements that are converted, computed and stored at a time: few enough to stay in the first cache.
const BLOCK: usize = 1024;
/// Elements that are set aside at a time where they are overwritten.
const PIECE: usize = 256;
/// Elements that one task takes.
const TASK: usize = 32 * BLOCK;

/// Runs `f` compiled for the widest vector instructions that this CPU has, fused multiply-add among them.
///
/// What is not inlined into `f` is compiled without them: closures of more than a line, `f` among them, must be marked
/// `#[inline(always)]`. A `for` loop needs no closure.
#[inline(always)]
fn vectorized<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}
