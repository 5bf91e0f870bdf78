//! Writing a view, whatever its strides, in parallel.

use super::{BLOCK, TASK, tasks::each_chunk};
use bytemuck::Pod;
use rayon::prelude::*;
use taut_core::Layout;

/// Calls `f` with runs of elements of a view in its storage, at most [`TASK`] of them at a time, and the number of the
/// first. `layout` has its largest stride first, shows no element twice, and counts row-major.
///
/// Elements that are no neighbours in memory are gathered, and put back where they were.
pub(super) fn each_run<T: Pod + Send + Sync>(
    data: &mut [T],
    layout: &Layout,
    f: &(dyn Fn(usize, &mut [T]) + Sync),
) {
    match layout.flat() {
        Some(range) => neighbours(&mut data[range], 0, f),
        None => rows(&mut data[layout.offset()..], layout.shape(), layout.strides(), 0, f),
    }
}

fn rows<T: Pod + Send + Sync>(
    data: &mut [T],
    dims: &[usize],
    strides: &[usize],
    first: usize,
    f: &(dyn Fn(usize, &mut [T]) + Sync),
) {
    match (dims, strides) {
        (&[dim], &[1]) => neighbours(&mut data[..dim], first, f),
        (&[dim], &[stride]) => {
            data.par_chunks_mut(stride * BLOCK).enumerate().take(dim.div_ceil(BLOCK)).for_each(
                |(i, part)| {
                    let mut run = [T::zeroed(); BLOCK];
                    let run = &mut run[..BLOCK.min(dim - i * BLOCK)];
                    run.iter_mut().zip(part.iter().step_by(stride)).for_each(|(to, from)| *to = *from);
                    f(first + i * BLOCK, run);
                    part.iter_mut().step_by(stride).zip(run).for_each(|(to, from)| *to = *from);
                },
            );
        }
        (&[dim, ref dims @ ..], &[stride, ref strides @ ..]) => {
            let numel: usize = dims.iter().product();
            // Strides fall and nothing overlaps, so that all that an index of this axis shows is in a chunk of its own.
            let parts = data.par_chunks_mut(stride).take(dim).with_min_len((TASK / numel.max(1)).max(1));
            parts.enumerate().for_each(|(i, part)| rows(part, dims, strides, first + i * numel, f));
        }
        // No axis is a single element, which is flat.
        _ => {}
    }
}

fn neighbours<T: Send>(run: &mut [T], first: usize, f: &(dyn Fn(usize, &mut [T]) + Sync)) {
    if run.len() <= TASK {
        return f(first, run);
    }
    each_chunk(run, TASK, &|i, run| f(first + i * TASK, run));
}

/// Calls `f` with the parts of a run that lie in one row of `len` elements: the row, the column of the first, the part.
pub(super) fn each_row<T>(
    first: usize,
    mut run: &mut [T],
    len: usize,
    mut f: impl FnMut(usize, usize, &mut [T]),
) {
    if run.is_empty() {
        return;
    }
    let (mut row, mut column) = (first / len, first % len);
    while !run.is_empty() {
        let (part, rest) = run.split_at_mut(run.len().min(len - column));
        f(row, column, part);
        (row, column, run) = (row + 1, 0, rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taut_core::Shape;

    /// Every element of the view gets its number, and no other is touched.
    #[test]
    fn runs_cover_the_view_and_nothing_else() {
        let whole = |dims: &[usize]| Layout::contiguous(Shape::new(dims).unwrap());
        let sliced = whole(&[7, 9, 40]).sliced(2, 3..31).unwrap().sliced(0, 1..6).unwrap();
        let layouts = [
            whole(&[5]),
            whole(&[]),
            whole(&[3, 0, 2]),
            whole(&[3, 50_000]).sliced(1, 1..40_000).unwrap(),
            whole(&[5000, 3]).sliced(1, 2..3).unwrap(),
            whole(&[50, 30]).transposed(0, 1).unwrap(),
            sliced,
            sliced.transposed(0, 2).unwrap(),
        ];
        for layout in layouts {
            let [layout] = Layout::collapse_by_last([layout]);
            let mut data = vec![usize::MAX; 150_000];
            each_run(&mut data, &layout, &|first, run| {
                run.iter_mut().enumerate().for_each(|(i, x)| *x = first + i);
            });
            let mut want = vec![usize::MAX; 150_000];
            layout.positions().enumerate().for_each(|(i, position)| want[position] = i);
            assert!(data == want, "{layout:?}");
        }
    }
}
