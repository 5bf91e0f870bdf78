//! Ops over the rows of two operands, a gradient and what goes with it: a few numbers are found over all pairs of a row,
//! and then every gradient becomes another.

use super::{
    BLOCK, Scalar, Source, TASK,
    rows::Float,
    tasks::{each_chunk, each_chunk_with, each_part},
    transpose::transpose,
    vectorized,
};
use crate::tensor::{View, ViewMut};
use bytemuck::Zeroable;
use std::ops::Range;
use taut_core::Result;

/// What an op makes of rows. Implementations are inlined into loops that are compiled for vectors.
pub(super) trait Pairs<A>: Sync {
    /// What is found in a part of a row.
    type Stat: Copy + Send + Sync;
    /// What its gradients are computed by.
    type By: Copy + Send + Sync;

    /// What there is in a part of a row, from element `at` on.
    fn find(&self, at: usize, grad: &[A], other: &[A]) -> Self::Stat;
    /// What two parts are together, the first from earlier elements.
    fn join(&self, a: Self::Stat, b: Self::Stat) -> Self::Stat;
    /// For a whole row.
    fn prescribe(&self, total: Self::Stat) -> Self::By;
    /// What element `at` becomes.
    fn value(&self, by: Self::By, at: usize, grad: A, other: A) -> A;
}

/// Columns that are turned into rows together, and elements of each of them.
const WIDTH: usize = 64;
const HEIGHT: usize = 256;
/// Between the columns there: a power of two would put them all into the same few places of the caches.
const PITCH: usize = HEIGHT + 16;

/// Rows along `axis` of `grad` and `other` into those of the flat `dst`; without `grad`, it stands in `dst`.
pub(super) fn row_pairs<T: Scalar<Acc: Float>>(
    op: &impl Pairs<T::Acc>,
    axis: usize,
    grad: Option<View<'_>>,
    other: View<'_>,
    mut dst: ViewMut<'_>,
) -> Result<()> {
    let shape = *dst.layout.shape();
    let (n, inner) = (shape[axis], shape[axis + 1..].iter().product());
    let (grad, other) = (grad.map(|grad| grad.source::<T>()).transpose()?, other.source::<T>()?);
    let out = dst.flat::<T>()?;
    match (out.is_empty(), inner) {
        (true, _) => {}
        (_, 1) => whole(op, n, grad.as_ref(), &other, out),
        _ => columns(op, n, inner, grad.as_ref(), &other, out),
    }
    Ok(())
}

/// Several rows a task, one by one.
fn whole<T: Scalar<Acc: Float>>(
    op: &impl Pairs<T::Acc>,
    n: usize,
    grad: Option<&Source<'_, T>>,
    other: &Source<'_, T>,
    out: &mut [T],
) {
    let task = (TASK / n).max(1) * n;
    let scratch = || (vec![T::zeroed(); n], vec![T::Acc::zeroed(); n], vec![T::Acc::zeroed(); n]);
    each_chunk_with(out, task, &scratch, &|(narrow, left, right), number, chunk| {
        for (i, row) in chunk.chunks_mut(n).enumerate() {
            let start = number * task + i * n;
            if let Some(grad) = grad {
                grad.read(start, row);
            }
            T::widen(row, left);
            T::widen(other.get(start, narrow), right);
            vectorized(
                #[inline(always)]
                || {
                    let by = op.prescribe(op.find(0, left, right));
                    for (at, (grad, &other)) in left.iter_mut().zip(right.iter()).enumerate() {
                        *grad = op.value(by, at, *grad, other);
                    }
                },
            );
            T::narrow(left, row);
        }
    });
}

/// Rows whose neighbours in memory are those of other rows: what is found in them first, for all of them.
fn columns<T: Scalar<Acc: Float>>(
    op: &impl Pairs<T::Acc>,
    n: usize,
    inner: usize,
    grad: Option<&Source<'_, T>>,
    other: &Source<'_, T>,
    out: &mut [T],
) {
    let blocks = inner.div_ceil(WIDTH);
    let found = {
        let out = &*out;
        let read = |start: usize, narrow: &mut [T]| match grad {
            Some(grad) => grad.read(start, narrow),
            None => narrow.copy_from_slice(&out[start..][..narrow.len()]),
        };
        each_part(out.len() / n / inner * blocks, &|task| {
            let (outer, first) = (task / blocks, task % blocks * WIDTH);
            let columns = first..inner.min(first + WIDTH);
            find_columns(op, n, |line| (outer * n + line) * inner, columns, &read, other)
        })
    };
    let by = found.concat();
    each_chunk(out, inner, &|line, across| {
        let (mut narrow, mut left) = ([T::zeroed(); BLOCK], [T::Acc::zeroed(); BLOCK]);
        let mut right = left;
        for (i, block) in across.chunks_mut(BLOCK).enumerate() {
            let (start, len) = (line * inner + i * BLOCK, block.len());
            if let Some(grad) = grad {
                grad.read(start, block);
            }
            let (left, right) = (&mut left[..len], &mut right[..len]);
            T::widen(block, left);
            T::widen(other.get(start, &mut narrow[..len]), right);
            let by = &by[line / n * inner + i * BLOCK..][..len];
            vectorized(
                #[inline(always)]
                || {
                    for ((grad, &other), &by) in left.iter_mut().zip(right.iter()).zip(by) {
                        *grad = op.value(by, line % n, *grad, other);
                    }
                },
            );
            T::narrow(left, block);
        }
    });
}

/// For some neighbouring columns of `n` elements, what their elements are computed by. `start` is the number of the first
/// element of a line.
fn find_columns<T: Scalar<Acc: Float>, P: Pairs<T::Acc>>(
    op: &P,
    n: usize,
    start: impl Fn(usize) -> usize,
    columns: Range<usize>,
    read: &impl Fn(usize, &mut [T]),
    other: &Source<'_, T>,
) -> Vec<P::By> {
    let width = columns.len();
    let mut narrow = vec![T::zeroed(); width];
    let mut lines = vec![T::Acc::zeroed(); width * HEIGHT];
    let mut turned = [(); 2].map(|()| vec![T::Acc::zeroed(); width * PITCH]);
    let mut totals: Vec<Option<P::Stat>> = vec![None; width];
    for top in (0..n).step_by(HEIGHT) {
        let height = HEIGHT.min(n - top);
        for (operand, turned) in turned.iter_mut().enumerate() {
            for (k, wide) in lines.chunks_exact_mut(width).take(height).enumerate() {
                let start = start(top + k) + columns.start;
                if operand == 0 {
                    read(start, &mut narrow);
                } else {
                    other.read(start, &mut narrow);
                }
                T::widen(&narrow, wide);
            }
            let mut columns: Vec<_> = turned.chunks_mut(PITCH).map(|column| &mut column[..height]).collect();
            transpose(&lines, 1, width, &mut columns);
        }
        let [left, right] = &turned;
        vectorized(
            #[inline(always)]
            || {
                for (total, (left, right)) in
                    totals.iter_mut().zip(left.chunks(PITCH).zip(right.chunks(PITCH)))
                {
                    let own = op.find(top, &left[..height], &right[..height]);
                    *total = Some(total.map_or(own, |total| op.join(total, own)));
                }
            },
        );
    }
    totals.into_iter().flatten().map(|total| op.prescribe(total)).collect()
}

/// The sum of what `f` makes of pairs: side by side in their own type, and in f64 from block to block.
#[inline(always)]
pub(super) fn sum_of<A: Float>(a: &[A], b: &[A], f: impl Fn(A, A) -> A) -> f64 {
    const LANES: usize = 32;
    let mut total = 0.0;
    for (a, b) in a.chunks(BLOCK).zip(b.chunks(BLOCK)) {
        let mut lanes = [A::of(0.0); LANES];
        let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
        for (a, b) in a.iter().zip(b) {
            for (lane, (&a, &b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
                *lane = *lane + f(a, b);
            }
        }
        for lane in lanes {
            total += lane.wide();
        }
        for (&a, &b) in a_rest.iter().zip(b_rest) {
            total += f(a, b).wide();
        }
    }
    total
}
