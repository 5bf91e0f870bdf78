//! A tile of queries: the keys of its sequence, some at a time, with the softmax of what was seen so far.

use super::{Problem, Rows, Task};
use crate::cpu::{
    Scalar,
    rows::Float,
    softmax::{max, shift},
    vectorized,
};
use bytemuck::Zeroable;
use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul, traits::ComplexField};
use std::ops::Range;
use taut_cuda::launch::attention::WIDEST;

/// Keys of a tile.
const KEYS: usize = 256;

/// What a thread computes in.
pub(super) struct Scratch<A> {
    q: Vec<A>,
    k: Vec<A>,
    v: Vec<A>,
    /// Of a tile, then weights.
    scores: Vec<A>,
    /// Of values, by weight.
    sums: Vec<A>,
    peaks: Vec<Peak<A>>,
}

/// Of a row, the largest score so far, and the sum of weights.
#[derive(Clone, Copy)]
struct Peak<A> {
    max: A,
    total: f64,
}

impl<A: Float> Scratch<A> {
    pub(super) fn new(height: usize, dim: usize) -> Scratch<A> {
        let zeros = |n: usize| vec![A::zeroed(); n];
        Scratch {
            q: zeros(height * dim),
            k: zeros(KEYS * dim),
            v: zeros(KEYS * dim),
            scores: zeros(height * KEYS),
            sums: zeros(height * dim),
            peaks: vec![Peak { max: A::LOWEST, total: 0.0 }; height],
        }
    }
}

impl<T: Scalar<Acc: Float + ComplexField>> Problem<'_, T> {
    pub(super) fn solve(&self, task: Task<'_, T>, scratch: &mut Scratch<T::Acc>) {
        let Task { sequence, heads, rows, out } = task;
        let (height, dim, pitch) = (rows.len(), self.dim, heads.len() * self.dim);
        let (len, kv_len) = (sequence.queries.len(), sequence.keys.len());
        let first = rows.start - sequence.queries.start;
        let seen = |row: usize| self.options.seen(first + row, len, kv_len);
        for (number, head) in heads.enumerate() {
            let column = number * dim;
            let Scratch { q: own, k: k_wide, v: v_wide, scores, sums, peaks } = &mut *scratch;
            let q = match &self.q {
                Some(q) => q.tile(sequence.number, head, rows.clone(), own),
                None => {
                    for (wide, narrow) in own.chunks_mut(dim).zip(out.chunks(pitch)) {
                        T::widen(&narrow[column..][..dim], wide);
                    }
                    MatRef::from_row_major_slice(&own[..height * dim], height, dim)
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
                multiply(scores, Accum::Replace, q, k.transpose());
                let seen = |row: usize| seen(row).saturating_sub(start).min(count);
                vectorized(
                    #[inline(always)]
                    || {
                        let lines = scores.chunks_mut(count).zip(sums.chunks_mut(dim));
                        for (row, ((scores, sums), peak)) in lines.zip(&mut *peaks).enumerate() {
                            peak.weigh(&mut scores[..], seen(row), self.scale, sums);
                        }
                    },
                );
                if seen(0) < count && !is_finite(v) {
                    // 0 times infinity is NaN, which values that a row does not see must not make.
                    for (row, (weights, sums)) in scores.chunks(count).zip(sums.chunks_mut(dim)).enumerate() {
                        for (key, &weight) in weights[..seen(row)].iter().enumerate() {
                            sums.iter_mut().enumerate().for_each(|(i, x)| *x += weight * v[(key, i)]);
                        }
                    }
                } else {
                    let weights = MatRef::from_row_major_slice(scores, height, count);
                    multiply(sums, Accum::Add, weights, v);
                }
            }
            for ((sums, peak), out) in sums.chunks_mut(dim).zip(peaks).zip(out.chunks_mut(pitch)) {
                let share = T::Acc::of(1.0 / peak.total);
                for sum in &mut *sums {
                    *sum = if peak.total == 0.0 { T::Acc::zeroed() } else { *sum * share };
                }
                T::narrow(sums, &mut out[column..][..dim]);
            }
        }
    }
}

impl<T: Scalar> Rows<'_, T> {
    /// Rows of a sequence and a head: where they lie if `faer` can read them there, or else in `wide`.
    fn tile<'t>(
        &'t self,
        sequence: usize,
        head: usize,
        rows: Range<usize>,
        wide: &'t mut [T::Acc],
    ) -> MatRef<'t, T::Acc> {
        let (strides, dim) = (self.layout.strides(), self.layout.shape()[3]);
        let start =
            self.layout.offset() + sequence * strides[0] + head * strides[1] + rows.start * strides[2];
        let data = &self.data[start..];
        if size_of::<T>() == size_of::<T::Acc>() && strides[3] == 1 && strides[2] >= dim {
            // A type as wide as what it widens to is that type.
            let data = bytemuck::cast_slice(data);
            return MatRef::from_row_major_slice_with_stride(data, rows.len(), dim, strides[2]);
        }
        let wide = &mut wide[..rows.len() * dim];
        if strides[3] == 1 && strides[2] == dim {
            T::widen(&data[..wide.len()], wide);
            return MatRef::from_row_major_slice(wide, rows.len(), dim);
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
        MatRef::from_row_major_slice(wide, rows.len(), dim)
    }
}

impl<A: Float> Peak<A> {
    /// Scores become weights, `exp(scale * score - max)` with the largest so far; what was summed before is scaled to
    /// that. The row sees the first `seen`; the others get weight 0.
    #[inline(always)]
    fn weigh(&mut self, scores: &mut [A], seen: usize, scale: A, sums: &mut [A]) {
        let (scores, others) = scores.split_at_mut(seen);
        others.fill(A::of(0.0));
        for x in &mut *scores {
            *x = *x * scale;
        }
        let own = max(scores);
        let max = if own > self.max { own } else { self.max };
        if max > self.max {
            let factor = A::exp(self.max - max);
            self.total *= factor.wide();
            for x in sums {
                *x = *x * factor;
            }
        }
        let shift = shift(max);
        for x in &mut *scores {
            *x = A::exp(*x - shift);
        }
        self.total += A::sum_of(
            scores,
            #[inline(always)]
            |x| x,
        );
        self.max = max;
    }
}

/// `out = a b`, or `out += a b`.
fn multiply<A: ComplexField>(out: &mut [A], accum: Accum, a: MatRef<'_, A>, b: MatRef<'_, A>) {
    let out = MatMut::from_row_major_slice_mut(out, a.nrows(), b.ncols());
    matmul(out, accum, a, b, A::one_impl(), Par::Seq);
}

fn is_finite<A: Float>(x: MatRef<'_, A>) -> bool {
    (0..x.nrows()).all(|row| (0..x.ncols()).all(|col| x[(row, col)].wide().is_finite()))
}
