//! The operands of `matmul_wgmma.cu` and `matmul_parts.cu` as boxes that the copy engine brings.

use super::Tiles;
use crate::{Param, Stream};
use cudarc::driver::sys;
use taut_core::{DType, Result};
use taut_kernels::{
    Kernel, Major,
    args::{Product, TensorMap, Walk},
};

// SAFETY: `TensorMap` is `repr(C)` with the size and alignment of its twin; the build checks the size.
unsafe impl Param for TensorMap {}

/// Bytes of a row of a box.
pub(super) const ROW_BYTES: u32 = 128;
/// Rows of a box that is no whole side of a tile: elements of 16 bits in a row of one.
const ROWS: u32 = 64;
/// Rows of a box of `f32` results in turned roles: elements in a row of one.
const TURNED_WIDE_ROWS: u32 = 32;

/// Columns of a box of results at most that lie there as in `dst`.
const MOST_OUT_COLUMNS: u32 = 208;

/// One factor. Axes are extents and strides, in elements.
struct Factor {
    address: u64,
    outer: (u64, u64),
    k: (u64, u64),
    /// The stride from product to product, 0 if all have it in common.
    step: u64,
    major: Major,
    /// Of a box, along `outer`.
    extent: u32,
}

/// The maps of both factors, as the source asks for them. For what lies outside zeros come; f32 is rounded to tf32.
pub(super) fn factors(
    stream: &Stream,
    product: &Product,
    dtype: DType,
    majors: [Major; 2],
    kernel: Kernel,
) -> Result<[TensorMap; 2]> {
    let Product { a, b, m, n, k, a_m, a_k, b_k, b_n, ref batch, .. } = *product;
    let tile = kernel.extent();
    let (of_a, of_b) = match kernel {
        // No rows that a product of few does not have, and columns as the launch cuts them.
        Kernel::MatmulParts(..) => (u64::from(tile.0).min(m.next_multiple_of(8)) as u32, product.width),
        _ if kernel.pairs() => (tile.0, tile.1 / 2),
        _ => tile,
    };
    let [a_step, b_step] = batch.stride.map(|strides| strides[0]);
    let a = Factor { address: a, outer: (m, a_m), k: (k, a_k), step: a_step, major: majors[0], extent: of_a };
    let b = Factor { address: b, outer: (n, b_n), k: (k, b_k), step: b_step, major: majors[1], extent: of_b };
    let elements = match dtype {
        DType::F32 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_TFLOAT32,
        _ => elements(dtype),
    };
    let map = |factor: Factor| {
        let Factor { address, outer, k, step, major, extent } = factor;
        let (along, across, boxes) = match major {
            Major::K => (k, outer, Boxes::of(extent, dtype)),
            Major::Outer => (outer, k, Boxes { columns: extent.min(ROWS), ..Boxes::of(ROWS, dtype) }),
        };
        let products = if step == 0 { 1 } else { batch.numel };
        encode(stream, (elements, dtype.size()), address, along.0, [across, (products, step)], boxes)
    };
    Ok([map(a)?, map(b)?])
}

/// That of `dst`. What lies outside is dropped.
pub(super) fn results(stream: &Stream, product: &Product, dtype: DType, kernel: Kernel) -> Result<TensorMap> {
    let Product { dst, m, n, ref batch, wide, turned, .. } = *product;
    let columns = out_columns(kernel, product.width);
    let is_special = columns.is_some() || matches!(kernel, Kernel::MatmulParts(..));
    if !goes_in_boxes(product) || is_special && wide != 0 {
        return Ok(TensorMap::default()); // stored without
    }
    let out = if wide == 0 { dtype } else { DType::F32 };
    let (rows, row) = if turned == 0 { (m, n) } else { (n, m) };
    let of_box = if turned != 0 && wide != 0 { TURNED_WIDE_ROWS } else { ROWS };
    let boxes = columns.map_or(Boxes::of(of_box, out), |columns| Boxes {
        columns,
        rows: ROWS,
        swizzle: sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_NONE,
    });
    encode(stream, (elements(out), out.size()), dst, row, [(rows, row), (batch.numel, m * n)], boxes)
}

/// Columns of the boxes of results where tiles have no whole number of [`ROWS`] of them: all, or in `matmul_wgmma.cu` a half of
/// more than there is room for (`kOutCols` in `matmul_stages.cuh`).
fn out_columns(kernel: Kernel, width: u32) -> Option<u32> {
    let columns = match kernel {
        Kernel::MatmulParts(..) => width,
        _ if kernel.extent().1 > MOST_OUT_COLUMNS => kernel.extent().1 / 2,
        _ => kernel.extent().1,
    };
    (!columns.is_multiple_of(ROWS)).then_some(columns)
}

/// The same products with the factors in turned roles, where `kernel` can turn the results back on their way out and needs
/// no more tiles. The second factor of a layer is its weight. The tensor cores hold tiles of their first operand while
/// those of the second pass by: where the rows of an input resemble each other, as after relu, that takes less power if the
/// input is what passes. On an H200 a layer of 8192 in the depth of a network takes 1512 us so, and 1567 us else; gradients of
/// weights, whose second factor is the input, gain about as much.
pub(super) fn turned(product: &Product, kernel: Kernel) -> Option<(Product, Kernel)> {
    let Product { a, b, m, n, a_m, a_k, b_k, b_n, ref batch, .. } = *product;
    let Kernel::MatmulWgmma(dtype, [of_a, of_b], tile) = kernel else { return None };
    let (tiles, turned) = (Tiles::new(kernel, m, n), Tiles::new(kernel, n, m));
    let loses = turned.down * turned.right > tiles.down * tiles.right || tiles.in_pairs && !turned.in_pairs;
    let turns = kernel.pairs() && out_columns(kernel, 0).is_none() && dtype != DType::F32;
    if !turns || !goes_in_boxes(product) || loses {
        return None;
    }
    let [a_step, b_step] = batch.stride;
    let product = Product {
        a: b,
        b: a,
        m: n,
        n: m,
        a_m: b_n,
        a_k: b_k,
        b_k: a_k,
        b_n: a_m,
        batch: Walk { stride: [b_step, a_step], ..*batch },
        turned: 1,
        ..*product
    };
    Some((product, Kernel::MatmulWgmma(dtype, [of_b, of_a], tile)))
}

/// Whether the copy engine stores `dst`: `out_of` in `matmul_out.cuh`.
fn goes_in_boxes(product: &Product) -> bool {
    let Product { m, n, dst, partial, wide, onto, turned, .. } = *product;
    let is_wide = wide != 0;
    let row = if turned == 0 { n } else { m };
    let on_packs = row.is_multiple_of(if is_wide { 4 } else { 8 }) && dst.is_multiple_of(16);
    partial == 0 && on_packs && (!is_wide || onto <= 1)
}

/// What moves as it is.
fn elements(dtype: DType) -> sys::CUtensorMapDataType {
    match dtype {
        DType::F32 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
        DType::BF16 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
        _ => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
    }
}

/// How an operand is cut: along the axis that is contiguous, and along the next.
struct Boxes {
    columns: u32,
    rows: u32,
    swizzle: sys::CUtensorMapSwizzle,
}

impl Boxes {
    /// With rows of [`ROW_BYTES`], whose packs lie as wgmma reads them.
    fn of(rows: u32, dtype: DType) -> Boxes {
        let columns = ROW_BYTES / dtype.size() as u32;
        Boxes { columns, rows, swizzle: sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B }
    }
}

/// The map of an operand whose contiguous axis is `row` long. The other axes are extents and strides. Elements come with their
/// size.
fn encode(
    stream: &Stream,
    (elements, size): (sys::CUtensorMapDataType, usize),
    address: u64,
    row: u64,
    axes: [(u64, u64); 2],
    boxes: Boxes,
) -> Result<TensorMap> {
    let Boxes { columns, rows, swizzle } = boxes;
    let dims = [row, axes[0].0, axes[1].0];
    // In bytes. That of an axis of extent 1 plays no part, but must be one that could be.
    let strides = axes.map(|(extent, stride)| if extent > 1 { stride * size as u64 } else { 16 });
    let (boxes, steps) = ([columns, rows, 1], [1; 3]);
    let mut map = TensorMap::default();
    // SAFETY: the map has the size and alignment of the driver's; the arrays have an element for each axis, strides for
    // each but the first. No address of the card is followed.
    let code = unsafe {
        sys::cuTensorMapEncodeTiled(
            (&raw mut map).cast(),
            elements,
            3,
            address as *mut _,
            dims.as_ptr(),
            strides.as_ptr(),
            boxes.as_ptr(),
            steps.as_ptr(),
            sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            swizzle,
            sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
            sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    };
    stream.context().check(code, "matmul: describe an operand")?;
    Ok(map)
}
