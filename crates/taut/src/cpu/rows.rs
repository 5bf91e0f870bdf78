//! Ops over rows: the twin of `rows.cuh`.

use super::{
    BLOCK, Scalar, Source, TASK,
    math::Math,
    tasks::{each_chunk, each_chunk_with, each_part_with},
    transpose::transpose,
    vectorized,
};
use crate::tensor::{View, ViewMut};
use bytemuck::{Pod, Zeroable};
use std::ops::{Add, Div, Mul, Sub};
use taut_core::{Layout, Result};

/// What floats compute in.
pub(super) trait Float:
    Math
    + Pod
    + Send
    + Sync
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
{
    const LOWEST: Self;
    /// To the nearest.
    fn of(x: f64) -> Self;
    /// Exactly.
    fn wide(self) -> f64;

    /// The sum of what `f` makes of elements: side by side in their own type, and in f64 from block to block.
    #[inline(always)]
    fn sum_of(x: &[Self], f: impl Fn(Self) -> Self) -> f64 {
        let mut total = 0.0;
        for block in x.chunks(BLOCK) {
            let mut lanes = [Self::of(0.0); LANES];
            let (chunks, rest) = block.as_chunks::<LANES>();
            for chunk in chunks {
                for (lane, &x) in lanes.iter_mut().zip(chunk) {
                    *lane = *lane + f(x);
                }
            }
            let mut wide = lanes.map(Self::wide);
            let mut width = LANES / 2;
            while width > 0 {
                for i in 0..width {
                    wide[i] += wide[i + width];
                }
                width /= 2;
            }
            total += wide[0];
            for &x in rest {
                total += f(x).wide();
            }
        }
        total
    }
}

/// Sums side by side: as many as hide the time that an addition takes.
const LANES: usize = 32;

impl Float for f32 {
    const LOWEST: f32 = f32::NEG_INFINITY;
    fn of(x: f64) -> f32 {
        x as f32
    }
    fn wide(self) -> f64 {
        self.into()
    }
}

impl Float for f64 {
    const LOWEST: f64 = f64::NEG_INFINITY;
    fn of(x: f64) -> f64 {
        x
    }
    fn wide(self) -> f64 {
        self
    }
}

/// What an op makes of a row: a few numbers of each part of it, and then every element another. Implementations are
/// inlined into loops that are compiled for vectors.
pub(super) trait Line<A>: Sync {
    /// What is found in a part of a row.
    type Stat: Copy + Send + Sync;
    /// What the elements of a part are computed by.
    type By: Copy + Send + Sync;

    /// Prepares elements as they were read, from number `start` of the tensor on.
    fn enter(&self, start: usize, x: &mut [A]);
    /// What there is in a part of a row; may replace its elements.
    fn find(&self, x: &mut [A]) -> Self::Stat;
    /// What two parts are together.
    fn join(&self, a: Self::Stat, b: Self::Stat) -> Self::Stat;
    /// For a part in which `own` was found.
    fn prescribe(&self, total: Self::Stat, own: Self::Stat) -> Self::By;
    /// Computes a part as `find` left it, which begins with element `at` of its row.
    fn finish(&self, by: Self::By, at: usize, x: &mut [A]);
    /// For elements as `enter` left them.
    fn prescribe_entered(&self, total: Self::Stat) -> Self::By;
    /// Computes element `at` of neighbouring rows, as `enter` left them.
    fn finish_entered(&self, by: &[Self::By], at: usize, x: &mut [A]);
}

/// Columns that are turned into rows together.
const WIDTH: usize = 128;
/// Elements of each of them.
const HEIGHT: usize = 256;
/// Between the columns there: a power of two would put them all into the same few places of the caches.
const PITCH: usize = HEIGHT + 16;

/// Rows along `axis` of `src` into those of the flat `dst`; without `src`, over `dst` itself.
pub(super) fn rows<T: Scalar<Acc: Float>>(
    line: &impl Line<T::Acc>,
    axis: usize,
    src: Option<View<'_>>,
    mut dst: ViewMut<'_>,
) -> Result<()> {
    let shape = *dst.layout.shape();
    let (n, inner) = (shape[axis], shape[axis + 1..].iter().product());
    let src = src.map(|src| src.source::<T>()).transpose()?;
    let out = dst.flat::<T>()?;
    match (out.is_empty(), inner) {
        (true, _) => {}
        (_, 1) if n > TASK => long(line, n, src.as_ref(), out),
        (_, 1) => whole(line, n, src.as_ref(), out),
        _ => columns(line, n, inner, src.as_ref(), out),
    }
    Ok(())
}

/// Several rows a task.
fn whole<T: Scalar<Acc: Float>>(
    line: &impl Line<T::Acc>,
    n: usize,
    src: Option<&Source<'_, T>>,
    out: &mut [T],
) {
    // Short rows are converted several at a time.
    let (group, task) = ((BLOCK / n).max(1) * n, (TASK / n).max(1) * n);
    let scratch = || vec![T::Acc::zeroed(); group];
    each_chunk_with(out, task, &scratch, &|wide, number, chunk| {
        for (i, narrow) in chunk.chunks_mut(group).enumerate() {
            let start = number * task + i * group;
            if let Some(src) = src {
                src.read(start, narrow);
            }
            widened(narrow, wide, |wide| {
                vectorized(
                    #[inline(always)]
                    || {
                        line.enter(start, wide);
                        for row in wide.chunks_mut(n) {
                            let total = line.find(row);
                            line.finish(line.prescribe(total, total), 0, row);
                        }
                    },
                );
            });
        }
    });
}

/// Lets `f` change elements, if need be in `scratch`.
fn widened<T: Scalar>(narrow: &mut [T], scratch: &mut [T::Acc], f: impl FnOnce(&mut [T::Acc])) {
    if let Some(own) = T::own(narrow) {
        return f(own);
    }
    let wide = &mut scratch[..narrow.len()];
    T::widen(narrow, wide);
    f(wide);
    T::narrow(wide, narrow);
}

/// Several tasks a row, of a size that does not depend on the number of threads.
fn long<T: Scalar<Acc: Float>>(
    line: &impl Line<T::Acc>,
    n: usize,
    src: Option<&Source<'_, T>>,
    out: &mut [T],
) {
    let scratch = || vec![T::Acc::zeroed(); TASK];
    for (number, row) in out.chunks_mut(n).enumerate() {
        let start = |task: usize| number * n + task * TASK;
        let read = |task: usize, narrow: &mut [T]| {
            if let Some(src) = src {
                src.read(start(task), narrow);
            }
        };
        let find = |task: usize, narrow: &[T], wide: &mut [T::Acc]| {
            T::widen(narrow, wide);
            vectorized(
                #[inline(always)]
                || {
                    line.enter(start(task), wide);
                    line.find(wide)
                },
            )
        };
        let found = each_chunk_with(row, TASK, &scratch, &|wide, task, narrow| {
            read(task, narrow);
            find(task, narrow, &mut wide[..narrow.len()])
        });
        let Some(total) = found.into_iter().reduce(|a, b| line.join(a, b)) else { continue };
        each_chunk_with(row, TASK, &scratch, &|wide, task, narrow| {
            let wide = &mut wide[..narrow.len()];
            // Where it was read to: a line only changes what is wide.
            let own = find(task, narrow, wide);
            vectorized(
                #[inline(always)]
                || line.finish(line.prescribe(total, own), task * TASK, wide),
            );
            T::narrow(wide, narrow);
        });
    }
}

/// Rows whose neighbours in memory are those of other rows: what is found in them first, for all of them.
fn columns<T: Scalar<Acc: Float>>(
    line: &impl Line<T::Acc>,
    n: usize,
    inner: usize,
    src: Option<&Source<'_, T>>,
    out: &mut [T],
) {
    let own = src.is_none().then(|| Source::new(&*out, &flat(out.len())));
    let by = find_columns(line, n, inner, src.or(own.as_ref()), out.len());
    // Several lines of `inner` elements at a time, or parts of one.
    let (part, group) = (inner.min(BLOCK), (BLOCK / inner * inner).max(inner.min(BLOCK)));
    let task = if inner > BLOCK { inner } else { TASK / group * group };
    each_chunk(out, task, &|number, chunk| {
        let mut wide = [T::Acc::zeroed(); BLOCK];
        for (i, narrow) in chunk.chunks_mut(group).enumerate() {
            let start = number * task + i * group;
            if let Some(src) = src {
                src.read(start, narrow);
            }
            widened(narrow, &mut wide, |wide| {
                vectorized(
                    #[inline(always)]
                    || {
                        line.enter(start, wide);
                        for (j, across) in wide.chunks_mut(part).enumerate() {
                            let (at, column) = ((start + j * part) / inner, (start + j * part) % inner);
                            line.finish_entered(&by[at / n * inner + column..], at % n, across);
                        }
                    },
                );
            });
        }
    });
}

/// For every column of `numel` elements, what its elements are computed by.
fn find_columns<T: Scalar<Acc: Float>, L: Line<T::Acc>>(
    line: &L,
    n: usize,
    inner: usize,
    src: Option<&Source<'_, T>>,
    numel: usize,
) -> Vec<L::By> {
    let blocks = inner.div_ceil(WIDTH);
    let scratch = || (vec![T::Acc::zeroed(); WIDTH * HEIGHT], vec![T::Acc::zeroed(); WIDTH * PITCH]);
    let found = each_part_with(numel / n / inner * blocks, &scratch, &|(lines, turned), task| {
        let (outer, first) = (task / blocks, task % blocks * WIDTH);
        let width = WIDTH.min(inner - first);
        let mut narrow = [T::zeroed(); WIDTH];
        let narrow = &mut narrow[..width];
        let mut totals: Vec<Option<L::Stat>> = vec![None; width];
        for top in (0..n).step_by(HEIGHT) {
            let height = HEIGHT.min(n - top);
            for (k, wide) in lines.chunks_exact_mut(width).take(height).enumerate() {
                let start = (outer * n + top + k) * inner + first;
                if let Some(src) = src {
                    src.read(start, narrow);
                }
                T::widen(narrow, wide);
                line.enter(start, wide);
            }
            let mut columns: Vec<_> =
                turned.chunks_mut(PITCH).take(width).map(|column| &mut column[..height]).collect();
            transpose(lines, 1, width, &mut columns);
            vectorized(
                #[inline(always)]
                || {
                    for (total, column) in totals.iter_mut().zip(turned.chunks_mut(PITCH)) {
                        let own = line.find(&mut column[..height]);
                        *total = Some(total.map_or(own, |total| line.join(total, own)));
                    }
                },
            );
        }
        totals.into_iter().flatten().map(|total| line.prescribe_entered(total)).collect::<Vec<_>>()
    });
    found.concat()
}

fn flat(numel: usize) -> Layout {
    // As many elements as there are make a sound shape.
    taut_core::Shape::new(&[numel]).map_or(Layout::contiguous(taut_core::Shape::SCALAR), Layout::contiguous)
}
