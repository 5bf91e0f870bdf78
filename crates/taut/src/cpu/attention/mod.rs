//! The twin of `attention.cu`: tiles of queries by tiles of keys, so that no more scores exist than those of a tile.

mod tile;

use super::{Scalar, matmul::tile::Lanes, rows::Float, with_float};
use crate::tensor::{View, ViewMut};
use rayon::prelude::*;
use std::ops::Range;
use taut_core::{Attention, Layout, Result};
use tile::Scratch;

/// Rows of queries of a tile: fewer where there would be too few tiles for the threads of a large machine.
const HEIGHTS: [usize; 3] = [128, 64, 16];
/// Tiles that are enough.
const TILES: usize = 32;

/// The operands, all `[sequences, heads, rows, dim]`.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a> {
    /// Missing where it stands in the result.
    pub(crate) q: Option<View<'a>>,
    pub(crate) k: View<'a>,
    pub(crate) v: View<'a>,
    /// Where packed sequences begin, and the end of the last, u32: they are the rows of a single one.
    pub(crate) bounds: Option<View<'a>>,
}

/// `dst = softmax(scale q k^T) v` for every sequence and head. `dst` is dense, and its rows are contiguous: those of a
/// head lie one after the other, or those of all heads at one position.
pub(crate) fn attention(options: Attention, operands: Operands<'_>, dst: ViewMut<'_>) -> Result<()> {
    with_float!(dst.dtype, "attention", T => run::<T>(options, operands, dst))
}

fn run<T: Scalar<Acc: Float + Lanes>>(
    options: Attention,
    operands: Operands<'_>,
    mut dst: ViewMut<'_>,
) -> Result<()> {
    let Operands { q, k, v, bounds } = operands;
    let to = *dst.layout;
    let [_, heads, _, dim] = [0, 1, 2, 3].map(|axis| to.shape()[axis]);
    let problem = Problem {
        q: q.map(Rows::<T>::new).transpose()?,
        k: Rows::new(k)?,
        v: Rows::new(v)?,
        scale: T::Acc::of(options.factor(dim)),
        options,
        group: heads / k.layout.shape()[1].max(1),
        dim,
    };
    let sequences = sequences(&to, k.layout, bounds)?;

    // A task writes one piece of memory: rows of one head, or of all where these lie side by side.
    let across = heads == 1 || to.strides()[1] < to.strides()[2];
    let width = if across { heads } else { 1 };
    let count = |height: usize| {
        sequences.iter().map(|s| s.queries.len().div_ceil(height)).sum::<usize>() * (heads / width)
    };
    let height = HEIGHTS.into_iter().find(|&height| count(height) >= TILES).unwrap_or(HEIGHTS[2]);
    let keys = sequences.iter().map(|s| s.keys.len()).max().unwrap_or(0);
    let mut tasks = Vec::with_capacity(count(height));
    let mut rest = &mut dst.data::<T>()?[to.offset()..][..to.numel()];
    for sequence in sequences {
        for head in (0..heads).step_by(width) {
            for first in sequence.queries.clone().step_by(height) {
                let rows = first..sequence.queries.end.min(first + height);
                let (out, later) = rest.split_at_mut(rows.len() * width * dim);
                tasks.push(Task { sequence: sequence.clone(), heads: head..head + width, rows, out });
                rest = later;
            }
        }
    }
    let scratch = || Scratch::new(height, keys, dim);
    tasks.into_par_iter().for_each_init(scratch, |scratch, task| problem.solve(task, scratch));
    Ok(())
}

/// The rows of one sequence.
#[derive(Clone)]
struct Sequence {
    /// Along the first axis.
    number: usize,
    /// Rows of `q` and of the result.
    queries: Range<usize>,
    /// Rows of `k` and `v`.
    keys: Range<usize>,
}

fn sequences(to: &Layout, k: &Layout, bounds: Option<View<'_>>) -> Result<Vec<Sequence>> {
    let Some(bounds) = bounds else {
        let one = |number| Sequence { number, queries: 0..to.shape()[2], keys: 0..k.shape()[2] };
        return Ok((0..to.shape()[0]).map(one).collect());
    };
    let mut ends = vec![0u32; bounds.layout.numel()];
    bounds.source::<u32>()?.read(0, &mut ends);
    let ranges = ends.windows(2).map(|pair| pair[0] as usize..pair[1] as usize);
    Ok(ranges.map(|rows| Sequence { number: 0, queries: rows.clone(), keys: rows }).collect())
}

/// Rows somewhere in memory: `[sequences, heads, rows, dim]`.
struct Rows<'a, T> {
    data: &'a [T],
    layout: Layout,
}

impl<'a, T: Scalar> Rows<'a, T> {
    fn new(view: View<'a>) -> Result<Rows<'a, T>> {
        Ok(Rows { data: view.data()?, layout: *view.layout })
    }
}

struct Problem<'a, T: Scalar> {
    q: Option<Rows<'a, T>>,
    k: Rows<'a, T>,
    v: Rows<'a, T>,
    scale: T::Acc,
    options: Attention,
    /// Heads of queries for each of keys.
    group: usize,
    dim: usize,
}

/// A tile of queries of one sequence, of one head or of all.
struct Task<'a, T> {
    sequence: Sequence,
    heads: Range<usize>,
    /// Rows of `q`.
    rows: Range<usize>,
    /// `[rows, heads, dim]`.
    out: &'a mut [T],
}
