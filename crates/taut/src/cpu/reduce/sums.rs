//! Sums, products and norms.

use super::{Acc, Fold, Real, Rows, Scalar, Truth, walk::COLUMNS};
use crate::cpu::BLOCK;
use bytemuck::Zeroable;
use half::{bf16, f16};

/// Chains that go side by side, so that the compiler keeps them in vectors.
pub(super) const LANES: usize = 32;

/// An element, and the element that sums of it are.
pub(super) trait Summed: Scalar<Acc: Term> {
    type Out: Scalar;
}

macro_rules! summed {
    ($($t:ty => $out:ty;)*) => {$(
        impl Summed for $t {
            type Out = $out;
        }
    )*};
}

summed! {
    f32 => f32;
    f16 => f16;
    bf16 => bf16;
    f64 => f64;
    i64 => i64;
    u32 => i64;
    u8 => i64;
    Truth => i64;
}

/// The sum, in f32 for a block of f32, and in f64 over blocks.
pub(super) struct Sum;

impl<T: Scalar> Fold<T> for Sum {
    type Part = <T::Acc as Acc>::Total;

    #[inline(always)]
    fn empty(&self) -> Self::Part {
        Zeroable::zeroed()
    }

    #[inline(always)]
    fn row(&self, part: Self::Part, x: &[T], _: usize, wide: &mut [T::Acc; BLOCK]) -> Self::Part {
        T::Acc::sum(part, T::wide(x, wide))
    }

    #[inline(always)]
    fn columns(&self, parts: &mut [Self::Part], rows: &Rows<'_, T>) {
        let mut sums = [T::Acc::zeroed(); COLUMNS];
        let sums = &mut sums[..parts.len()];
        rows.each_wide(|row| sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum = T::Acc::add(*sum, x)));
        for (part, sum) in parts.iter_mut().zip(&*sums) {
            *part = T::Acc::sum(*part, std::slice::from_ref(sum));
        }
    }

    #[inline(always)]
    fn join(&self, a: Self::Part, b: Self::Part) -> Self::Part {
        T::Acc::add_total(a, b)
    }
}

/// The product, in f64 for floats.
pub(super) struct Prod;

/// What goes into a total, and comes out of it.
pub(in crate::cpu) trait Term: Acc {
    const ONE: Self::Total;
    fn total(self) -> Self::Total;
    fn of_total(total: Self::Total) -> Self;
    fn times(a: Self::Total, b: Self::Total) -> Self::Total;
}

macro_rules! terms {
    ($($t:ty, $total:ty, $one:expr, $times:expr;)*) => {$(
        impl Term for $t {
            const ONE: $total = $one;
            #[inline(always)]
            fn total(self) -> $total {
                self.into()
            }
            #[inline(always)]
            fn of_total(total: $total) -> $t {
                total as $t
            }
            #[inline(always)]
            fn times(a: $total, b: $total) -> $total {
                $times(a, b)
            }
        }
    )*};
}

terms! {
    f32, f64, 1.0, |a, b| a * b;
    f64, f64, 1.0, |a, b| a * b;
    i64, i64, 1, i64::wrapping_mul;
}

impl<T: Scalar<Acc: Term>> Fold<T> for Prod {
    type Part = <T::Acc as Acc>::Total;

    #[inline(always)]
    fn empty(&self) -> Self::Part {
        T::Acc::ONE
    }

    #[inline(always)]
    fn row(&self, part: Self::Part, x: &[T], _: usize, wide: &mut [T::Acc; BLOCK]) -> Self::Part {
        let mut lanes = [T::Acc::ONE; LANES];
        let chunks = T::wide(x, wide).chunks_exact(LANES);
        let rest = chunks.remainder().iter().fold(part, |product, x| T::Acc::times(product, x.total()));
        for chunk in chunks {
            lanes.iter_mut().zip(chunk).for_each(|(lane, x)| *lane = T::Acc::times(*lane, x.total()));
        }
        lanes.into_iter().fold(rest, T::Acc::times)
    }

    #[inline(always)]
    fn columns(&self, parts: &mut [Self::Part], rows: &Rows<'_, T>) {
        rows.each_wide(|row| {
            parts.iter_mut().zip(row).for_each(|(part, x)| *part = T::Acc::times(*part, x.total()));
        });
    }

    #[inline(always)]
    fn join(&self, a: Self::Part, b: Self::Part) -> Self::Part {
        T::Acc::times(a, b)
    }
}

/// The root of the sum of squares, in f64.
pub(super) struct Norm;

/// Sums of squares of numbers too large to be squared, of those too small, and of the others. Only f64 has the first two:
/// see `Squares` in `reduce_sums.cu`.
#[derive(Clone, Copy, Default)]
pub(in crate::cpu) struct Squares {
    large: f64,
    usual: f64,
    small: f64,
}

/// Beyond these, squares of f64 are summed scaled: 2^400 and 2^-400.
const LARGE: f64 = f64::from_bits((1023 + 400) << 52);
const SMALL: f64 = f64::from_bits((1023 - 400) << 52);
/// 2^700 and 2^-700.
const UP: f64 = f64::from_bits((1023 + 700) << 52);
const DOWN: f64 = f64::from_bits((1023 - 700) << 52);

impl Squares {
    #[inline(always)]
    pub(in crate::cpu) fn with(mut self, x: f64) -> Squares {
        let size = x.abs();
        if size > LARGE {
            self.large += (x * DOWN) * (x * DOWN);
        } else if size < SMALL {
            self.small += (x * UP) * (x * UP);
        } else {
            self.usual += x * x;
        }
        self
    }

    /// Of a sum of squares that are far from both ends of f64.
    pub(in crate::cpu) fn usual(usual: f64) -> Squares {
        Squares { usual, ..Squares::default() }
    }

    /// With others.
    #[inline(always)]
    pub(in crate::cpu) fn join(self, other: Squares) -> Squares {
        Squares {
            large: self.large + other.large,
            usual: self.usual + other.usual,
            small: self.small + other.small,
        }
    }

    /// The sum of all.
    pub(in crate::cpu) fn sum(self) -> f64 {
        self.large * UP * UP + self.usual + self.small * DOWN * DOWN
    }

    /// The root of all.
    pub(in crate::cpu) fn root(self) -> f64 {
        if self.large > 0.0 {
            return (self.large + self.usual * DOWN * DOWN).sqrt() * UP;
        }
        if self.usual == 0.0 {
            return self.small.sqrt() * DOWN;
        }
        (self.usual + self.small * DOWN * DOWN).sqrt()
    }
}

impl<T: Scalar<Acc: Real>> Fold<T> for Norm {
    type Part = Squares;

    #[inline(always)]
    fn empty(&self) -> Squares {
        Squares::default()
    }

    #[inline(always)]
    fn row(&self, part: Squares, x: &[T], _: usize, wide: &mut [T::Acc; BLOCK]) -> Squares {
        let x = T::wide(x, wide);
        if size_of::<T>() == 8 {
            return x.iter().fold(part, |part, &x| part.with(x.into()));
        }
        let usual = part.usual + lanes(x, |x| x * x);
        Squares { usual, ..part }
    }

    #[inline(always)]
    fn columns(&self, parts: &mut [Squares], rows: &Rows<'_, T>) {
        if size_of::<T>() == 8 {
            rows.each_wide(|row| {
                parts.iter_mut().zip(row).for_each(|(part, &x)| *part = part.with(x.into()));
            });
            return;
        }
        let mut sums = [0.0; COLUMNS];
        rows.each_wide(|row| {
            for (sum, &x) in sums.iter_mut().zip(row) {
                let x: f64 = x.into();
                *sum += x * x;
            }
        });
        parts.iter_mut().zip(sums).for_each(|(part, sum)| part.usual += sum);
    }

    #[inline(always)]
    fn join(&self, a: Squares, b: Squares) -> Squares {
        a.join(b)
    }
}

/// The sum of `f` of every element, in f64.
#[inline(always)]
pub(in crate::cpu) fn lanes<A: Real>(x: &[A], f: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = [0.0; LANES];
    let chunks = x.chunks_exact(LANES);
    let rest: f64 = chunks.remainder().iter().map(|&x| f(x.into())).sum();
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, &x)| *lane += f(x.into()));
    }
    lanes.iter().sum::<f64>() + rest
}
