//! A tile of queries: the keys of its sequence, some at a time, with the softmax of what was seen so far.

use super::{Problem, Rows, Task};
use crate::cpu::{
    Scalar,
    math::Math,
    matmul::{
        panels::pack,
        tile::{LONGEST, Lanes, Strip, width},
    },
    rows::Float,
    softmax::{max, shift},
    vectorized,
};
use bytemuck::Zeroable;
use std::ops::Range;
use taut_cuda::launch::attention::WIDEST;

/// Keys of a tile.
const KEYS: usize = 256;
/// Vectors of a panel: keys and dimensions are often multiples of so many.
const VECTORS: usize = 2;

/// What a thread computes in.
pub(super) struct Scratch<A> {
    q: Vec<A>,
    k: Vec<A>,
    v: Vec<A>,
    /// Of a tile, then weights.
    scores: Vec<A>,
    /// Of values, by weight.
    sums: Vec<A>,
    /// Of keys, or values.
    panel: Vec<A>,
    peaks: Vec<Peak<A>>,
}

/// Of a row, the largest score so far, and the sum of weights.
#[derive(Clone, Copy)]
struct Peak<A> {
    max: A,
    total: f64,
}

impl<A: Float> Scratch<A> {
    /// For tiles of so many queries, of sequences of at most so many keys.
    pub(super) fn new(height: usize, keys: usize, dim: usize) -> Scratch<A> {
        let (keys, zeros) = (keys.min(KEYS), |n: usize| vec![A::zeroed(); n]);
        Scratch {
            q: zeros(height * dim),
            k: zeros(keys * dim),
            v: zeros(keys * dim),
            scores: zeros(height * keys),
            sums: zeros(height * dim),
            panel: zeros(VECTORS * LONGEST * keys.max(dim)),
            peaks: vec![Peak { max: A::LOWEST, total: 0.0 }; height],
        }
    }
}

impl<T: Scalar<Acc: Float + Lanes>> Problem<'_, T> {
    pub(super) fn solve(&self, task: Task<'_, T>, scratch: &mut Scratch<T::Acc>) {
        let Task { sequence, heads, rows, out } = task;
        let (height, dim, pitch) = (rows.len(), self.dim, heads.len() * self.dim);
        let (len, kv_len) = (sequence.queries.len(), sequence.keys.len());
        let first = rows.start - sequence.queries.start;
        let seen = |row: usize| self.options.seen(first + row, len, kv_len);
        for (number, head) in heads.enumerate() {
            let column = number * dim;
            let Scratch { q: own, k: k_wide, v: v_wide, scores, sums, panel, peaks } = &mut *scratch;
            let q = match &self.q {
                Some(q) => q.tile(sequence.number, head, rows.clone(), own),
                None => {
                    for (wide, narrow) in own.chunks_mut(dim).zip(out.chunks(pitch)) {
                        T::widen(&narrow[column..][..dim], wide);
                    }
                    Tile { data: &own[..height * dim], step: dim }
                }
            };
            let (sums, peaks) = (&mut sums[..height * dim], &mut peaks[..height]);
            sums.fill(T::Acc::zeroed());
            peaks.fill(Peak { max: T::Acc::LOWEST, total: 0.0 });
            for start in (0..seen(height - 1)).step_by(KEYS) {
                let count = KEYS.min(kv_len - start);
                let keys = sequence.keys.start + start..sequence.keys.start + start + count;
                let k = self.k.tile(sequence.number, head / self.group, keys.clone(), k_wide);
                let v = self.v.tile(sequence.number, head / self.group, keys, v_wide);
                let scores = &mut scores[..height * count];
                let terms = Terms { depth: dim, strides: [1, k.step] };
                multiply(scores, count, false, q, k, terms, panel);
                let seen = |row: usize| seen(row).saturating_sub(start).min(count);
                vectorized(
                    #[inline(always)]
                    || {
                        let lines = scores.chunks_mut(count).zip(sums.chunks_mut(dim));
                        for (row, ((scores, sums), peak)) in lines.zip(&mut *peaks).enumerate() {
                            peak.raise(scores, seen(row), self.scale, sums);
                        }
                        // Of all rows at once: they are short.
                        for x in &mut *scores {
                            *x = T::Acc::exp(*x);
                        }
                        for (weights, peak) in scores.chunks(count).zip(&mut *peaks) {
                            peak.total += T::Acc::sum_of(
                                weights,
                                #[inline(always)]
                                |x| x,
                            );
                        }
                    },
                );
                if seen(0) < count && !v.is_finite(count, dim) {
                    // 0 times infinity is NaN, which values that a row does not see must not make.
                    for (row, (weights, sums)) in scores.chunks(count).zip(sums.chunks_mut(dim)).enumerate() {
                        for (key, &weight) in weights[..seen(row)].iter().enumerate() {
                            sums.iter_mut()
                                .enumerate()
                                .for_each(|(i, x)| *x += weight * v.data[key * v.step + i]);
                        }
                    }
                } else {
                    let weights = Tile { data: scores, step: count };
                    let terms = Terms { depth: count, strides: [v.step, 1] };
                    multiply(sums, dim, true, weights, v, terms, panel);
                }
            }
            vectorized(
                #[inline(always)]
                || {
                    for (sums, peak) in sums.chunks_mut(dim).zip(&*peaks) {
                        let share = T::Acc::of(1.0 / peak.total);
                        for sum in sums {
                            *sum = if peak.total == 0.0 { T::Acc::zeroed() } else { *sum * share };
                        }
                    }
                },
            );
            for (sums, out) in sums.chunks(dim).zip(out.chunks_mut(pitch)) {
                let out = &mut out[column..][..dim];
                match T::own(out) {
                    Some(out) => out.copy_from_slice(sums),
                    None => T::narrow(sums, out),
                }
            }
        }
    }
}

impl<T: Scalar> Rows<'_, T> {
    /// Rows of a sequence and a head: where they lie if each is contiguous, or else in `wide`.
    fn tile<'t>(
        &'t self,
        sequence: usize,
        head: usize,
        rows: Range<usize>,
        wide: &'t mut [T::Acc],
    ) -> Tile<'t, T::Acc> {
        let (strides, dim) = (self.layout.strides(), self.layout.shape()[3]);
        let start =
            self.layout.offset() + sequence * strides[0] + head * strides[1] + rows.start * strides[2];
        let data = &self.data[start..];
        if size_of::<T>() == size_of::<T::Acc>() && strides[3] == 1 {
            // A type as wide as what it widens to is that type.
            return Tile { data: bytemuck::cast_slice(data), step: strides[2] };
        }
        let wide = &mut wide[..rows.len() * dim];
        if strides[3] == 1 && strides[2] == dim {
            T::widen(&data[..wide.len()], wide);
            return Tile { data: wide, step: dim };
        }
        let mut narrow = [T::zeroed(); WIDEST];
        for (i, wide) in wide.chunks_mut(dim).enumerate() {
            let from = &data[i * strides[2]..];
            if strides[3] == 1 {
                T::widen(&from[..dim], wide);
            } else {
                let narrow = &mut narrow[..dim];
                narrow.iter_mut().enumerate().for_each(|(j, x)| *x = from[j * strides[3]]);
                T::widen(narrow, wide);
            }
        }
        Tile { data: wide, step: dim }
    }
}

/// Contiguous rows.
#[derive(Clone, Copy)]
struct Tile<'a, A> {
    /// From the first element on.
    data: &'a [A],
    /// Elements from row to row.
    step: usize,
}

impl<A: Float> Tile<'_, A> {
    fn is_finite(self, rows: usize, dim: usize) -> bool {
        (0..rows).all(|row| self.data[row * self.step..][..dim].iter().all(|x| x.wide().is_finite()))
    }
}

impl<A: Float> Peak<A> {
    /// Scores become the logarithms of weights, `scale * score - max` with the largest so far; what was summed before is
    /// scaled to that. The row sees the first `seen`; the others get weight 0.
    #[inline(always)]
    fn raise(&mut self, scores: &mut [A], seen: usize, scale: A, sums: &mut [A]) {
        let (scores, others) = scores.split_at_mut(seen);
        others.fill(A::LOWEST);
        for x in &mut *scores {
            *x = *x * scale;
        }
        let own = max(scores);
        let max = if own > self.max { own } else { self.max };
        // Before the first score all sums are 0.
        if max > self.max && self.max > A::LOWEST {
            let factor = A::exp(self.max - max);
            self.total *= factor.wide();
            for x in sums {
                *x = *x * factor;
            }
        }
        let shift = shift(max);
        for x in scores {
            *x = *x - shift;
        }
        self.max = max;
    }
}

/// The terms of each sum of a product.
struct Terms {
    depth: usize,
    /// Of the second factor, along terms and along columns.
    strides: [usize; 2],
}

/// `out = a b`, or `out += a b`, where `out` has so many columns and no gaps.
fn multiply<A: Lanes>(
    out: &mut [A],
    columns: usize,
    add: bool,
    a: Tile<'_, A>,
    b: Tile<'_, A>,
    Terms { depth, strides: [down, right] }: Terms,
    panel: &mut [A],
) {
    let (width, rows) = (width::<A, VECTORS>(), out.len() / columns);
    for column in (0..columns).step_by(width) {
        let (panel, own) = (&mut panel[..width * depth], width.min(columns - column));
        pack(&b.data[column * right..], [down, right], panel, width, own);
        let (a, step, out) = (a.data, a.step, &mut out[column..]);
        Strip::<_, VECTORS> { a, step, panel, out, pitch: columns, rows, columns: own, add, bias: None }
            .multiply();
    }
}
