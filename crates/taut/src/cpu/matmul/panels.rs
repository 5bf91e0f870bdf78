//! Products whose first factor is read where it lies: the second is brought into panels of a few columns, in a
//! workspace, and blocks of rows are finished while they are in the cache.

use super::{
    Epilogue,
    tile::{LONGEST, Lanes, Strip, VECTORS, width},
    zero,
};
use crate::cpu::{
    tasks::{each_task, within_pool},
    transpose::transpose,
};
use std::ops::Range;
use taut_core::Products;

/// Columns of a panel at most.
const WIDEST: usize = VECTORS * LONGEST;
/// Elements of the second factor that are in panels at a time: they stay in the second cache, or the third.
const PANELS: usize = 1 << 18;
/// Terms of each sum among them at most: few, so that there are many columns, and the first factor is read seldom.
const DEEPEST: usize = 2 * DEPTH;
/// Terms that are summed in registers: so many that adding to the result seldom counts. A panel of as many comes from the
/// second cache in good time, whether it stays in the first or not.
const DEPTH: usize = 384;
/// Rows of a block: fewer where there would be too few blocks for the threads, which changes no result.
const ROWS: [usize; 2] = [16, 64];
/// Multiplications that are worth panels.
const WORTH: usize = 1 << 18;
/// Multiplications of one product of several that are split over threads; smaller ones are better taken as a whole.
const LARGE: usize = 1 << 24;
/// Multiplications that are worth more than one thread.
const SPLIT: usize = 1 << 20;

/// Whether the first factor lies in rows, and there are enough of them.
pub(super) fn takes(products: &Products) -> bool {
    let Products { m, k, n, a: [_, step], .. } = *products;
    let worth = if products.count() == 1 { WORTH } else { LARGE };
    step == 1 && m >= ROWS[1] && n >= LONGEST && k > 0 && m * n * k >= worth
}

/// Terms and columns that are in panels at a time.
fn extents(products: &Products) -> [usize; 2] {
    let Products { k, n, .. } = *products;
    let depth = k.div_ceil(k.div_ceil(DEEPEST)).next_multiple_of(DEPTH).min(k);
    let columns = n.div_ceil(n.div_ceil(PANELS / depth / WIDEST * WIDEST));
    [depth, columns.next_multiple_of(WIDEST)]
}

/// Elements of workspace.
pub(super) fn elements(products: &Products) -> usize {
    extents(products).into_iter().product()
}

/// `out = finish(a b)`.
pub(super) fn run<A: Lanes>(
    products: &Products,
    a: &[A],
    b: &[A],
    finish: &Epilogue<A>,
    out: &mut [A],
    panels: &mut [A],
) {
    let Products { m, k, n, a: [a_m, _], b: [b_k, b_n], .. } = *products;
    let ([deepest, widest], width) = (extents(products), width::<A, VECTORS>());
    let is_small = m * n * k < SPLIT;
    let each_task: Each<A> = if is_small { in_turn } else { each_task };
    let block = (m / (4 * rayon::current_num_threads())).next_multiple_of(ROWS[0]).clamp(ROWS[0], ROWS[1]);
    let bias = finish.bias.as_ref().map(|bias| {
        let mut each = if let [one] = bias[..] { vec![one; n] } else { bias.clone() };
        each.resize(n + WIDEST, zero());
        each
    });
    let mut all = || {
        for (i, out) in out.chunks_mut(m * n).enumerate() {
            let [a_start, b_start] = products.at(i);
            for term in (0..k).step_by(deepest) {
                let depth = deepest.min(k - term);
                for column in (0..n).step_by(widest) {
                    let columns = widest.min(n - column);
                    let panels = &mut panels[..columns.next_multiple_of(width) * depth];
                    each_task(panels, width * depth, &|j, panel| {
                        let start = b_start + term * b_k + (column + j * width) * b_n;
                        pack(&b[start..], [b_k, b_n], panel, width, width.min(columns - j * width));
                    });
                    let part = Part {
                        finish,
                        bias: bias.as_deref(),
                        panels,
                        depth,
                        columns: column..column + columns,
                        step: a_m,
                        pitch: n,
                        is_first: term == 0,
                        is_last: term + depth == k,
                    };
                    let a = &a[a_start + term..];
                    each_task(out, block * n, &|i, out| part.multiply(&a[i * block * a_m..], out));
                }
            }
        }
    };
    if is_small { all() } else { within_pool(&mut all) }
}

/// Some columns of a product, and some terms of its sums.
struct Part<'a, A> {
    finish: &'a Epilogue<A>,
    /// One for each column, and as many more as a panel may have.
    bias: Option<&'a [A]>,
    /// Of the second factor.
    panels: &'a [A],
    depth: usize,
    columns: Range<usize>,
    /// Elements from row to row of the first factor.
    step: usize,
    /// Elements from row to row of the result.
    pitch: usize,
    is_first: bool,
    is_last: bool,
}

impl<A: Lanes> Part<'_, A> {
    /// As many rows as `out` holds, of which `a` has the terms, from the first one on.
    fn multiply(&self, a: &[A], out: &mut [A]) {
        let Part { finish, bias, panels, depth, columns, step, pitch, .. } = self;
        let (width, rows) = (width::<A, VECTORS>(), out.len() / pitch);
        for (column, panel) in columns.clone().step_by(width).zip(panels.chunks(width * depth)) {
            for (i, panel) in panel.chunks(width * DEPTH).enumerate() {
                let is_first = self.is_first && i == 0;
                let strip = Strip::<_, VECTORS> {
                    a: &a[i * DEPTH..],
                    step: *step,
                    panel,
                    out: &mut out[column..],
                    pitch: *pitch,
                    rows,
                    columns: width.min(columns.end - column),
                    add: finish.accumulate || !is_first,
                    bias: bias.filter(|_| is_first).map(|bias| &bias[column..][..width]),
                };
                strip.multiply();
            }
        }
        if self.is_last {
            out.chunks_mut(*pitch).for_each(|row| finish.activate(&mut row[columns.clone()]));
        }
    }
}

/// [`each_task`], or [`in_turn`].
type Each<A> = fn(&mut [A], usize, &(dyn Fn(usize, &mut [A]) + Sync));

/// [`each_task`] on this thread.
fn in_turn<A>(out: &mut [A], len: usize, f: &(dyn Fn(usize, &mut [A]) + Sync)) {
    out.chunks_mut(len).enumerate().for_each(|(i, out)| f(i, out));
}

/// A panel: its first columns from `b`, which lies at strides along terms and columns, the others 0.
pub(crate) fn pack<A: Lanes>(
    b: &[A],
    [down, right]: [usize; 2],
    panel: &mut [A],
    width: usize,
    columns: usize,
) {
    if columns < width {
        panel.fill(zero());
    }
    if right != 1 {
        let mut rows: Vec<&mut [A]> = panel.chunks_mut(width).map(|row| &mut row[..columns]).collect();
        return transpose(b, down, right, &mut rows);
    }
    for (k, row) in panel.chunks_mut(width).enumerate() {
        // By vectors: too short to be worth a call.
        let (to, to_rest) = row[..columns].as_chunks_mut::<LONGEST>();
        let (from, from_rest) = b[k * down..][..columns].as_chunks::<LONGEST>();
        to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        to_rest.iter_mut().zip(from_rest).for_each(|(to, from)| *to = *from);
    }
}
