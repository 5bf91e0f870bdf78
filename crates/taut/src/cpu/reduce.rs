//! The twin of `reduce.cu`.

use super::{Acc, BLOCK, Scalar, Source, TASK, with_scalar};
use crate::tensor::{View, ViewMut};
use bytemuck::Zeroable;
use rayon::prelude::*;
use taut_core::{Layout, Reduce, Result};

/// Columns that are summed side by side.
const COLUMNS: usize = 256;
/// Rows that are summed in the type of the elements before they go to the total.
const ROWS: usize = 256;

/// Reduces `src` over `axes` into the flat `dst`, row-major over the other axes.
pub(crate) fn reduce(op: Reduce, axes: &[usize], src: View<'_>, mut dst: ViewMut<'_>) -> Result<()> {
    let (kept, reduced) = src.layout.split(axes);
    let (kept, reduced) = (kept.collapsed(), reduced.collapsed());
    with_scalar!(src.dtype, T => {
        let data = src.data::<T>()?;
        match op {
            Reduce::ArgMax => {
                let best = |start| fold(data, &reduced, start, None, argmax_block::<T>, first_of_larger);
                let out = dst.flat::<i64>()?;
                each(out, &kept, |start| best(start).map_or(0, |(_, index)| index as i64));
                Ok(())
            }
            Reduce::Sum | Reduce::Mean => {
                let count = (op == Reduce::Mean).then(|| reduced.numel());
                with_scalar!(dst.dtype, D => {
                    let out = dst.flat::<D>()?;
                    sums::<T, D>(data, &kept, &reduced, count, out);
                    Ok(())
                })
            }
        }
    })
}

fn sums<T: Scalar, D: Scalar>(
    data: &[T],
    kept: &Layout,
    reduced: &Layout,
    count: Option<usize>,
    out: &mut [D],
) {
    let unit = |layout: &Layout| layout.strides().last() == Some(&1);
    if unit(kept) && !unit(reduced) {
        return columns(data, kept, reduced, count, out);
    }
    let zero = <T::Acc as Acc>::Total::zeroed();
    let add = |total, block: &[T::Acc], _| T::Acc::sum(total, block);
    each(out, kept, |start| T::Acc::finish(fold(data, reduced, start, zero, add, T::Acc::add_total), count));
}

/// Computes every output from the position of its first element.
fn each<D: Send>(out: &mut [D], kept: &Layout, f: impl Fn(usize) -> D + Sync) {
    out.par_iter_mut().enumerate().for_each(|(i, out)| *out = f(position(kept, i)));
}

/// The position of element number `i` of a layout.
pub(super) fn position(layout: &Layout, i: usize) -> usize {
    match layout.rank().checked_sub(1) {
        None => layout.offset(),
        Some(last) => {
            let len = layout.shape()[last];
            layout.row_position(i / len) + i % len * layout.strides()[last]
        }
    }
}

/// Folds the reduced elements that belong to `start`, in tasks of fixed size so that the result does not depend on the
/// number of threads.
fn fold<T: Scalar, P: Copy + Send + Sync>(
    data: &[T],
    reduced: &Layout,
    start: usize,
    empty: P,
    block: impl Fn(P, &[T::Acc], usize) -> P + Sync,
    join: impl Fn(P, P) -> P,
) -> P {
    let numel = reduced.numel();
    if numel == 0 {
        return empty;
    }
    let source = Source::new(&data[start..], reduced);
    let task = |task: usize| {
        let (mut narrow, mut wide) = ([T::zeroed(); BLOCK], [T::Acc::zeroed(); BLOCK]);
        let end = numel.min((task + 1) * TASK);
        (task * TASK..end).step_by(BLOCK).fold(empty, |part, at| {
            let len = BLOCK.min(end - at);
            source.read(at, &mut narrow[..len]);
            T::widen(&narrow[..len], &mut wide[..len]);
            block(part, &wide[..len], at)
        })
    };
    if numel <= TASK {
        return task(0);
    }
    let parts: Vec<P> = (0..numel.div_ceil(TASK)).into_par_iter().map(task).collect();
    parts.into_iter().reduce(join).unwrap_or(empty)
}

/// Sums whose neighbours in memory belong to neighbouring outputs: whole rows are added.
fn columns<T: Scalar, D: Scalar>(
    data: &[T],
    kept: &Layout,
    reduced: &Layout,
    count: Option<usize>,
    out: &mut [D],
) {
    let width = kept.shape()[kept.rank() - 1];
    let tasks = out.par_chunks_mut(width.max(1)).enumerate().flat_map(|(row, outs)| {
        outs.par_chunks_mut(COLUMNS).enumerate().map(move |(i, out)| (row, i * COLUMNS, out))
    });
    tasks.for_each(|(row, column, out)| {
        let start = kept.row_position(row) + column;
        let n = out.len();
        let mut totals = [<T::Acc as Acc>::Total::zeroed(); COLUMNS];
        let (mut sums, mut wide) = ([T::Acc::zeroed(); COLUMNS], [T::Acc::zeroed(); COLUMNS]);
        let mut rows = 0;
        let flush = |sums: &mut [T::Acc; COLUMNS], totals: &mut [<T::Acc as Acc>::Total; COLUMNS]| {
            for (total, sum) in totals[..n].iter_mut().zip(&mut sums[..n]) {
                *total = T::Acc::sum(*total, std::slice::from_ref(sum));
                *sum = T::Acc::zeroed();
            }
        };
        for position in reduced.positions() {
            T::widen(&data[start + position..][..n], &mut wide[..n]);
            let add = T::Acc::add;
            sums[..n].iter_mut().zip(&wide[..n]).for_each(|(sum, x)| *sum = add(*sum, *x));
            rows += 1;
            if rows % ROWS == 0 {
                flush(&mut sums, &mut totals);
            }
        }
        flush(&mut sums, &mut totals);
        out.iter_mut().zip(totals).for_each(|(out, total)| *out = T::Acc::finish(total, count));
    });
}

/// A value and its position.
type Best<A> = Option<(A, usize)>;

fn argmax_block<T: Scalar>(best: Best<T::Acc>, block: &[T::Acc], start: usize) -> Best<T::Acc> {
    block.iter().enumerate().fold(best, |best, (i, &x)| first_of_larger(best, Some((x, start + i))))
}

/// The larger of two, NaN being largest; of equals the first.
fn first_of_larger<A: Acc>(a: Best<A>, b: Best<A>) -> Best<A> {
    match (a, b) {
        (Some((x, _)), Some((y, _))) if !x.is_nan() && (y.is_nan() || y > x) => b,
        (None, b) => b,
        (a, _) => a,
    }
}
