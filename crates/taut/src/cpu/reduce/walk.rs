//! How results are made from the elements of a view: along rows, or columns side by side.

use super::{Finish, Fold, Rows};
use crate::cpu::{
    BLOCK, Scalar, Source, TASK,
    tasks::{each_chunk, each_part},
    vectorized,
};
use bytemuck::Zeroable;
use std::ops::Range;
use taut_core::Layout;

/// Results that are made side by side.
pub(super) const COLUMNS: usize = BLOCK;
/// Rows that are taken together.
pub(super) const ROWS: usize = 64;
/// Results of short rows that a task makes at most.
const OUTPUTS: usize = 256;
/// Tasks that columns are cut into at least, where there is work for as many.
const TASKS: usize = 32;

/// Both parts of a layout.
pub(super) struct Plan {
    /// The axes that stay, in the order in which results are made: neighbours in memory last.
    kept: Layout,
    /// Where the results go.
    dst: Layout,
    /// The axes that go.
    reduced: Layout,
}

impl Plan {
    /// With `in_order`, elements are taken in row-major order.
    pub(super) fn new(src: &Layout, axes: &[usize], in_order: bool) -> Plan {
        let (kept, reduced) = src.split(axes);
        let [dst, kept] = Layout::collapse_by_last([Layout::contiguous(*kept.shape()), kept]);
        let reduced = if in_order { reduced.collapsed() } else { Layout::collapse_by_last([reduced])[0] };
        Plan { kept, dst, reduced }
    }

    /// The number of results.
    pub(super) fn outputs(&self) -> usize {
        self.kept.numel()
    }

    /// The number of elements that go into each.
    pub(super) fn n(&self) -> usize {
        self.reduced.numel()
    }

    /// Whether results are not made in the order in which they lie.
    pub(super) fn is_scattered(&self) -> bool {
        self.dst.flat().is_none()
    }

    /// Puts results to their places.
    pub(super) fn scatter<D: Copy>(&self, results: &[D], out: &mut [D]) {
        self.dst.positions().zip(results).for_each(|(position, &result)| out[position] = result);
    }

    /// Makes the results in the order of `kept`.
    pub(super) fn run<T: Scalar, D: Send, F: Fold<T>>(
        &self,
        fold: &F,
        finish: &Finish<'_, F::Part, D>,
        data: &[T],
        out: &mut [D],
    ) {
        let is_unit = |layout: &Layout| layout.strides().last() == Some(&1);
        if is_unit(&self.kept) && !is_unit(&self.reduced) && self.n() > 0 {
            self.columns(fold, finish, data, out);
        } else {
            self.rows(fold, finish, data, out);
        }
    }

    /// Cuts are facts of the shape, so that results do not depend on the number of threads.
    fn rows<T: Scalar, D: Send, F: Fold<T>>(
        &self,
        fold: &F,
        finish: &Finish<'_, F::Part, D>,
        data: &[T],
        out: &mut [D],
    ) {
        let (n, source) = (self.n(), Source::new(data, &self.reduced));
        if n > TASK {
            each_chunk(out, 1, &|i, out| {
                let parts = each_part(n.div_ceil(TASK), &|task| {
                    let mut part = [fold.empty()];
                    self.some_rows(fold, &source, i, cut(task, TASK, n), &mut part);
                    part[0]
                });
                out[0] = finish(parts.into_iter().fold(fold.empty(), |a, b| fold.join(a, b)));
            });
            return;
        }
        let outputs = (TASK / n.max(1)).clamp(1, OUTPUTS);
        each_chunk(out, outputs, &|task, out| {
            let mut parts = [fold.empty(); OUTPUTS];
            let parts = &mut parts[..out.len()];
            self.some_rows(fold, &source, task * outputs, 0..n, parts);
            out.iter_mut().zip(parts).for_each(|(out, part)| *out = finish(*part));
        });
    }

    /// What is kept of a range of the reduced elements, for results from number `first` on.
    fn some_rows<T: Scalar, F: Fold<T>>(
        &self,
        fold: &F,
        source: &Source<'_, T>,
        first: usize,
        range: Range<usize>,
        parts: &mut [F::Part],
    ) {
        let (mut narrow, mut wide) = ([T::zeroed(); BLOCK], [T::Acc::zeroed(); BLOCK]);
        vectorized(
            #[inline(always)]
            || {
                for (i, part) in parts.iter_mut().enumerate() {
                    let shift = position(&self.kept, first + i);
                    for start in range.clone().step_by(BLOCK) {
                        let x = source.block(shift, start, &mut narrow[..BLOCK.min(range.end - start)]);
                        *part = fold.row(*part, x, start, &mut wide);
                        if fold.is_final(*part) {
                            break;
                        }
                    }
                }
            },
        );
    }

    fn columns<T: Scalar, D: Send, F: Fold<T>>(
        &self,
        fold: &F,
        finish: &Finish<'_, F::Part, D>,
        data: &[T],
        out: &mut [D],
    ) {
        let (n, width) = (self.n(), self.kept.shape().last().copied().unwrap_or(1).max(1));
        let tiles = out.len() / width * width.div_ceil(COLUMNS);
        let least = (TASK / width.min(COLUMNS)).max(ROWS);
        let slice = n.div_ceil((TASKS / tiles.max(1)).min(n / least).max(1));
        each_chunk(out, width, &|row, out| {
            each_chunk(out, COLUMNS, &|tile, out| {
                let shift = self.kept.row_position(row) + tile * COLUMNS;
                let width = out.len();
                let parts = each_part(n.div_ceil(slice), &|task| {
                    vectorized(
                        #[inline(always)]
                        || self.tile(fold, data, shift, width, cut(task, slice, n)),
                    )
                });
                for (i, out) in out.iter_mut().enumerate() {
                    *out = finish(parts.iter().fold(fold.empty(), |a, b| fold.join(a, b[i])));
                }
            });
        });
    }

    /// What is kept of some rows of `width` columns.
    #[inline(always)]
    fn tile<T: Scalar, F: Fold<T>>(
        &self,
        fold: &F,
        data: &[T],
        shift: usize,
        width: usize,
        rows: Range<usize>,
    ) -> Vec<F::Part> {
        let mut parts = vec![fold.empty(); width];
        let mut starts = [0; ROWS];
        for first in rows.clone().step_by(ROWS) {
            let starts = &mut starts[..ROWS.min(rows.end - first)];
            starts.iter_mut().enumerate().for_each(|(i, start)| {
                *start = shift + position(&self.reduced, first + i);
            });
            fold.columns(&mut parts, &Rows { data, starts, width, first });
        }
        parts
    }
}

/// Part `task` of `n`, in parts of `len`.
fn cut(task: usize, len: usize, n: usize) -> Range<usize> {
    task * len..n.min((task + 1) * len)
}

/// The position of element number `i` of a layout.
#[inline(always)]
pub(in crate::cpu) fn position(layout: &Layout, i: usize) -> usize {
    match (layout.shape(), layout.strides()) {
        (_, []) => layout.offset(),
        (_, &[stride]) => layout.offset() + i * stride,
        (shape, strides) => {
            let last = strides.len() - 1;
            layout.row_position(i / shape[last]) + i % shape[last] * strides[last]
        }
    }
}
