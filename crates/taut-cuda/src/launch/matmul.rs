//! Launches of `matmul_mma.cu`, `matmul_any.cu`, `matmul_f32.cu` and `matvec.cu`, and of `matmul_reduce.cu` where `k` is
//! split.

use super::{fill::flat, walk::grid};
use crate::{Arg, Card, Grid, Operand, Param, Stream};
use taut_core::{Activation, DType, Error, Layout, Result};
use taut_kernels::{
    Kernel, Major, Tile,
    args::{PARTIAL_PACK, Product},
};

/// Elements along `k` that 16-bit kernels take in one step.
const STEP: u64 = 32;

/// Steps that a part of `k` has at least, so that the second pass costs less than it saves.
const STEPS_PER_PART: u64 = 8;

/// The most parts of `k` in a product of matrices: the second pass walks over them one after the other.
const MOST_PARTS: u64 = 64;

/// The most workspace that is worth a split.
const MOST_WORKSPACE: u64 = 32 << 20;

// SAFETY: `Product` is `repr(C)`, and the build checks its size against that of its twin.
unsafe impl Param for Product {}

/// A product to be planned: `[m, k] x [k, n] -> [m, n]`.
#[derive(Clone, Copy, Debug)]
pub struct Problem<'a> {
    /// `[m, k]`, any strides.
    pub a: &'a Layout,
    /// `[k, n]`, any strides.
    pub b: &'a Layout,
    /// The dtype of both: `f32`, `f16` or `bf16`.
    pub dtype: DType,
    /// The dtype of the result: the same, or `f32`.
    pub out: DType,
}

/// What happens to the sums before they are rounded and stored: `dst = activation(sums + bias)`, or `dst +=` that.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// `[n]`, of the dtype of the factors.
    pub bias: Option<Operand<'a>>,
    /// Applied after the bias.
    pub activation: Activation,
    /// Whether the result is added to what `dst` holds.
    pub accumulate: bool,
}

/// How a product runs. A pure function of layouts, dtypes and card.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// What [`matmul`] needs beside its operands.
    pub workspace_bytes: u64,
    /// Multiplications and additions.
    pub flops: u64,
    /// Bytes read and written, workspace included.
    pub moved_bytes: u64,
    /// The kernel of the first pass.
    pub kernel: Kernel,
    a: Layout,
    b: Layout,
    dtype: DType,
    out: DType,
    blocks: u64,
    /// The extents and strides, as the kernels see them.
    product: Product,
}

/// Chooses the kernel, its tile and the parts of `k` by a model of their times; nothing is measured, so that equal
/// problems always run alike. The layouts have rank 2 and fit.
pub fn choose(problem: &Problem<'_>, card: &Card) -> Choice {
    let Problem { a, b, dtype, out } = *problem;
    debug_assert!(a.rank() == 2 && b.rank() == 2 && a.shape()[1] == b.shape()[0]);
    let (m, k, n) = (a.shape()[0] as u64, a.shape()[1] as u64, b.shape()[1] as u64);
    let mut product = Product {
        m,
        n,
        k,
        a_m: a.strides()[0] as u64,
        a_k: a.strides()[1] as u64,
        b_k: b.strides()[0] as u64,
        b_n: b.strides()[1] as u64,
        lanes: 1,
        wide: u32::from(out == DType::F32),
        ..Product::default()
    };
    let (kernel, blocks, parts) = if m == 1 {
        matvec(&mut product, a.offset(), b.offset(), dtype, card)
    } else if n == 1 {
        // The transposed product, of a row by a matrix: dst is as flat as before. Its one bias belongs to all.
        (product.m, product.n) = (1, m);
        (product.a_m, product.a_k) = (product.b_n, product.b_k);
        (product.b_k, product.b_n) = (a.strides()[1] as u64, a.strides()[0] as u64);
        matvec(&mut product, b.offset(), a.offset(), dtype, card)
    } else {
        let kernels = candidates(problem);
        let timed = kernels.into_iter().flatten().filter(|kernel| kernel.shared_bytes() <= card.shared_bytes);
        let plans = timed.flat_map(|kernel| plans(kernel, m, n, k, card));
        // The first of equals: larger tiles and fewer parts stand first.
        let best = plans.min_by_key(|plan| plan.cycles);
        best.map_or((Kernel::MatmulAny(dtype), 0, 1), |plan| (plan.kernel, plan.tiles, plan.parts))
    };

    let step = 4 * STEP;
    product.k_part =
        if parts > 1 { k.div_ceil(parts).next_multiple_of(STEP) } else { k.next_multiple_of(step).max(step) };
    let parts = k.div_ceil(product.k_part).max(1);
    product.splits = u32::try_from(parts).unwrap_or(u32::MAX);
    let workspace_bytes = if parts > 1 { partial_bytes(&product) } else { 0 };
    let size = |dtype: DType| dtype.size() as u64;
    Choice {
        workspace_bytes,
        flops: 2 * m * n * k,
        moved_bytes: (m * k + k * n) * size(dtype) + m * n * size(out) + 2 * workspace_bytes,
        kernel,
        a: *a,
        b: *b,
        dtype,
        out,
        blocks,
        product,
    }
}

/// The kernels that can compute a product of matrices, the largest tile first.
fn candidates(problem: &Problem<'_>) -> [Option<Kernel>; 3] {
    let Problem { a, b, dtype, .. } = *problem;
    if dtype == DType::F32 {
        return [Some(Kernel::MatmulF32(Tile::Medium)), Some(Kernel::MatmulF32(Tile::Small)), None];
    }
    match (major(a, 0), major(b, 1)) {
        (Some(a), Some(b)) => Tile::ALL.map(|tile| Some(Kernel::Matmul(dtype, [a, b], tile))),
        _ => [Some(Kernel::MatmulAny(dtype)), None, None],
    }
}

/// The axis along which chunks of 8 elements lie on 16 bytes, if there is one; `outer` is the one that is not `k`.
fn major(layout: &Layout, outer: usize) -> Option<Major> {
    let in_chunks = |axis: usize, other: usize| {
        let (shape, strides) = (layout.shape(), layout.strides());
        (strides[axis] == 1 || shape[axis] <= 1) && (strides[other] % 8 == 0 || shape[other] <= 1)
    };
    let k = 1 - outer;
    match layout.offset() % 8 {
        0 if in_chunks(k, outer) => Some(Major::K),
        0 if in_chunks(outer, k) => Some(Major::Outer),
        _ => None,
    }
}

/// A way to compute a product of matrices, and how long it should take.
struct Plan {
    kernel: Kernel,
    tiles: u64,
    parts: u64,
    cycles: u64,
}

/// The ways to run a kernel: with `k` whole, and with as many parts as fill the card a whole number of times.
fn plans(kernel: Kernel, m: u64, n: u64, k: u64, card: &Card) -> impl Iterator<Item = Plan> {
    let Pace { extent: (tile_m, tile_n), blocks, busy, alone, ends } = pace(kernel);
    let tiles = m.div_ceil(tile_m) * n.div_ceil(tile_n);
    let steps = k.div_ceil(STEP);
    let processors = u64::from(card.multiprocessors).max(1);
    // One more part costs m * n sums, written and read again.
    let sums = m * n.next_multiple_of(PARTIAL_PACK.into());
    let most = (steps / STEPS_PER_PART).min(MOST_PARTS).min(MOST_WORKSPACE / (4 * sums).max(1)).max(1);
    (0..=blocks).map(move |fill| {
        let parts = (processors * fill / tiles.max(1)).clamp(1, most);
        let per_processor = (tiles * parts).div_ceil(processors);
        let rounds = per_processor.div_ceil(blocks);
        let first = steps.div_ceil(parts) * (per_processor * busy).max(rounds * alone) + rounds * ends;
        let second = if parts > 1 { 5000 + parts * sums * 8 / (processors * 16) } else { 0 };
        Plan { kernel, tiles, parts, cycles: first + second }
    })
}

/// How fast a kernel is. Cycles are estimates, and only their ratios matter.
struct Pace {
    /// Rows and columns of a tile.
    extent: (u64, u64),
    /// Blocks that share a multiprocessor.
    blocks: u64,
    /// Cycles that a multiprocessor needs for one block and one step of [`STEP`], if it has enough blocks.
    busy: u64,
    /// Cycles of a step that one block needs even if it is alone.
    alone: u64,
    /// Cycles before the first and after the last step.
    ends: u64,
}

fn pace(kernel: Kernel) -> Pace {
    match kernel {
        Kernel::Matmul(_, _, tile) => {
            let (m, n) = tile.extent();
            let (busy, alone, ends) = match tile {
                Tile::Large => (1000, 1050, 4000),
                Tile::Medium => (560, 800, 3500),
                Tile::Small => (200, 450, 2000),
            };
            Pace { extent: (m.into(), n.into()), blocks: tile.blocks().into(), busy, alone, ends }
        }
        Kernel::MatmulF32(Tile::Small) => {
            Pace { extent: (64, 64), blocks: 2, busy: 1600, alone: 2200, ends: 2000 }
        }
        Kernel::MatmulF32(_) => Pace { extent: (128, 128), blocks: 2, busy: 5200, alone: 6500, ends: 3500 },
        // `MatmulAny`: the only candidate where it is one.
        _ => Pace { extent: (64, 64), blocks: 4, busy: 400, alone: 900, ends: 2000 },
    }
}

/// The kernel, its blocks and the parts of `k` for a vector `a` and a matrix `b`.
fn matvec(
    product: &mut Product,
    a_offset: usize,
    b_offset: usize,
    dtype: DType,
    card: &Card,
) -> (Kernel, u64, u64) {
    let Product { n, k, a_k, b_k, b_n, .. } = *product;
    let pack = 16 / dtype.size() as u64;
    let on_pack = |offset: usize| (offset as u64).is_multiple_of(pack);
    // The least of k that is worth a part, and what a block covers of n.
    let (major, least, covers) = if b_n == 1 && b_k != 1 && n > 1 {
        (Major::Outer, 128, 32 * pack)
    } else {
        let packed = (b_k == 1 || k <= 1) && on_pack(b_offset) && (b_n.is_multiple_of(pack) || n == 1);
        product.packed = u32::from(packed) + 2 * u32::from(a_k == 1 && on_pack(a_offset));
        let loads = if packed { k.div_ceil(pack) } else { k };
        let lanes = loads.clamp(1, 32).next_power_of_two();
        product.lanes = u32::try_from(lanes).unwrap_or(32);
        (Major::K, 1024, 256 / lanes)
    };
    let blocks = n.div_ceil(covers);
    let processors = u64::from(card.multiprocessors);
    let parts = (4 * processors / blocks.max(1)).min(2 * processors).min(k / least).max(1);
    (Kernel::Matvec(dtype, major), blocks, parts)
}

fn partial_bytes(product: &Product) -> u64 {
    u64::from(product.splits) * product.m * product.n.next_multiple_of(PARTIAL_PACK.into()) * 4
}

/// `dst = epilogue(a b)` as chosen. `dst` is flat, `[m, n]` in row-major order, of [`Problem::out`], and apart from all
/// else; it may start on any element. `workspace` is the address of [`Choice::workspace_bytes`], aligned to 16.
///
/// # Errors
///
/// [`Shape`](taut_core::ErrorKind::Shape) or [`DType`](taut_core::ErrorKind::DType) if the operands are not those of the
/// choice or are no floats, [`Driver`](taut_core::ErrorKind::Driver) if a launch fails.
pub fn matmul(
    stream: &Stream,
    choice: &Choice,
    a: Operand<'_>,
    b: Operand<'_>,
    epilogue: Epilogue<'_>,
    dst: Operand<'_>,
    workspace: u64,
) -> Result<()> {
    let Some((pointer, numel)) = flat("matmul", &dst)? else { return Ok(()) };
    check(choice, &a, &b, &epilogue, &dst, numel)?;
    let swapped = choice.b.shape()[1] == 1 && choice.a.shape()[0] != 1;
    let (first, second) = if swapped { (b, a) } else { (a, b) };
    let (activation, slope) = epilogue.activation.code();
    let product = Product {
        a: first.pointer(),
        b: second.pointer(),
        bias: epilogue.bias.map_or(0, |bias| bias.pointer()),
        bias_n: match epilogue.bias {
            Some(bias) if !swapped => bias.layout.strides()[0] as u64,
            _ => 0,
        },
        dst: pointer,
        partial: if choice.product.splits > 1 { workspace } else { 0 },
        activation,
        slope,
        accumulate: u32::from(epilogue.accumulate),
        ..choice.product
    };
    let Grid { blocks, .. } = grid([choice.blocks, product.splits.into()], 1)?;
    let (threads, shared_bytes) = (choice.kernel.threads(), choice.kernel.shared_bytes());
    // SAFETY: every kernel of the family takes a `Product`. Its operands are those that the choice was made for, and the
    // workspace holds the sums of each part, as the caller vouches.
    unsafe { stream.launch(choice.kernel, Grid { blocks, threads, shared_bytes }, [Arg::new(&product)])? };
    if product.splits == 1 {
        return Ok(());
    }
    let kernel = Kernel::MatmulReduce(choice.dtype);
    let threads = product.m * product.n.div_ceil(4);
    let grid = grid([threads.div_ceil(kernel.threads().into()), 1], kernel.threads())?;
    // SAFETY: as above.
    unsafe { stream.launch(kernel, grid, [Arg::new(&product)]) }
}

/// Refuses operands that are not those of the choice.
fn check(
    choice: &Choice,
    a: &Operand<'_>,
    b: &Operand<'_>,
    epilogue: &Epilogue<'_>,
    dst: &Operand<'_>,
    numel: u64,
) -> Result<()> {
    let Choice { dtype, out, .. } = *choice;
    let is_taken =
        matches!(dtype, DType::F32 | DType::F16 | DType::BF16) && (out == dtype || out == DType::F32);
    let bias_dtype = epilogue.bias.map_or(dtype, |bias| bias.dtype);
    if !is_taken || [a.dtype, b.dtype, bias_dtype, dst.dtype] != [dtype, dtype, dtype, out] {
        let names = [a.dtype, b.dtype, bias_dtype].map(DType::name).join(", ");
        return Err(Error::dtype(format!(
            "matmul: {names} -> {} were planned as {dtype} -> {out}",
            dst.dtype
        )));
    }
    let (m, n) = (choice.a.shape()[0], choice.b.shape()[1]);
    let bias_fits = epilogue.bias.is_none_or(|bias| bias.layout.shape()[..] == [n]);
    if *a.layout != choice.a || *b.layout != choice.b || numel != (m * n) as u64 || !bias_fits {
        let (a, b, dst) = (a.layout.shape(), b.layout.shape(), dst.layout.shape());
        return Err(Error::shape(format!(
            "matmul: {a} and {b} -> {dst} are not the operands that were planned"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use taut_core::Shape;

    fn layout(rows: usize, cols: usize) -> Layout {
        Layout::contiguous(Shape::new(&[rows, cols]).unwrap())
    }

    fn transposed(rows: usize, cols: usize) -> Layout {
        layout(cols, rows).transposed(0, 1).unwrap()
    }

    fn plan(a: &Layout, b: &Layout, dtype: DType) -> Choice {
        choose(&Problem { a, b, dtype, out: dtype }, &Card::h200())
    }

    #[test]
    fn each_layout_has_its_kernel() {
        let n = 8192;
        for (a, a_major) in [(layout(n, n), Major::K), (transposed(n, n), Major::Outer)] {
            for (b, b_major) in [(layout(n, n), Major::Outer), (transposed(n, n), Major::K)] {
                let choice = plan(&a, &b, DType::BF16);
                assert_eq!(choice.kernel, Kernel::Matmul(DType::BF16, [a_major, b_major], Tile::Large));
                assert_eq!((choice.blocks, choice.product.splits, choice.workspace_bytes), (64 * 32, 1, 0));
            }
        }
        assert_eq!(plan(&layout(n, n), &layout(n, n), DType::F32).kernel, Kernel::MatmulF32(Tile::Medium));
    }

    #[test]
    fn what_is_not_on_16_bytes_takes_any_strides() {
        let any = Kernel::MatmulAny(DType::F16);
        let kernel = |a: &Layout, b: &Layout| plan(a, b, DType::F16).kernel;
        assert_eq!(kernel(&layout(64, 63), &layout(63, 64)), any);
        assert_eq!(kernel(&layout(64, 64), &layout(64, 10)), any);
        let shifted = layout(64, 72).sliced(1, 1..65).unwrap();
        assert_eq!(kernel(&shifted, &layout(64, 64)), any);
        let square = Shape::new(&[64, 64]).unwrap();
        assert_eq!(kernel(&layout(1, 1).broadcast_to(square).unwrap(), &layout(64, 64)), any);
        // A stride of 0 is a multiple of 8, and columns past a part of a chunk are not read.
        assert_ne!(kernel(&layout(1, 64).broadcast_to(square).unwrap(), &layout(64, 64)), any);
        assert_ne!(kernel(&layout(64, 1).broadcast_to(square).unwrap(), &layout(64, 64)), any);
        assert_ne!(kernel(&layout(64, 72).sliced(1, 8..69).unwrap(), &layout(61, 64)), any);
    }

    #[test]
    fn few_tiles_split_a_long_k_within_limits() {
        for dtype in [DType::F16, DType::F32] {
            let choice = plan(&transposed(256, 65_536), &layout(65_536, 256), dtype);
            let Product { splits, k_part, k, .. } = choice.product;
            let splits = u64::from(splits);
            assert!((2..=MOST_PARTS).contains(&splits), "{dtype}: {splits}");
            assert!(k_part % STEP == 0 && (splits - 1) * k_part < k && splits * k_part >= k);
            assert_eq!(choice.workspace_bytes, splits * 256 * 256 * 4);
            let short = plan(&layout(256, 128), &layout(128, 256), dtype);
            assert_eq!((short.product.splits, short.workspace_bytes), (1, 0));
        }
        let odd = plan(&layout(72, 65_536), &layout(65_536, 10), DType::F16);
        assert_eq!(odd.workspace_bytes, u64::from(odd.product.splits) * 72 * 16 * 4);
    }

    #[test]
    fn small_products_take_small_tiles() {
        let choice = plan(&layout(128, 512), &layout(512, 512), DType::F16);
        assert!(matches!(choice.kernel, Kernel::Matmul(_, _, Tile::Small)), "{:?}", choice.kernel);
    }

    #[test]
    fn vectors_stream_the_matrix_as_it_lies() {
        let row = plan(&layout(1, 4096), &layout(4096, 4096), DType::F16);
        assert_eq!(row.kernel, Kernel::Matvec(DType::F16, Major::Outer));
        assert_eq!(row.blocks, 16);
        assert!(row.product.splits > 1);
        let column = plan(&layout(4096, 4096), &layout(4096, 1), DType::F16);
        assert_eq!(column.kernel, Kernel::Matvec(DType::F16, Major::K));
        let Product { m, n, packed, lanes, .. } = column.product;
        assert_eq!((m, n, packed, lanes, column.product.splits), (1, 4096, 3, 32, 1));
        let odd = plan(&layout(100, 5), &layout(5, 1), DType::F32);
        assert_eq!((odd.product.packed, odd.product.lanes, odd.blocks), (2, 8, 4));
        let dot = plan(&layout(1, 1 << 20), &layout(1 << 20, 1), DType::F32);
        assert_eq!((dot.kernel, dot.product.packed), (Kernel::Matvec(DType::F32, Major::K), 3));
    }

    #[test]
    fn nothing_to_sum_still_has_a_plan() {
        for (m, k, n) in [(3, 0, 5), (0, 4, 5), (3, 4, 0), (1, 0, 7), (7, 0, 1), (0, 0, 0)] {
            for dtype in [DType::F16, DType::F32] {
                let choice = plan(&layout(m, k), &layout(k, n), dtype);
                assert_eq!((choice.product.splits, choice.workspace_bytes, choice.flops), (1, 0, 0));
                assert!(m * n == 0 || choice.blocks > 0);
            }
        }
    }
}
