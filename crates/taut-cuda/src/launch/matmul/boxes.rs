//! The operands of `matmul_wgmma.cu` as boxes that the copy engine brings.

use crate::{Param, Stream};
use cudarc::driver::sys;
use taut_core::{DType, Result};
use taut_kernels::{
    Kernel, Major,
    args::{Product, TensorMap},
};

// SAFETY: `TensorMap` is `repr(C)` with the size and alignment of its twin; the build checks the size.
unsafe impl Param for TensorMap {}

/// Bytes of a row of a box.
const ROW_BYTES: u32 = 128;
/// Rows of a box that is no whole side of a tile: elements of 16 bits in a row of one.
const ROWS: u32 = 64;

/// One factor. Axes are extents and strides, in elements.
struct Factor {
    address: u64,
    outer: (u64, u64),
    k: (u64, u64),
    /// The stride from product to product, 0 if all have it in common.
    step: u64,
    major: Major,
    /// Of a box, along `outer`.
    tile: u32,
}

/// The maps of both factors and of `dst`, as the source asks for them. For what lies outside of a factor zeros come; of
/// `dst` it is dropped.
pub(super) fn of(
    stream: &Stream,
    product: &Product,
    dtype: DType,
    majors: [Major; 2],
    kernel: Kernel,
) -> Result<[TensorMap; 3]> {
    let Product { a, b, m, n, k, a_m, a_k, b_k, b_n, ref batch, .. } = *product;
    let tile = kernel.extent();
    let of_b = if kernel.pairs() { tile.1 / 2 } else { tile.1 };
    let [a_step, b_step] = batch.stride.map(|strides| strides[0]);
    let a = Factor { address: a, outer: (m, a_m), k: (k, a_k), step: a_step, major: majors[0], tile: tile.0 };
    let b = Factor { address: b, outer: (n, b_n), k: (k, b_k), step: b_step, major: majors[1], tile: of_b };
    let [a, b] = [a, b].map(|factor| {
        let Factor { address, outer, k, step, major, tile } = factor;
        let (along, across, rows) = if major == Major::K { (k, outer, tile) } else { (outer, k, ROWS) };
        let products = if step == 0 { 1 } else { batch.numel };
        encode(stream, dtype, address, along.0, [across, (products, step)], rows)
    });
    let out = if product.wide == 0 { dtype } else { DType::F32 };
    let dst = if goes_in_boxes(product) {
        encode(stream, out, product.dst, n, [(m, n), (batch.numel, m * n)], ROWS)?
    } else {
        TensorMap::default() // stored without
    };
    Ok([a?, b?, dst])
}

/// Whether the copy engine stores `dst`: `out_of` in `matmul_wgmma.cu`.
fn goes_in_boxes(product: &Product) -> bool {
    let Product { n, dst, partial, wide, onto, .. } = *product;
    let is_wide = wide != 0;
    let on_packs = n.is_multiple_of(if is_wide { 4 } else { 8 }) && dst.is_multiple_of(16);
    partial == 0 && on_packs && (!is_wide || onto <= 1)
}

/// Boxes of [`ROW_BYTES`] along the axis that is contiguous, `row` long, and of `rows` along the next. The other axes are
/// extents and strides.
fn encode(
    stream: &Stream,
    dtype: DType,
    address: u64,
    row: u64,
    axes: [(u64, u64); 2],
    rows: u32,
) -> Result<TensorMap> {
    let dims = [row, axes[0].0, axes[1].0];
    // In bytes. That of an axis of extent 1 plays no part, but must be one that could be.
    let strides = axes.map(|(extent, stride)| if extent > 1 { stride * dtype.size() as u64 } else { 16 });
    let (boxes, steps) = ([ROW_BYTES / dtype.size() as u32, rows, 1], [1; 3]);
    let dtype = match dtype {
        DType::F32 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
        DType::BF16 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
        _ => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
    };
    let mut map = TensorMap::default();
    // SAFETY: the map has the size and alignment of the driver's; the arrays have an element for each axis, strides for
    // each but the first. No address of the card is followed.
    let code = unsafe {
        sys::cuTensorMapEncodeTiled(
            (&raw mut map).cast(),
            dtype,
            3,
            address as *mut _,
            dims.as_ptr(),
            strides.as_ptr(),
            boxes.as_ptr(),
            steps.as_ptr(),
            sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
            sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
            sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    };
    stream.context().check(code, "matmul: describe an operand")?;
    Ok(map)
}
