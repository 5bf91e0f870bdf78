//! The operands of `matmul_wgmma.cu` and `matmul_parts.cu` as boxes that the copy engine brings.

use super::Tiles;
use crate::{Param, Stream};
use cudarc::driver::sys;
use taut_core::{Activation, DType, Result};
use taut_kernels::{
    Kernel, Major, Strip, Tile,
    args::{Product, TensorMap, Walk},
};

// SAFETY: `TensorMap` is `repr(C)` with the size and alignment of its twin; the build checks the size.
unsafe impl Param for TensorMap {}

/// Bytes of a row of a box.
pub(super) const ROW_BYTES: u32 = 128;
/// Rows of a box that is no whole side of a tile: elements of 16 bits in a row of one.
const ROWS: u32 = 64;
/// Columns of a box of a factor across `k` where those do not divide a side of a tile.
const FEW_COLUMNS: u32 = 32;
/// Rows of a box of `f32` results in turned roles: elements in a row of one.
const TURNED_WIDE_ROWS: u32 = 32;

/// Terms of a sum up to which narrow tiles take no longer than broad ones, if there is more to do to results than to store
/// them.
const MOST_OF_NARROW: u64 = 1536;

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
    boxes: Boxes,
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
    let of_a = match majors[0] {
        Major::K => Boxes::of(of_a, dtype),
        Major::Outer => Boxes { columns: of_a.min(ROWS), ..Boxes::of(ROWS, dtype) },
    };
    let of_b = match (majors[1], kernel) {
        (Major::K, _) => Boxes::of(of_b, dtype),
        (_, Kernel::MatmulParts(..)) => Boxes::of_strip(tile.1, dtype),
        _ => Boxes::of(ROWS, dtype),
    };
    let a = Factor { address: a, outer: (m, a_m), k: (k, a_k), step: a_step, major: majors[0], boxes: of_a };
    let b = Factor { address: b, outer: (n, b_n), k: (k, b_k), step: b_step, major: majors[1], boxes: of_b };
    let elements = match dtype {
        DType::F32 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_TFLOAT32,
        _ => elements(dtype),
    };
    let map = |factor: Factor| {
        let Factor { address, outer, k, step, major, boxes } = factor;
        let (along, across) = if major == Major::K { (k, outer) } else { (outer, k) };
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
        promotion: sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
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
    let Kernel::MatmulWgmma(dtype, [of_a, of_b], tile) = kernel else { return None };
    let Product { m, n, .. } = *product;
    let (tiles, turned) = (Tiles::new(kernel, m, n), Tiles::new(kernel, n, m));
    let loses = turned.down * turned.right > tiles.down * tiles.right || tiles.in_pairs && !turned.in_pairs;
    let turns =
        kernel.pairs() && tile != Tile::Square && out_columns(kernel, 0).is_none() && dtype != DType::F32;
    if !turns || !goes_in_boxes(product) || loses {
        return None;
    }
    Some((in_turned_roles(product), Kernel::MatmulWgmma(dtype, [of_b, of_a], tile)))
}

/// Likewise the strip of 64 x 128 that takes the place of one of 128 x 64: the tensor cores read less of shared memory for as
/// many products, and L2 is read less often. Where the first factor lies across `k` that comes to nothing: there one of 64 x 256
/// halves what they read of it, if parts of `k` fill the card.
pub(super) fn turned_strip(product: &Product, kernel: Kernel, cluster: u32) -> Option<(Product, Kernel)> {
    let (rows, columns) = kernel.extent();
    if matches!(kernel, Kernel::MatmulParts(_, _, Strip::M64N256Turned)) {
        return Some((in_turned_roles(product), kernel)); // chosen as such
    }
    let turned = of_turned_strip(product.m, kernel)?;
    let is_one = cluster == 1 && product.width == columns;
    let is_plain = product.wide == 0 && product.onto == 0 && product.activation <= 1;
    let product = Product { width: rows, ..in_turned_roles(product) };
    (is_one && is_plain && goes_in_boxes(&product)).then_some((product, turned))
}

/// The kernel of that strip, if there are whole clusters of it.
pub(super) fn of_turned_strip(m: u64, kernel: Kernel) -> Option<Kernel> {
    let Kernel::MatmulParts(dtype, [Major::K, of_b], Strip::M128N64) = kernel else { return None };
    let turned = Kernel::MatmulParts(dtype, [of_b, Major::K], Strip::M64N128Turned);
    let in_clusters = m.div_ceil(kernel.extent().0.into()).is_multiple_of(turned.shares().into());
    in_clusters.then_some(turned)
}

fn in_turned_roles(product: &Product) -> Product {
    let Product { a, b, m, n, a_m, a_k, b_k, b_n, ref batch, .. } = *product;
    let [a_step, b_step] = batch.stride;
    let batch = Walk { stride: [b_step, a_step], ..*batch };
    let (of_a, of_b) = ((a, m, a_m, a_k), (b, n, b_n, b_k));
    let ((a, m, a_m, a_k), (b, n, b_n, b_k)) = (of_b, of_a);
    Product { a, b, m, n, a_m, a_k, b_k, b_n, batch, turned: 1, ..*product }
}

/// The kernel in whose tiles warpgroups take turns, in the place of one whose warpgroups share them: where there are more than
/// the card takes at a time, one stores while the other multiplies. With bias, relu and gelu they are as broad. What else there
/// is to do to results of 16 bits needs registers; of few steps along `k` narrower ones hide it. Where the first factor lies
/// across `k`, both are slower.
pub(super) fn in_turns(product: &Product, kernel: Kernel, count: u64, processors: u32) -> Option<Kernel> {
    let Kernel::MatmulWgmma(dtype, majors @ [Major::K, of_b], Tile::Broad) = kernel else { return None };
    let Tiles { down, right, .. } = Tiles::new(kernel, product.m, product.n);
    if down * right * count <= u64::from(processors) || !goes_in_boxes(product) || product.wide != 0 {
        return None;
    }
    let tile = match product.onto {
        0 if product.activation <= 1 || product.activation == Activation::Gelu.code().0 => Tile::Turns,
        _ if product.k <= MOST_OF_NARROW && of_b == Major::K => Tile::Medium,
        _ => return None,
    };
    Some(Kernel::MatmulWgmma(dtype, majors, tile))
}

/// The kernel in the place of one of 192 x 192, whose warpgroups have no room for all that there may be to do to results: what
/// goes out without the copy engine, and activations that are no part of the rounding.
pub(super) fn roomy(product: &Product, kernel: Kernel) -> Kernel {
    let Kernel::MatmulWgmma(dtype, majors, Tile::Square) = kernel else { return kernel };
    let Product { activation, onto, wide, slope, partial, .. } = *product;
    let is = |of: Activation| activation == of.code().0;
    let is_alone = wide == 0 && onto == 0;
    let is_line = is(Activation::Relu) || is(Activation::LeakyRelu { slope }) && slope > 0.0 && slope <= 1.0;
    let is_rounding = is(Activation::Identity) || is_alone && (is_line || is(Activation::Gelu));
    let has_room = partial != 0 || goes_in_boxes(product) && is_rounding;
    if has_room { kernel } else { Kernel::MatmulWgmma(dtype, majors, Tile::Broad) }
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
    promotion: sys::CUtensorMapL2promotion,
}

impl Boxes {
    /// With rows of [`ROW_BYTES`], whose packs lie as wgmma reads them.
    fn of(rows: u32, dtype: DType) -> Boxes {
        let columns = ROW_BYTES / dtype.size() as u32;
        Boxes {
            columns,
            rows,
            swizzle: sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
            promotion: sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
        }
    }

    /// Those of a strip of so many columns across `k`. What memory brings beyond a row of a box is not yet asked for.
    fn of_strip(extent: u32, dtype: DType) -> Boxes {
        let promotion = sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_128B;
        let all = Boxes { promotion, ..Boxes::of(ROWS, dtype) };
        if extent.is_multiple_of(ROWS) {
            return all;
        }
        Boxes { columns: FEW_COLUMNS, swizzle: sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_64B, ..all }
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
    let Boxes { columns, rows, swizzle, promotion } = boxes;
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
            promotion,
            sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    };
    stream.context().check(code, "matmul: describe an operand")?;
    Ok(map)
}
