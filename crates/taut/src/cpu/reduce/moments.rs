//! Variances, and logarithms of sums of exponentials.

use super::{Acc, Fold, Rows, Scalar, sums::lanes, walk::COLUMNS};
use crate::cpu::{BLOCK, math::Math};
use bytemuck::Zeroable;

/// What floats are computed in.
pub(in crate::cpu) trait Real: Acc + Into<f64> {
    const LEAST: Self;
    fn near(x: f64) -> Self;
    fn less(self, other: Self) -> Self;
    fn exp(self) -> Self;
}

impl Real for f32 {
    const LEAST: f32 = f32::NEG_INFINITY;

    #[inline(always)]
    fn near(x: f64) -> f32 {
        x as f32
    }

    #[inline(always)]
    fn less(self, other: f32) -> f32 {
        self - other
    }

    #[inline(always)]
    fn exp(self) -> f32 {
        Math::exp(self)
    }
}

impl Real for f64 {
    const LEAST: f64 = f64::NEG_INFINITY;

    #[inline(always)]
    fn near(x: f64) -> f64 {
        x
    }

    #[inline(always)]
    fn less(self, other: f64) -> f64 {
        self - other
    }

    #[inline(always)]
    fn exp(self) -> f64 {
        f64::exp(self)
    }
}

/// The variance: Chan, Golub and LeVeque, Algorithms for computing the sample variance, 1983, by blocks.
pub(super) struct Var;

/// The number of elements, their mean, and the sum of squared distances from it.
#[derive(Clone, Copy, Default)]
pub(super) struct Moments {
    n: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    pub(super) fn mean_square(self) -> f64 {
        self.squares / self.n
    }
}

impl<T: Scalar<Acc: Real>> Fold<T> for Var {
    type Part = Moments;

    #[inline(always)]
    fn empty(&self) -> Moments {
        Moments::default()
    }

    #[inline(always)]
    fn row(&self, part: Moments, x: &[T], _: usize, wide: &mut [T::Acc; BLOCK]) -> Moments {
        let (n, x) = (x.len() as f64, T::wide(x, wide));
        // Counted from one of them, so that equal numbers have no variance at all.
        let shift = x.first().map_or(0.0, |&x| x.into());
        let mean = shift + lanes(x, |x| x - shift) / n;
        let squares = lanes(x, |x| (x - mean) * (x - mean));
        Fold::<T>::join(self, part, Moments { n, mean, squares })
    }

    #[inline(always)]
    fn columns(&self, parts: &mut [Moments], rows: &Rows<'_, T>) {
        let n = rows.starts.len() as f64;
        let (mut shifts, mut means, mut squares) = ([0.0; COLUMNS], [0.0; COLUMNS], [0.0; COLUMNS]);
        rows.first_wide(|row| shifts.iter_mut().zip(row).for_each(|(shift, &x)| *shift = x.into()));
        rows.each_wide(|row| {
            for ((mean, shift), &x) in means.iter_mut().zip(&shifts).zip(row) {
                *mean += x.into() - shift;
            }
        });
        means.iter_mut().zip(&shifts).for_each(|(mean, shift)| *mean = shift + *mean / n);
        rows.each_wide(|row| {
            for ((square, mean), &x) in squares.iter_mut().zip(&means).zip(row) {
                let apart = x.into() - mean;
                *square += apart * apart;
            }
        });
        for ((part, mean), squares) in parts.iter_mut().zip(means).zip(squares) {
            *part = Fold::<T>::join(self, *part, Moments { n, mean, squares });
        }
    }

    #[inline(always)]
    fn join(&self, a: Moments, b: Moments) -> Moments {
        if a.n == 0.0 || b.n == 0.0 {
            return if a.n == 0.0 { b } else { a };
        }
        let (n, apart) = (a.n + b.n, b.mean - a.mean);
        let moved = apart * (b.n / n);
        Moments { n, mean: a.mean + moved, squares: a.squares + b.squares + moved * apart * a.n }
    }
}

/// The logarithm of the sum of exponentials: of a block at a time, counted from its largest element.
pub(super) struct LogSumExp;

/// The largest of some numbers, and the sum of `exp(x - largest)`. NaN is in the sum.
#[derive(Clone, Copy)]
pub(super) struct Exponentials {
    largest: f64,
    sum: f64,
}

impl Exponentials {
    pub(super) fn log(self) -> f64 {
        base(self.largest) + self.sum.ln()
    }
}

/// What exponents are counted from: infinity has no distance from itself.
#[inline(always)]
fn base(largest: f64) -> f64 {
    if largest.is_infinite() { 0.0 } else { largest }
}

/// What sums counted from one largest element are multiplied by, to be counted from another.
#[inline(always)]
fn scale(from: f64, to: f64) -> f64 {
    if from == to { 1.0 } else { (from - to).exp() }
}

#[inline(always)]
fn larger<A: Real>(a: A, b: A) -> A {
    if b > a { b } else { a }
}

/// Chains that go side by side.
const LANES: usize = 32;

impl<T: Scalar<Acc: Real>> Fold<T> for LogSumExp {
    type Part = Exponentials;

    #[inline(always)]
    fn empty(&self) -> Exponentials {
        Exponentials { largest: f64::NEG_INFINITY, sum: 0.0 }
    }

    #[inline(always)]
    fn row(&self, part: Exponentials, x: &[T], _: usize, wide: &mut [T::Acc; BLOCK]) -> Exponentials {
        let x = T::wide(x, wide);
        let (mut most, mut sums) = ([T::Acc::LEAST; LANES], [T::Acc::zeroed(); LANES]);
        let chunks = x.chunks_exact(LANES);
        let rest = chunks.remainder();
        for chunk in chunks.clone() {
            most.iter_mut().zip(chunk).for_each(|(most, &x)| *most = larger(*most, x));
        }
        let largest = most.iter().chain(rest).fold(T::Acc::LEAST, |a, &b| larger(a, b));
        let from = T::Acc::near(base(largest.into()));
        for chunk in chunks {
            sums.iter_mut().zip(chunk).for_each(|(sum, x)| *sum = T::Acc::add(*sum, x.less(from).exp()));
        }
        let sum = sums.iter().map(|&sum| sum.into()).sum::<f64>();
        let sum = rest.iter().fold(sum, |sum, x| sum + x.less(from).exp().into());
        Fold::<T>::join(self, part, Exponentials { largest: largest.into(), sum })
    }

    #[inline(always)]
    fn columns(&self, parts: &mut [Exponentials], rows: &Rows<'_, T>) {
        let (mut most, mut sums) = ([T::Acc::LEAST; COLUMNS], [T::Acc::zeroed(); COLUMNS]);
        rows.each_wide(|row| most.iter_mut().zip(row).for_each(|(most, &x)| *most = larger(*most, x)));
        let mut from = most;
        from.iter_mut().for_each(|from| *from = T::Acc::near(base((*from).into())));
        rows.each_wide(|row| {
            for ((sum, from), x) in sums.iter_mut().zip(&from).zip(row) {
                *sum = T::Acc::add(*sum, x.less(*from).exp());
            }
        });
        for ((part, largest), sum) in parts.iter_mut().zip(most).zip(sums) {
            let block = Exponentials { largest: largest.into(), sum: sum.into() };
            *part = Fold::<T>::join(self, *part, block);
        }
    }

    #[inline(always)]
    fn join(&self, a: Exponentials, b: Exponentials) -> Exponentials {
        let largest = larger(a.largest, b.largest);
        let sum = a.sum * scale(a.largest, largest) + b.sum * scale(b.largest, largest);
        Exponentials { largest, sum }
    }
}
