//! The twin of `copy.cu`: casts and strided copies.

use super::{BLOCK, Scalar, Source, TASK, runs::each_run, scalar::each, transpose::transpose, with_scalar};
use crate::tensor::{View, ViewMut};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;
use taut_core::{Layout, Result};

/// Writes the elements of `src`, cast, to `dst` of the same shape, whatever its strides. The two do not overlap.
pub(crate) fn copy(src: View<'_>, mut dst: ViewMut<'_>) -> Result<()> {
    let layouts = Layout::collapse_by_last([*src.layout, *dst.layout]);
    if src.dtype != dst.dtype {
        return with_scalar!(src.dtype, S => cast_from::<S>(src, dst, layouts));
    }
    match dst.dtype.size() {
        1 => move_elements::<u8>(src.data()?, dst.data()?, layouts),
        2 => move_elements::<u16>(src.data()?, dst.data()?, layouts),
        4 => move_elements::<u32>(src.data()?, dst.data()?, layouts),
        _ => move_elements::<u64>(src.data()?, dst.data()?, layouts),
    }
    Ok(())
}

fn cast_from<S: Scalar>(src: View<'_>, mut dst: ViewMut<'_>, layouts: [Layout; 2]) -> Result<()> {
    let data = src.data::<S>()?;
    with_scalar!(dst.dtype, D => cast::<S, D>(data, dst.data()?, layouts));
    Ok(())
}

fn cast<S: Scalar, D: Scalar>(src: &[S], dst: &mut [D], [from, to]: [Layout; 2]) {
    let src = Source::new(src, &from);
    each_run(dst, &to, &|first, run| {
        let (mut narrow, mut wide) = ([S::zeroed(); BLOCK], [S::Acc::zeroed(); BLOCK]);
        let src = src.part(first, run.len());
        for (i, out) in run.chunks_mut(BLOCK).enumerate() {
            let block = src.get(i * BLOCK, &mut narrow[..out.len()]);
            S::Acc::cast(S::wide(block, &mut wide), out);
        }
    });
}

/// A type that casts start from.
pub(crate) trait Casts: Sized {
    /// Converts as many elements as both hold.
    fn cast<D: Scalar>(src: &[Self], dst: &mut [D]);
}

impl Casts for f32 {
    fn cast<D: Scalar>(src: &[f32], dst: &mut [D]) {
        D::from_f32s(src, dst);
    }
}

impl Casts for f64 {
    fn cast<D: Scalar>(src: &[f64], dst: &mut [D]) {
        each(src, dst, D::from_f64);
    }
}

impl Casts for i64 {
    fn cast<D: Scalar>(src: &[i64], dst: &mut [D]) {
        each(src, dst, D::from_i64);
    }
}

fn move_elements<T: Pod + Send + Sync>(src: &[T], dst: &mut [T], [from, to]: [Layout; 2]) {
    match Crossing::of(&from, &to) {
        Some(crossing) => crossing.run(&src[from.offset()..], &mut dst[to.offset()..], 0),
        None => {
            let src = Source::new(src, &from);
            each_run(dst, &to, &|first, run| src.read(first, run));
        }
    }
}

/// A copy between neighbours on one axis and neighbours on another.
struct Crossing<'a> {
    dims: &'a [usize],
    from: &'a [usize],
    to: &'a [usize],
    /// The axis along which neighbours in the source lie; in the destination it is the last.
    near: usize,
}

/// Rows that a task takes: a few cache lines of every column.
const ROWS: usize = 64;
/// Tasks that are enough for every thread to get some.
const ENOUGH: usize = 32;
/// Bytes that stay in the first cache.
const NEAR_BYTES: usize = 16 * 1024;

impl<'a> Crossing<'a> {
    fn of(from: &'a Layout, to: &'a Layout) -> Option<Crossing<'a>> {
        let last = from.rank().checked_sub(1)?;
        let near =
            (0..last).filter(|&axis| from.strides()[axis] > 0).min_by_key(|&axis| from.strides()[axis])?;
        let crosses =
            from.numel() > 0 && to.strides()[last] == 1 && from.strides()[near] < from.strides()[last];
        crosses.then(|| Crossing { dims: from.shape(), from: from.strides(), to: to.strides(), near })
    }

    /// Copies what the axes from `axis` on show.
    fn run<T: Pod + Send + Sync>(&self, src: &[T], dst: &mut [T], axis: usize) {
        let (dim, pitch, stride) = (self.dims[axis], self.from[axis], self.to[axis]);
        if axis < self.near {
            // Strides fall and nothing overlaps, so that all that an index of this axis shows is in a chunk of its own.
            let numel = self.dims[axis + 1..].iter().product::<usize>();
            let parts = dst.par_chunks_mut(stride).take(dim).with_min_len((TASK / numel).max(1));
            return parts.enumerate().for_each(|(i, dst)| self.run(&src[i * pitch..], dst, axis + 1));
        }
        let (step, width) = (self.from[self.dims.len() - 1], self.dims[self.dims.len() - 1]);
        let adjoining = axis + 2 == self.dims.len();
        if adjoining && self.dims[..axis].iter().product::<usize>() * dim.div_ceil(ROWS) < ENOUGH {
            // Few long rows are cut across.
            let len = (NEAR_BYTES / size_of::<T>() / dim.min(ROWS)).max(64);
            let mut tasks: Vec<Vec<&mut [T]>> = Vec::new();
            tasks.resize_with(width.div_ceil(len), || Vec::with_capacity(dim));
            for row in dst.chunks_mut(stride).take(dim) {
                tasks.iter_mut().zip(row[..width].chunks_mut(len)).for_each(|(task, piece)| task.push(piece));
            }
            let tasks = tasks.into_par_iter().enumerate();
            return tasks.for_each(|(i, mut rows)| transpose(&src[i * len * step..], pitch, step, &mut rows));
        }
        let blocks = dst.par_chunks_mut(stride * ROWS).take(dim.div_ceil(ROWS)).enumerate();
        blocks.for_each(|(i, dst)| {
            let src = &src[i * ROWS * pitch..];
            let rows = ROWS.min(dim - i * ROWS);
            self.between(axis + 1, 0, 0, &mut |from, to| {
                let rows = dst.chunks_mut(stride).take(rows).map(|row| &mut row[to..][..width]);
                transpose(&src[from..], pitch, step, &mut rows.collect::<Vec<_>>());
            });
        });
    }

    /// Calls `f` with all pairs of positions that the axes from `axis` to the last but one show.
    fn between(&self, axis: usize, from: usize, to: usize, f: &mut impl FnMut(usize, usize)) {
        if axis + 1 == self.dims.len() {
            return f(from, to);
        }
        for i in 0..self.dims[axis] {
            self.between(axis + 1, from + i * self.from[axis], to + i * self.to[axis], f);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taut_core::Shape;

    fn whole(dims: &[usize]) -> Layout {
        Layout::contiguous(Shape::new(dims).unwrap())
    }

    /// Every element gets the one with its coordinates, and no other is touched.
    fn check<T: Pod + Send + Sync + PartialEq + std::fmt::Debug>(
        from: Layout,
        to: Layout,
        number: fn(usize) -> T,
    ) {
        let src: Vec<T> = (0..from.end()).map(number).collect();
        let mut dst = vec![number(usize::MAX); to.end() + 3];
        let mut want = dst.clone();
        from.positions().zip(to.positions()).for_each(|(from, to)| want[to] = src[from]);
        move_elements(&src, &mut dst, Layout::collapse_by_last([from, to]));
        assert!(dst == want, "{from:?} to {to:?}");
    }

    #[test]
    fn all_orders_reach_all_orders() {
        let permuted = |dims: &[usize], [a, b]: [usize; 2], [c, d]: [usize; 2]| {
            whole(dims).transposed(a, b).unwrap().transposed(c, d).unwrap()
        };
        for dims in [[3, 70, 90], [130, 5, 67], [90, 200, 1], [2, 33, 3000], [70, 64, 64], [4, 3, 20_000]] {
            for (first, second) in [([0, 1], [1, 2]), ([0, 2], [0, 0]), ([1, 2], [0, 0]), ([0, 1], [0, 2])] {
                let from = permuted(&dims, first, second);
                let shape = from.shape();
                let flat = Layout::contiguous(*shape);
                let wide: Vec<usize> = shape.iter().map(|dim| dim + 2).collect();
                let within = shape
                    .iter()
                    .enumerate()
                    .fold(whole(&wide), |layout, (axis, dim)| layout.sliced(axis, 1..dim + 1).unwrap());
                for to in [flat, within] {
                    check(from, to, |i| i as u8);
                    check(from, to, |i| i as u16);
                    check(from, to, |i| i as u32);
                    check(from, to, |i| i as u64);
                    check(to, from, |i| i as u32);
                }
            }
        }
    }

    #[test]
    fn broadcasts_and_single_elements() {
        let shape = |dims: &[usize]| Shape::new(dims).unwrap();
        for (small, large) in
            [(&[70][..], &[300, 70][..]), (&[300, 1], &[300, 70]), (&[], &[5]), (&[3, 1, 70], &[3, 9, 70])]
        {
            let from = whole(small).broadcast_to(shape(large)).unwrap();
            check(from, whole(large), |i| i as u32);
            if large.len() > 1 {
                let last = large.len() - 1;
                let turned = from.transposed(0, last).unwrap();
                check(turned, Layout::contiguous(*turned.shape()), |i| i as u32);
            }
        }
        check(whole(&[]), whole(&[]), |i| i as u32);
        check(whole(&[3, 0]), whole(&[3, 0]), |i| i as u32);
    }
}
