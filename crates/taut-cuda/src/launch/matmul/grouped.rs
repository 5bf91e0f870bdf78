//! Launches of `matmul_grouped.cu`: lists of products of different sizes. What that kernel does not take, or would take longer
//! for, runs as one product after the other.

use super::{
    Epilogue, Problem, boxes,
    matrix::{Pace, SECOND_LAUNCH, STEP, TILE_MEMORY_BYTES, in_boxes, major, pace},
};
use crate::{Arg, Card, Grid, Operand, Param, Stream, launch::walk::grid};
use std::cmp::Reverse;
use taut_core::{DType, Error, Layout, Products, Result};
use taut_kernels::{
    Kernel, Major, Tile,
    args::{GROUPED, Grouped, LARGE_PARAMS, Product},
    pack_len,
};
use taut_memory::Block;

// SAFETY: `Grouped` is `repr(C)`, and the build checks its size against that of its twin; what follows `count` is never read.
unsafe impl Param for Grouped {}

/// Cycles that the end of a product alone costs at most: it may be cut into parts of `k`, which whole tiles are not. A guess.
const MOST_REST: u64 = 6000;

/// How a list of products runs. A pure function of layouts, dtypes and card.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// What [`matmul`] needs beside its operands.
    pub workspace_bytes: u64,
    /// The products that share launches.
    launches: Vec<Launch>,
    /// The others, by their places in the list.
    alone: Vec<(usize, super::Choice)>,
    /// Products in the list.
    len: usize,
}

impl Choice {
    /// Launches that several products share.
    pub fn shared_launches(&self) -> usize {
        self.launches.len()
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Launch {
    kernel: Kernel,
    /// The longest sums first, so that the card has short ones left at the end.
    members: Vec<Member>,
    /// Whether blocks go in pairs.
    paired: bool,
    /// The multiprocessors of the card.
    processors: u32,
}

/// A product that can share a launch.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Member {
    /// In the list.
    place: usize,
    a: Layout,
    b: Layout,
    /// Without addresses.
    product: Product,
}

/// What all products of a launch have in common.
type Key = (DType, [Major; 2]);

/// Chooses which products share launches, and with which tiles. All are of matrices, and fit.
pub fn choose(problems: &[Problem<'_>], card: &Card) -> Choice {
    let mut lists: Vec<(Key, Vec<Member>)> = Vec::new();
    let mut alone = Vec::new();
    for (place, problem) in problems.iter().enumerate() {
        let Some((key, member)) = member(place, problem, card) else {
            alone.push(place);
            continue;
        };
        match lists.iter_mut().find(|(known, _)| *known == key) {
            Some((_, members)) => members.push(member),
            None => lists.push((key, vec![member])),
        }
    }
    let mut launches = Vec::new();
    for (key, mut members) in lists {
        members.sort_by_key(|member| Reverse(member.product.k));
        let even = members.len().div_ceil(members.len().div_ceil(GROUPED));
        for members in members.chunks(even) {
            match together(key, members, card) {
                Some(launch) => launches.push(launch),
                None => alone.extend(members.iter().map(|member| member.place)),
            }
        }
    }
    alone.sort_unstable();
    let alone: Vec<_> =
        alone.into_iter().map(|place| (place, super::choose(&problems[place], card))).collect();
    // One after the other they take the same workspace.
    let workspace_bytes = alone.iter().map(|(_, choice)| choice.workspace_bytes).max().unwrap_or(0);
    Choice { workspace_bytes, launches, alone, len: problems.len() }
}

/// A product as one of a launch, if the kernel takes it.
fn member(place: usize, problem: &Problem<'_>, card: &Card) -> Option<(Key, Member)> {
    let Problem { a, b, dtype, out, .. } = *problem;
    let is_made = card.own_kernels && card.capability == (9, 0) && card.params_bytes >= LARGE_PARAMS;
    if !is_made || dtype == DType::F32 || out != dtype {
        return None;
    }
    let products = Products::new(a, b);
    let Products { m, k, n, a: [a_m, a_k], b: [b_k, b_n], batch } = products;
    let len = pack_len(&[dtype]);
    let majors = [major(&batch[0], (m, a_m), (k, a_k), len)?, major(&batch[1], (n, b_n), (k, b_k), len)?];
    if m * n * k == 0 || products.count() != 1 || !in_boxes(&products, majors) {
        return None;
    }
    let [m, n, k] = [m, n, k].map(|extent| extent as u64);
    let [a_m, a_k, b_k, b_n] = [a_m, a_k, b_k, b_n].map(|stride| stride as u64);
    let product = Product { m, n, k, a_m, a_k, b_k, b_n, splits: 1, ..Product::default() };
    Some(((dtype, majors), Member { place, a: *a, b: *b, product }))
}

/// The launch of these products, unless they are done sooner one after the other.
fn together((dtype, majors): Key, members: &[Member], card: &Card) -> Option<Launch> {
    let kernels = [Tile::Large, Tile::Medium].map(|tile| Kernel::MatmulGrouped(dtype, majors, tile));
    let fitting = kernels.into_iter().filter(|kernel| kernel.shared_bytes() <= card.shared_bytes);
    let timed = fitting.map(|kernel| (kernel, cycles(kernel, members, card, u64::MAX)));
    let (kernel, shared) = timed.min_by_key(|(_, cycles)| *cycles)?;
    let fastest = |member| {
        let of = |kernel| cycles(kernel, std::slice::from_ref(member), card, MOST_REST);
        kernels.map(of).into_iter().min().unwrap_or(0) + SECOND_LAUNCH
    };
    if shared >= members.iter().map(fastest).sum() {
        return None;
    }
    let tiles = |paired| members.iter().map(|member| units(kernel, &member.product, paired)).sum::<u64>();
    // A pair saves where its tiles lie below one another: worth it if half of all tiles do.
    let below = members.iter().map(|member| in_pairs(kernel, &member.product)).sum::<u64>();
    let paired = kernel.pairs() && tiles(false) >= card.multiprocessors.into() && 4 * below >= tiles(false);
    Some(Launch { kernel, members: members.to_vec(), paired, processors: card.multiprocessors })
}

/// Rows and columns of tiles.
fn tiles(kernel: Kernel, product: &Product) -> (u64, u64) {
    let (down, right) = kernel.extent();
    (product.m.div_ceil(down.into()), product.n.div_ceil(right.into()))
}

/// Pairs of tiles below one another.
fn in_pairs(kernel: Kernel, product: &Product) -> u64 {
    let (down, right) = tiles(kernel, product);
    down / 2 * right
}

/// What blocks, or pairs of them, take of a product at a time: how `unit_at` in `matmul_grouped.cu` counts.
fn units(kernel: Kernel, product: &Product, paired: bool) -> u64 {
    let (down, right) = tiles(kernel, product);
    if paired { in_pairs(kernel, product) + down % 2 * right.div_ceil(2) } else { down * right }
}

/// An estimate of the time of products in one launch, as the model of single ones makes it. Of the time of a last tile half
/// of the card is idle, for at most `most_rest` cycles.
fn cycles(kernel: Kernel, members: &[Member], card: &Card, most_rest: u64) -> u64 {
    let Pace { blocks, busy, alone, ends } = pace(kernel);
    let processors = u64::from(card.multiprocessors).max(1);
    let (mut total, mut longest, mut bytes) = (0, 0, 0);
    for Member { product, .. } in members {
        let steps = product.k.div_ceil(STEP);
        total += units(kernel, product, false) * (steps * busy + ends / blocks);
        longest = longest.max(steps * alone + ends);
        bytes += (product.m + product.n) * product.k * 2;
    }
    let rest = (longest / 2).min(most_rest);
    (total / processors + rest)
        .max(longest.min(most_rest))
        .max(bytes / (processors * TILE_MEMORY_BYTES) + ends)
}

/// `dst = a b` for every product of the list, as chosen. Every `dst` is flat, `[m, n]` in row-major order, of
/// [`Problem::out`], and apart from all else; it may start on any element. `workspace` has [`Choice::workspace_bytes`].
///
/// # Errors
///
/// As those of [`matmul`](super::matmul).
pub fn matmul(
    stream: &Stream,
    choice: &Choice,
    a: &[Operand<'_>],
    b: &[Operand<'_>],
    dst: &[Operand<'_>],
    workspace: &Block,
) -> Result<()> {
    if [a.len(), b.len(), dst.len()] != [choice.len; 3] {
        let [a, b, dst] = [a.len(), b.len(), dst.len()];
        let planned = choice.len;
        return Err(Error::shape(format!(
            "matmul_grouped: {a} by {b} to {dst} products, planned were {planned}"
        )));
    }
    for launch in &choice.launches {
        let list = list(stream, launch, a, b, dst)?;
        // SAFETY: `matmul_grouped(list)`; the maps and addresses are those of operands that the choice was made for, and no
        // product is empty.
        unsafe { stream.launch(launch.kernel, blocks(launch, &list)?, [Arg::new(&list)])? };
    }
    choice.alone.iter().try_for_each(|(i, choice)| {
        super::matmul(stream, choice, a[*i], b[*i], Epilogue::default(), dst[*i], workspace)
    })
}

/// The products of a launch with their addresses.
fn list(
    stream: &Stream,
    launch: &Launch,
    a: &[Operand<'_>],
    b: &[Operand<'_>],
    dst: &[Operand<'_>],
) -> Result<Grouped> {
    let (kernel, paired) = (launch.kernel, launch.paired);
    let Kernel::MatmulGrouped(dtype, majors, _) = kernel else { return Ok(Grouped::default()) };
    let mut list = Grouped::default();
    let mut end = 0;
    for (i, member) in launch.members.iter().enumerate() {
        let [a, b, dst] = [a, b, dst].map(|operands| operands[member.place]);
        check(member, dtype, &a, &b, &dst)?;
        let product = Product { a: a.pointer(), b: b.pointer(), dst: dst.pointer(), ..member.product };
        end += units(kernel, &product, paired);
        [list.a[i], list.b[i]] = boxes::factors(stream, &product, dtype, majors, kernel)?;
        list.out[i] = boxes::results(stream, &product, dtype, kernel)?;
        list.dst[i] = product.dst;
        let counted = [product.m, product.n, product.k, end].map(u32::try_from);
        let [Ok(m), Ok(n), Ok(k), Ok(end)] = counted else {
            return Err(Error::shape("matmul_grouped: products of more tiles than can be counted"));
        };
        (list.m[i], list.n[i], list.k[i], list.end[i]) = (m, n, k, end);
        list.count += 1;
    }
    Ok(list)
}

/// The grid, whose blocks stay on their multiprocessors.
fn blocks(launch: &Launch, list: &Grouped) -> Result<Grid> {
    let units = (list.count as usize).checked_sub(1).map_or(0, |last| list.end[last]);
    let (cluster, most) = if launch.paired { (2, launch.processors / 2) } else { (1, launch.processors) };
    let grid = grid([u64::from(cluster * units.min(most)), 1], launch.kernel.threads())?;
    Ok(Grid { shared_bytes: launch.kernel.shared_bytes(), cluster, ..grid })
}

/// Refuses operands that are not those of the choice.
fn check(member: &Member, dtype: DType, a: &Operand<'_>, b: &Operand<'_>, dst: &Operand<'_>) -> Result<()> {
    let place = member.place;
    if [a.dtype, b.dtype, dst.dtype] != [dtype; 3] {
        let names = [a.dtype, b.dtype, dst.dtype].map(DType::name).join(", ");
        return Err(Error::dtype(format!(
            "matmul_grouped: product {place}: {names} were planned as {dtype}"
        )));
    }
    let results = (member.product.m * member.product.n) as usize;
    let fits = dst.layout.flat().is_some_and(|range| range.len() == results);
    if *a.layout != member.a || *b.layout != member.b || !fits {
        let (a, b, dst) = (a.layout.shape(), b.layout.shape(), dst.layout.shape());
        return Err(Error::shape(format!(
            "matmul_grouped: product {place}: {a} and {b} -> {dst} are not the operands that were planned"
        )));
    }
    Ok(())
}

#[cfg(test)]
#[path = "grouped/tests.rs"]
mod tests;
