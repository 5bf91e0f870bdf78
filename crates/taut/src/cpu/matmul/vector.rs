//! Rows by matrices: each element of the matrix is read once, in the order in which it lies.

use super::{Epilogue, Float, WORK, Way, wide_run, zero};
use crate::cpu::{BLOCK, Scalar, tasks::each_chunk, vectorized};
use taut_core::Products;

/// Tasks that are enough for every machine.
const TASKS: usize = 64;
/// Elements along `k` that are widened at a time.
const DEPTH: usize = 4 * BLOCK;
/// Sums side by side.
const LANES: usize = 64;

/// Whether neighbours in memory belong to neighbouring columns, and not to one.
fn by_columns(products: &Products) -> bool {
    products.b[1] == 1 && products.b[0] != 1 && products.n > 1
}

/// Into how many parts `k` is cut, and the elements of workspace that their sums take. A fact of shapes and strides, so
/// that the order of additions is one.
pub(super) fn choose(products: &Products) -> (Way, usize) {
    let Products { k, n, .. } = *products;
    let count = products.count();
    // Tasks without parts, and the multiplications of each.
    let (tasks, work) =
        if by_columns(products) { (count * n.div_ceil(BLOCK), k * n.min(BLOCK)) } else { (count * n, k) };
    let wanted = TASKS.div_ceil(tasks).min(work / WORK).max(1);
    // As many as are not empty when all but the last have the same length.
    let parts = k.div_ceil(k.div_ceil(wanted).max(1)).max(1);
    (Way::Vector { parts }, if parts > 1 { count * parts * n } else { 0 })
}

/// `out = finish(a b)`.
pub(super) fn run<A: Float, T: Scalar<Acc = A>, D: Scalar<Acc = A>>(
    products: &Products,
    parts: usize,
    a: &[T],
    b: &[T],
    finish: &Epilogue<A>,
    out: &mut [D],
    partial: &mut [A],
) {
    let Products { k, n, .. } = *products;
    let sums = if by_columns(products) { columns::<A, T> } else { rows::<A, T> };
    if parts > 1 {
        let depth = k.div_ceil(parts);
        // A part of one product after the other, each a row of sums.
        each_chunk(partial, n, &|i, partial| {
            let mut scratch = Scratch::new();
            let terms = Terms::new(products, a, b, i / parts, i % parts * depth, depth);
            for (j, partial) in partial.chunks_mut(BLOCK).enumerate() {
                sums(&terms, j * BLOCK, partial, &mut scratch);
            }
        });
        for (out, partial) in out.chunks_mut(n).zip(partial.chunks_mut(parts * n)) {
            let (sums, rest) = partial.split_at_mut(n);
            for part in rest.chunks(n) {
                sums.iter_mut().zip(part).for_each(|(sum, x)| *sum += *x);
            }
            finish.store(sums, 0, out);
        }
        return;
    }
    // The columns of one product from `column` on, as many as `out` holds.
    let one = |product: usize, column: usize, out: &mut [D], scratch: &mut Scratch<A>| {
        let terms = Terms::new(products, a, b, product, 0, k);
        let mut totals = [zero::<A>(); BLOCK];
        for (i, out) in out.chunks_mut(BLOCK).enumerate() {
            let (column, totals) = (column + i * BLOCK, &mut totals[..out.len()]);
            sums(&terms, column, totals, scratch);
            finish.store(totals, column, out);
        }
    };
    let group = WORK.div_ceil(n * k.max(1));
    let small = |i: usize, out: &mut [D]| {
        let mut scratch = Scratch::new();
        out.chunks_mut(n).enumerate().for_each(|(j, out)| one(i * group + j, 0, out, &mut scratch));
    };
    if group > 1 && out.len() <= group * n {
        small(0, out);
    } else if group > 1 {
        each_chunk(out, group * n, &small);
    } else {
        let width = if by_columns(products) { BLOCK } else { WORK.div_ceil(k.max(1)).min(BLOCK) };
        each_chunk(out, n, &|i, out| {
            each_chunk(out, width, &|j, out| one(i, j * width, out, &mut Scratch::new()));
        });
    }
}

/// What is widened on the way.
struct Scratch<A> {
    a: [A; DEPTH],
    b: [A; DEPTH],
}

impl<A: Float> Scratch<A> {
    fn new() -> Scratch<A> {
        Scratch { a: [zero(); DEPTH], b: [zero(); DEPTH] }
    }
}

/// A part of one product.
struct Terms<'a, T> {
    /// From the first element on.
    a: &'a [T],
    /// From the first element on.
    b: &'a [T],
    /// Strides of `a` along `k`, and of `b` along `k` and `n`.
    strides: [usize; 3],
    /// Terms of each sum.
    depth: usize,
}

impl<'a, T: Scalar> Terms<'a, T> {
    /// `depth` terms from number `first` on, or as many as there are.
    fn new(
        products: &Products,
        a: &'a [T],
        b: &'a [T],
        product: usize,
        first: usize,
        depth: usize,
    ) -> Terms<'a, T> {
        let Products { k, a: [_, a_k], b: [b_k, b_n], .. } = *products;
        let [a_start, b_start] = products.at(product);
        let depth = depth.min(k - first);
        // Where there are no terms there need not be an element.
        let from = |data: &'a [T], start: usize| if depth == 0 { &data[..0] } else { &data[start..] };
        Terms {
            a: from(a, a_start + first * a_k),
            b: from(b, b_start + first * b_k),
            strides: [a_k, b_k, b_n],
            depth,
        }
    }
}

/// Sums of columns from `column` on, each along a column.
fn rows<A: Float, T: Scalar<Acc = A>>(
    terms: &Terms<'_, T>,
    column: usize,
    sums: &mut [A],
    scratch: &mut Scratch<A>,
) {
    let [a_k, b_k, b_n] = terms.strides;
    sums.fill(zero());
    for first in (0..terms.depth).step_by(DEPTH) {
        let depth = DEPTH.min(terms.depth - first);
        let a = wide_run(terms.a, first * a_k, a_k, &mut scratch.a[..depth]);
        for (i, sum) in sums.iter_mut().enumerate() {
            let b = wide_run(terms.b, first * b_k + (column + i) * b_n, b_k, &mut scratch.b[..depth]);
            *sum += dot(a, b);
        }
    }
}

/// The same along rows of the matrix, whose stride along `n` is 1. At most [`BLOCK`] columns.
fn columns<A: Float, T: Scalar<Acc = A>>(
    terms: &Terms<'_, T>,
    column: usize,
    sums: &mut [A],
    scratch: &mut Scratch<A>,
) {
    let ([a_k, b_k, _], n) = (terms.strides, sums.len());
    sums.fill(zero());
    for first in (0..terms.depth).step_by(DEPTH) {
        let depth = DEPTH.min(terms.depth - first);
        let a = wide_run(terms.a, first * a_k, a_k, &mut scratch.a[..depth]);
        for (i, a) in a.chunks(4).enumerate() {
            let start = (first + 4 * i) * b_k + column;
            let mut wide = scratch.b.chunks_mut(BLOCK);
            let mut row = |i: usize| {
                // There are four blocks, and no more rows.
                let wide = wide.next().unwrap_or_default();
                wide_run(terms.b, start + i * b_k, 1, &mut wide[..n])
            };
            if let [w, x, y, z] = *a {
                let (p, q, r, s) = (row(0), row(1), row(2), row(3));
                vectorized(
                    #[inline(always)]
                    || {
                        let (p, q, r, s) = (&p[..n], &q[..n], &r[..n], &s[..n]);
                        for (j, sum) in sums.iter_mut().enumerate() {
                            *sum += (w * p[j] + x * q[j]) + (y * r[j] + z * s[j]);
                        }
                    },
                );
            } else {
                for (i, &x) in a.iter().enumerate() {
                    let row = row(i);
                    vectorized(
                        #[inline(always)]
                        || {
                            for (sum, &y) in sums.iter_mut().zip(row) {
                                *sum += x * y;
                            }
                        },
                    );
                }
            }
        }
    }
}

/// The inner product of two runs of one length.
fn dot<A: Float>(a: &[A], b: &[A]) -> A {
    vectorized(
        #[inline(always)]
        || {
            let mut lanes = [zero::<A>(); LANES];
            let (a_chunks, a_rest) = a.as_chunks::<LANES>();
            let (b_chunks, b_rest) = b.as_chunks::<LANES>();
            for (a, b) in a_chunks.iter().zip(b_chunks) {
                for i in 0..LANES {
                    lanes[i] += a[i] * b[i];
                }
            }
            let rest = a_rest.iter().zip(b_rest).fold(zero::<A>(), |sum, (&a, &b)| sum + a * b);
            let mut width = LANES / 2;
            while width > 0 {
                for i in 0..width {
                    lanes[i] += lanes[i + width];
                }
                width /= 2;
            }
            lanes[0] + rest
        },
    )
}
