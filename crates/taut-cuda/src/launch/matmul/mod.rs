//! Launches of `matmul_wgmma.cu`, `matmul_parts.cu`, `matmul_mma.cu`, `matmul_thin.cu`, `matmul_across.cu`, `matmul_any.cu`,
//! `matmul_f32.cu` and `matvec.cu`, and of `matmul_reduce.cu` where `k` is split and no cluster adds up.

mod across;
mod boxes;
mod grids;
pub mod grouped;
mod lately;
mod matrix;
mod pitch;
mod strips;
mod sums;
#[cfg(test)]
mod tests;
mod tf32;
mod thin;
mod tuned;
mod tuning;
mod vector;

pub use tuned::{candidates, choose_tuned, signature};
pub use tuning::{Lie, Origin, Pick, Signature, Tuning};

use super::{fill::flat, walk::each_part};
use crate::{Arg, Card, Operand, Param, Stream};
use grids::{Tiles, blocks, limit, staying};
use pitch::{ALIGNED, Pitched};
use sums::{padded, reduce, split, sums_bytes};
use taut_core::{Activation, DType, Error, Layout, Onto, Precision, Products, Result};
use taut_kernels::{
    Kernel,
    args::{Product, Walk},
};
use taut_memory::Block;

// SAFETY: `Product` is `repr(C)`, and the build checks its size against that of its twin.
unsafe impl Param for Product {}

/// Products to be planned: `[.., m, k] x [.., k, n] -> [.., m, n]`, with the same leading axes.
#[derive(Clone, Copy, Debug)]
pub struct Problem<'a> {
    /// `[.., m, k]`, any strides.
    pub a: &'a Layout,
    /// `[.., k, n]`, any strides.
    pub b: &'a Layout,
    /// The dtype of both: `f32`, `f16` or `bf16`.
    pub dtype: DType,
    /// The dtype of the result: the same, or `f32`.
    pub out: DType,
    /// Of factors of `f32`. Where no kernel makes use of it, or none is faster so, products are exact.
    pub precision: Precision,
}

/// What happens to the sums before they are rounded and stored: `activation(sums + bias)`, onto what `dst` holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// `[n]`, of the dtype of the factors. Only where all products have the second factor in common.
    pub bias: Option<Operand<'a>>,
    /// Applied after the bias.
    pub activation: Activation,
    /// What becomes of it there. A derivative comes without activation.
    pub onto: Onto,
}

/// How products run. A pure function of layouts, dtypes and card.
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
    /// Whether the second factor is the first of the kernels: the products of a matrix by a column.
    turned: bool,
    /// From product to product, as the kernels see them.
    batch: [Layout; 2],
    /// Blocks of one product and one part of `k`.
    blocks: u64,
    /// Blocks of a cluster, which add up as many parts of `k`; 1 where none do.
    cluster: u32,
    /// The multiprocessors of the card.
    processors: u32,
    /// Of workspace: sums of parts, before the factors that are brought there.
    sums_bytes: u64,
    /// The first factor and the second, where they are brought into the workspace.
    pitched: [Option<Pitched>; 2],
    /// The last rows, where they are a product of their own.
    tail: Option<Product>,
    /// The extents and strides, as the kernels see them.
    product: Product,
}

/// A kernel, with what it is given to do.
#[derive(Clone, Copy)]
struct Way {
    kernel: Kernel,
    /// Blocks of one product and one part of `k`.
    blocks: u64,
    /// Of `k`, which a second pass adds up.
    parts: u64,
    /// Blocks of a cluster, each with a part of that part, which they add up.
    cluster: u64,
    /// Columns of a tile of `matmul_parts.cu`; 0 of others.
    width: u64,
    /// The rows whose `k` is in parts, where that of the others is whole.
    tail: Option<Tail>,
    /// That it should take: an estimate, 0 where there is no choice.
    cycles: u64,
}

impl Way {
    /// Without all else.
    fn of(kernel: Kernel, blocks: u64, parts: u64) -> Way {
        Way { kernel, blocks, parts, cluster: 1, width: 0, tail: None, cycles: 0 }
    }
}

/// The last rows of a product: fewer tiles than the card takes at a time, with `k` in parts so that all of it has some.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tail {
    first: u64,
    /// Of `k`.
    parts: u64,
}

/// A problem as the kernels see it, and the way that the model says.
struct Seen {
    products: Products,
    /// In which they run.
    precision: Precision,
    turned: bool,
    pitched: [Option<Pitched>; 2],
    way: Way,
    /// With what the kernels must know beside extents and strides.
    product: Product,
}

/// Chooses the kernel, its tile and the parts of `k`. The layouts have the same leading axes, and fit.
pub fn choose(problem: &Problem<'_>, card: &Card) -> Choice {
    let seen = seen(problem, card);
    choice(problem, card, &seen, &seen.way)
}

fn seen(problem: &Problem<'_>, card: &Card) -> Seen {
    let Problem { a, b, dtype, out, precision } = *problem;
    let products = Products::new(a, b);
    // A matrix by a column is a row by the transposed matrix: dst is as flat as before. Its one bias belongs to all.
    let turned = products.n == 1 && products.m != 1;
    let products = if turned { products.transposed() } else { products };
    let mut product = Product { lanes: 1, wide: u32::from(out == DType::F32), ..Product::default() };
    let way = match products.m {
        1 => matrix::streamed(&products, dtype, card)
            .unwrap_or_else(|| vector::choose(&products, dtype, card, &mut product)),
        _ => lately::chosen(&products, dtype, Precision::Exact, card, None, || {
            matrix::choose(&products, dtype, card)
        }),
    };
    let is_tf32 = precision == Precision::Tf32 && dtype == DType::F32;
    let instead = match way.kernel {
        Kernel::MatmulAny(_) => pitch::instead([a, b], dtype, card, &way),
        _ if is_tf32 => tf32::instead([a, b], card, &way),
        _ => None,
    };
    let precision = if is_tf32 && instead.is_some() { Precision::Tf32 } else { Precision::Exact };
    let (products, way, pitched) = instead.unwrap_or((products, way, [None; 2]));
    Seen { products, precision, turned, pitched, way, product }
}

/// The launches of a problem in one of its ways.
fn choice(problem: &Problem<'_>, card: &Card, seen: &Seen, way: &Way) -> Choice {
    let Problem { a, b, dtype, out, .. } = *problem;
    let Seen { ref products, turned, pitched, mut product, .. } = *seen;
    let Way { kernel, blocks, parts, cluster, width, tail, .. } = *way;
    let [cluster, width] = [cluster, width].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    let [m, n, k, count] = [products.m, products.n, products.k, products.count()].map(|n| n as u64);
    let [a_m, a_k] = products.a.map(|stride| stride as u64);
    let [b_k, b_n] = products.b.map(|stride| stride as u64);
    product = Product { m, n, k, a_m, a_k, b_k, b_n, width, ..product };

    split(&mut product, count, parts);
    let tail = tail.map(|tail| {
        let mut below = Product { m: m - tail.first, ..product };
        split(&mut below, 1, tail.parts);
        below
    });
    let tail = tail.filter(|below| below.splits > 1);
    let sums_bytes = sums_bytes(tail.as_ref().unwrap_or(&product));
    let pitched_bytes: u64 = pitched.iter().flatten().map(|pitched| pitched.bytes(dtype)).sum();
    let workspace_bytes = match pitched_bytes {
        0 => sums_bytes,
        _ => sums_bytes.next_multiple_of(ALIGNED) + pitched_bytes,
    };
    let size = |dtype: DType| dtype.size() as u64;
    Choice {
        workspace_bytes,
        flops: 2 * count * m * n * k,
        moved_bytes: (distinct(a) + distinct(b)) * size(dtype)
            + count * m * n * size(out)
            + 2 * workspace_bytes,
        kernel,
        a: *a,
        b: *b,
        dtype,
        out,
        turned,
        batch: products.batch,
        blocks,
        cluster,
        processors: card.multiprocessors,
        sums_bytes,
        pitched,
        tail,
        product,
    }
}

/// The elements of a layout, those that are repeated counted once.
fn distinct(layout: &Layout) -> u64 {
    let axes = layout.shape().iter().zip(layout.strides());
    axes.map(|(&dim, &stride)| if stride == 0 { dim.min(1) as u64 } else { dim as u64 }).product()
}

/// `dst = epilogue(a b)` as chosen. `dst` is flat, `[.., m, n]` in row-major order, of [`Problem::out`], and apart from
/// all else; it may start on any element. `workspace` has [`Choice::workspace_bytes`].
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
    workspace: &Block,
) -> Result<()> {
    let Some((_, numel)) = flat("matmul", &dst)? else { return Ok(()) };
    check(choice, &a, &b, &epilogue, &dst, numel)?;
    let workspace = address(choice, workspace)?;
    let partial = if choice.product.splits > 1 { workspace } else { 0 };
    let mut free = workspace + choice.sums_bytes.next_multiple_of(ALIGNED);
    let [first, second] = if choice.turned { [b, a] } else { [a, b] };
    let mut brought = |factor, pitched: &Option<Pitched>| {
        let Some(pitched) = pitched else { return Ok(factor) };
        let address = free;
        free += pitched.bytes(choice.dtype);
        pitched.bring(stream, factor, address)?;
        Ok(Operand { address, ..factor })
    };
    let first = brought(first, &choice.pitched[0])?;
    let second = brought(second, &choice.pitched[1])?;
    let (activation, slope) = epilogue.activation.code();
    let (onto, onto_slope) = epilogue.onto.code();
    let whole = Product {
        bias: epilogue.bias.map_or(0, |bias| bias.pointer()),
        bias_n: match epilogue.bias {
            Some(bias) if !choice.turned => bias.layout.strides()[0] as u64,
            _ => 0,
        },
        dst: dst.pointer(),
        partial,
        activation,
        slope: if onto > 1 { onto_slope } else { slope },
        onto,
        ..choice.product
    };
    let [a_batch, b_batch] = choice.batch;
    let number = Layout::contiguous(*a_batch.shape());
    each_part(&[a_batch, b_batch, number], limit(choice), &mut |[a_batch, b_batch, number]| {
        let row = number.offset() as u64 * whole.m;
        let product = Product {
            a: Operand { layout: a_batch, ..first }.pointer(),
            b: Operand { layout: b_batch, ..second }.pointer(),
            dst: whole.dst + row * whole.n * choice.out.size() as u64,
            partial: if partial == 0 { 0 } else { partial + row * padded(whole.n) * 4 },
            batch: Walk::new(&[*a_batch, *b_batch], 1),
            ..whole
        };
        let Some(tail) = &choice.tail else {
            return multiply(stream, choice, &product, number.numel() as u64);
        };
        let first = product.m - tail.m;
        multiply(stream, choice, &Product { m: first, ..product }, 1)?;
        let Product { m, k_part, part_step, splits, .. } = *tail;
        let below = Product {
            a: product.a + first * product.a_m * choice.dtype.size() as u64,
            dst: product.dst + first * product.n * choice.out.size() as u64,
            partial: workspace,
            m,
            k_part,
            part_step,
            splits,
            ..product
        };
        multiply(stream, choice, &below, 1)?;
        reduce(stream, choice, &below)
    })?;
    match whole.splits {
        1 => Ok(()),
        _ => reduce(stream, choice, &Product { m: number.numel() as u64 * whole.m, ..whole }),
    }
}

/// Launches the first pass of so many products.
fn multiply(stream: &Stream, choice: &Choice, product: &Product, count: u64) -> Result<()> {
    let Choice { processors, cluster, .. } = *choice;
    let kernel = boxes::roomy(product, choice.kernel);
    let in_turns = boxes::in_turns(product, kernel, count, processors).map(|kernel| (*product, kernel));
    let turned = || boxes::turned(product, kernel).or_else(|| boxes::turned_strip(product, kernel, cluster));
    let (product, kernel) = in_turns.or_else(turned).unwrap_or((*product, kernel));
    if let Kernel::MatmulWgmma(dtype, majors, _) | Kernel::MatmulParts(dtype, majors, _) = kernel {
        let [a, b] = boxes::factors(stream, &product, dtype, majors, kernel)?;
        let dst = boxes::results(stream, &product, dtype, kernel)?;
        let args = [Arg::new(&product), Arg::new(&a), Arg::new(&b), Arg::new(&dst)];
        let blocks = match kernel {
            Kernel::MatmulWgmma(..) => staying(kernel, &product, count, processors)?,
            _ => blocks(&Choice { kernel, ..*choice }, count)?,
        };
        // SAFETY: as below, and the maps stand for the same operands.
        return unsafe { stream.launch(kernel, blocks, args) };
    }
    // SAFETY: every other kernel of the family takes a `Product`. Its operands are those that the choice was made for, and the
    // workspace holds what was planned: `address` has seen to it.
    unsafe { stream.launch(kernel, blocks(choice, count)?, [Arg::new(&product)]) }
}

/// The address of the workspace, 0 if none was planned.
fn address(choice: &Choice, workspace: &Block) -> Result<u64> {
    if choice.workspace_bytes == 0 {
        return Ok(0);
    }
    if workspace.host().is_some() || workspace.bytes() < choice.workspace_bytes {
        let (has, wants) = (workspace.bytes(), choice.workspace_bytes);
        return Err(Error::device(format!(
            "matmul: a workspace of {has} bytes of the card, planned were {wants}"
        )));
    }
    Ok(workspace.address())
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
    let Product { m, n, .. } = choice.product;
    // A column has one bias, whether it is turned or not.
    let columns = if choice.turned { 1 } else { n };
    let bias_fits =
        epilogue.bias.is_none_or(|bias| matches!(bias.layout.shape()[..], [n] if n as u64 == columns));
    let results = choice.batch[0].numel() as u64 * m * n;
    if *a.layout != choice.a || *b.layout != choice.b || numel != results || !bias_fits {
        let (a, b, dst) = (a.layout.shape(), b.layout.shape(), dst.layout.shape());
        return Err(Error::shape(format!(
            "matmul: {a} and {b} -> {dst} are not the operands that were planned"
        )));
    }
    Ok(())
}
