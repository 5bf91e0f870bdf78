//! What the kernels of products are told.

use super::{LARGE_PARAMS, Walk};

/// An operand as the copy engine of compute 9.0 sees it: what the driver encodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct TensorMap {
    /// Opaque.
    pub words: [u64; 16],
}

/// Products of one launch of `matmul_grouped`: as many as the parameters of a launch hold, beside the number of them.
pub const GROUPED: usize = (LARGE_PARAMS as usize - align_of::<TensorMap>()) / GROUPED_BYTES;

/// Of each product, as [`Grouped`] has it.
const GROUPED_BYTES: usize = 3 * size_of::<TensorMap>() + size_of::<u64>() + 4 * size_of::<u32>();

/// Products of different sizes, by value. Pointers are addresses.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct Grouped {
    /// The results, `[m, n]`, row-major, aligned to their elements.
    pub dst: [u64; GROUPED],
    /// Rows of each result.
    pub m: [u32; GROUPED],
    /// Columns of each result.
    pub n: [u32; GROUPED],
    /// Terms of each sum.
    pub k: [u32; GROUPED],
    /// Units of work of each product and of all before it.
    pub end: [u32; GROUPED],
    /// The number of products.
    pub count: u32,
    /// The first factors.
    pub a: [TensorMap; GROUPED],
    /// The second factors.
    pub b: [TensorMap; GROUPED],
    /// The results that go out in boxes.
    pub out: [TensorMap; GROUPED],
}

impl Default for Grouped {
    /// No products.
    fn default() -> Grouped {
        let (map, zero) = ([TensorMap::default(); GROUPED], [0; GROUPED]);
        Grouped {
            a: map,
            b: map,
            out: map,
            dst: [0; GROUPED],
            m: zero,
            n: zero,
            k: zero,
            end: zero,
            count: 0,
        }
    }
}

/// A batch of products of matrices and their epilogue. Pointers are addresses, strides are in elements.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Product {
    /// `[m, k]` of the first product.
    pub a: u64,
    /// `[k, n]` of the first product.
    pub b: u64,
    /// `[n]` of the dtype of `a` and `b`, or 0.
    pub bias: u64,
    /// `[products, m, n]`, row-major, aligned to its elements.
    pub dst: u64,
    /// `[splits, products, m, n]` of `f32`, with rows padded to a multiple of [`PARTIAL_PACK`](super::PARTIAL_PACK); 0 if `splits` is 1.
    pub partial: u64,
    /// Rows of `dst`.
    pub m: u64,
    /// Columns of `dst`.
    pub n: u64,
    /// Terms of each sum.
    pub k: u64,
    /// Stride of `a` along `m`.
    pub a_m: u64,
    /// Stride of `a` along `k`.
    pub a_k: u64,
    /// Stride of `b` along `k`.
    pub b_k: u64,
    /// Stride of `b` along `n`.
    pub b_n: u64,
    /// Stride of `bias`.
    pub bias_n: u64,
    /// Blocks of one `blockIdx.y` sum over this much of `k`.
    pub k_part: u64,
    /// From part to part of `partial`.
    pub part_step: u64,
    /// From product to product, in `a` and in `b`.
    pub batch: Walk<2>,
    /// The number of parts of `k`.
    pub splits: u32,
    /// [`Activation::code`](taut_core::Activation::code).
    pub activation: u32,
    /// The parameter of the activation, or of `onto`.
    pub slope: f32,
    /// [`Onto::code`](taut_core::Onto::code).
    pub onto: u32,
    /// 1 if `dst` is `f32` whatever the dtype of `a` and `b`.
    pub wide: u32,
    /// Of `matvec_rows`: 1 if `b` takes 16-byte loads along `k`, plus 2 if `a` does too.
    pub packed: u32,
    /// Of `matvec_rows`: threads that share a column of `b`; of `matmul_reduce`: those that share the parts of a sum. A power of
    /// two, of `matmul_reduce` up to 32.
    pub lanes: u32,
    /// Of `matmul_parts`: columns of a tile, a multiple of 8.
    pub width: u32,
    /// Of `matmul_wgmma`: 1 if `dst` is `[products, n, m]`, which then goes out in boxes of 16-bit elements.
    pub turned: u32,
}
