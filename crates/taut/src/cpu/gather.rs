//! The twin of `gather.cu`.

use super::{TASK, tasks::each_chunk, vectorized};
use crate::tensor::{View, ViewMut};
use bytemuck::Pod;
use rayon::prelude::*;
use std::ops::Range;
use taut_core::{Error, Index, Layout, Result};

/// Moves the element of `src` at `index` on `axis` to each element of the flat `dst`. `index` has the shape of `dst`, and
/// was [checked](check).
pub(crate) fn gather(op: Index, axis: usize, src: View<'_>, index: View<'_>, dst: ViewMut<'_>) -> Result<()> {
    take(op, axis, src, index.data()?, index.layout, dst)
}

/// [`gather`] with an index that is no tensor.
pub(super) fn take(
    op: Index,
    axis: usize,
    src: View<'_>,
    index: &[i64],
    layout: &Layout,
    mut dst: ViewMut<'_>,
) -> Result<()> {
    let along = Along::new(op, axis, src.layout, layout)?;
    match src.dtype.size() {
        1 => along.take::<u8>(src.data()?, index, dst.flat()?),
        2 => along.take::<u16>(src.data()?, index, dst.flat()?),
        4 => along.take::<u32>(src.data()?, index, dst.flat()?),
        _ => along.take::<u64>(src.data()?, index, dst.flat()?),
    }
    Ok(())
}

/// Refuses an index that is not in `0..extent`, where that is the extent of `axis` of `layout`.
pub(crate) fn check(op: Index, axis: usize, layout: &Layout, index: View<'_>) -> Result<()> {
    let extent = layout.axis(op.name(), axis)?;
    let data = index.data::<i64>()?;
    // Each element once, however often a view shows it.
    let at = index.layout.distinct().collapsed();
    let bad = |i: &i64| *i as u64 >= extent as u64;
    let tasks = (0..at.numel().div_ceil(TASK)).into_par_iter();
    let found = tasks.find_map_first(|task| {
        let rows = rows(task * TASK..at.numel().min((task + 1) * TASK), len(&at));
        rows.into_iter().find_map(|(row, columns, _)| {
            let (start, step) = (at.row_position(row), step(&at));
            let mut indices =
                data[start + columns.start * step..].iter().step_by(step.max(1)).take(columns.len());
            // All are looked at before one is looked for, which the compiler makes into vector instructions.
            if step == 1 && !any_from(extent, &data[start + columns.start..start + columns.end]) {
                return None;
            }
            indices.find(|i| bad(i)).copied()
        })
    });
    found.map_or(Ok(()), |i| {
        let (name, shape) = (op.name(), layout.shape());
        Err(Error::shape(format!("{name}: index {i} is out of range of axis {axis} of {shape}")))
    })
}

/// Whether an index is negative, or not below `extent`.
fn any_from(extent: usize, indices: &[i64]) -> bool {
    let mut found = false;
    vectorized(
        #[inline(always)]
        || {
            for &index in indices {
                found |= index as u64 >= extent as u64;
            }
        },
    );
    found
}

/// An operand along an axis, and the indices that lead there.
struct Along {
    /// Where the operand would be taken if every index were 0.
    at: Layout,
    index: Layout,
    /// From element to element of the operand on the axis.
    step: usize,
}

impl Along {
    fn new(op: Index, axis: usize, operand: &Layout, index: &Layout) -> Result<Along> {
        let at = op.along(operand, axis, index.shape())?;
        let [at, index] = Layout::collapse([at, *index]);
        Ok(Along { at, index, step: operand.strides()[axis] })
    }

    /// The elements of `src` at the indices, in order.
    fn take<W: Pod + Send + Sync>(&self, src: &[W], index: &[i64], dst: &mut [W]) {
        let Along { at, index: lay, step: along } = self;
        let (len, step, index_step) = (len(at), step(at), step(lay));
        each_chunk(dst, TASK, &|task, dst| {
            let start = task * TASK;
            for (row, columns, out) in rows(start..start + dst.len(), len) {
                let out = &mut dst[out];
                let from = at.row_position(row) + columns.start * step;
                let first = lay.row_position(row) + columns.start * index_step;
                match (index_step, step) {
                    (0, 1) => {
                        out.copy_from_slice(&src[from + index[first] as usize * along..][..out.len()]);
                    }
                    (1, 0) if *along == 1 => {
                        let row = &src[from..];
                        let indices = &index[first..][..out.len()];
                        out.iter_mut().zip(indices).for_each(|(out, &index)| *out = row[index as usize]);
                    }
                    (1, _) => {
                        let indices = index[first..][..out.len()].iter().enumerate();
                        out.iter_mut().zip(indices).for_each(|(out, (i, &index))| {
                            *out = src[from + i * step + index as usize * along];
                        });
                    }
                    _ => out.iter_mut().enumerate().for_each(|(i, out)| {
                        *out = src[from + i * step + index[first + i * index_step] as usize * along];
                    }),
                }
            }
        });
    }
}

/// The extent of the last axis; 1 for a scalar.
pub(super) fn len(layout: &Layout) -> usize {
    layout.shape().last().copied().unwrap_or(1)
}

/// From element to element on the last axis.
pub(super) fn step(layout: &Layout) -> usize {
    layout.strides().last().copied().unwrap_or(0)
}

/// The rows that elements of these numbers lie in, where a row has `len`: which row, which columns of it, and where they
/// are counted from the first element.
pub(super) fn rows(
    elements: Range<usize>,
    len: usize,
) -> impl Iterator<Item = (usize, Range<usize>, Range<usize>)> {
    let Range { start, end } = elements;
    let none = start >= end;
    let (first, last) = if none { (0, 0) } else { (start / len, (end - 1) / len + 1) };
    (first..last).map(move |row| {
        let (from, to) = ((row * len).max(start), ((row + 1) * len).min(end));
        (row, from - row * len..to - row * len, from - start..to - start)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_cover_the_elements() {
        for (elements, len) in
            [(0..10, 4), (3..4, 4), (4..8, 4), (5..5, 4), (0..0, 1), (7..30, 1), (2..9, 100)]
        {
            let mut next = 0;
            for (row, columns, out) in rows(elements.clone(), len) {
                assert_eq!((out.start, out.len()), (next, columns.len()));
                assert_eq!(row * len + columns.start, elements.start + next);
                assert!(columns.end <= len && !columns.is_empty());
                next = out.end;
            }
            assert_eq!(next, elements.len());
        }
    }
}
