//! Products by tiles of both factors that are widened, or only brought together, in a workspace.

use super::{Epilogue, Float, widen_run, zero};
use crate::cpu::{Scalar, tasks::each_chunk};
use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};
use rayon::prelude::*;
use std::ops::Range;
use taut_core::Products;

/// Rows of a tile of the result.
const ROWS: usize = 256;
/// Columns of a tile of the result.
const COLUMNS: usize = 512;
/// The depth of a tile of the factors.
const DEPTH: usize = 1024;
/// Strips of rows that are computed at once. Fixed, so that the workspace is a fact of the shapes.
const SLOTS: usize = 16;

/// The strips of all products.
fn strips(products: &Products) -> usize {
    products.m.div_ceil(ROWS) * products.count()
}

/// Elements of workspace for a strip at a time: a tile of each factor and one of the result.
fn slot(products: &Products) -> usize {
    let (rows, columns, depth) = (products.m.min(ROWS), products.n.min(COLUMNS), products.k.min(DEPTH));
    rows * depth + depth * columns + rows * columns
}

/// Elements of workspace.
pub(super) fn elements(products: &Products) -> usize {
    strips(products).min(SLOTS) * slot(products)
}

/// `out = finish(a b)`.
pub(super) fn run<A: Float, T: Scalar<Acc = A>, D: Scalar<Acc = A>>(
    products: &Products,
    a: &[T],
    b: &[T],
    finish: &Epilogue<A>,
    out: &mut [D],
    scratch: &mut [A],
) {
    let Products { m, n, .. } = *products;
    let (strips, per_product) = (strips(products), m.div_ceil(ROWS));
    let per_slot = strips.div_ceil(strips.min(SLOTS));
    // Where strip number `strip` begins in `out`; the last of a product may be short.
    let start = |strip: usize| (strip / per_product * m + strip % per_product * ROWS) * n;
    let mut tasks = Vec::with_capacity(SLOTS);
    let mut rest = out;
    for (task, scratch) in scratch.chunks_mut(slot(products)).enumerate() {
        let strips = task * per_slot..strips.min((task + 1) * per_slot);
        if strips.is_empty() {
            break;
        }
        let (now, later) = rest.split_at_mut(start(strips.end) - start(strips.start));
        tasks.push((strips, now, scratch));
        rest = later;
    }
    // A strip that is alone is split inside instead.
    let par = if strips == 1 { Par::rayon(0) } else { Par::Seq };
    tasks.into_par_iter().for_each(|(strips, mut out, scratch)| {
        for strip in strips {
            let (now, later) = out.split_at_mut(start(strip + 1) - start(strip));
            let [a_start, b_start] = products.at(strip / per_product);
            let a = Side { data: a, start: a_start, strides: products.a };
            let b = Side { data: b, start: b_start, strides: products.b };
            let row = strip % per_product * ROWS;
            run_strip(products, a, b, row, finish, now, scratch, par);
            out = later;
        }
    });
}

/// The rows of one product from `row` on, as many as `out` holds.
#[allow(clippy::too_many_arguments, reason = "one strip of what `run` is given")]
fn run_strip<A: Float, T: Scalar<Acc = A>, D: Scalar<Acc = A>>(
    products: &Products,
    a: Side<'_, T>,
    b: Side<'_, T>,
    row: usize,
    finish: &Epilogue<A>,
    out: &mut [D],
    scratch: &mut [A],
    par: Par,
) {
    let Products { k, n, .. } = *products;
    let rows = row..row + out.len() / n;
    let (left, scratch) = scratch.split_at_mut(rows.len() * k.min(DEPTH));
    let (right, sums) = scratch.split_at_mut(k.min(DEPTH) * n.min(COLUMNS));
    for column in (0..n).step_by(COLUMNS) {
        let columns = column..n.min(column + COLUMNS);
        let sums = &mut sums[..rows.len() * columns.len()];
        if k == 0 {
            sums.fill(zero());
        }
        for depth in (0..k).step_by(DEPTH) {
            let depths = depth..k.min(depth + DEPTH);
            let a = a.tile(rows.clone(), depths.clone(), left, par);
            let b = b.tile(depths, columns.clone(), right, par);
            let c = MatMut::from_row_major_slice_mut(&mut *sums, rows.len(), columns.len());
            let accum = if depth == 0 { Accum::Replace } else { Accum::Add };
            matmul(c, accum, a, b, A::one_impl(), par);
        }
        for (sums, out) in sums.chunks_mut(columns.len()).zip(out.chunks_mut(n)) {
            finish.store(sums, column, &mut out[columns.clone()]);
        }
    }
}

/// A factor.
#[derive(Clone, Copy)]
struct Side<'a, T> {
    data: &'a [T],
    start: usize,
    strides: [usize; 2],
}

impl<T: Scalar> Side<'_, T> {
    /// Widens a part into `tile`, by runs along the axis that lies closer.
    fn tile<'t>(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        tile: &'t mut [T::Acc],
        par: Par,
    ) -> MatRef<'t, T::Acc> {
        let [down, right] = self.strides;
        let start = self.start + rows.start * down + columns.start * right;
        let (rows, columns) = (rows.len(), columns.len());
        let turned = down < right;
        let (inner, far, near) = if turned { (rows, right, down) } else { (columns, down, right) };
        let tile = &mut tile[..rows * columns];
        let widen = |i: usize, run: &mut [T::Acc]| widen_run(self.data, start + i * far, near, run);
        match par {
            Par::Seq => tile.chunks_mut(inner).enumerate().for_each(|(i, run)| widen(i, run)),
            _ => each_chunk(tile, inner, &widen),
        }
        if turned {
            MatRef::from_column_major_slice(tile, rows, columns)
        } else {
            MatRef::from_row_major_slice(tile, rows, columns)
        }
    }
}
