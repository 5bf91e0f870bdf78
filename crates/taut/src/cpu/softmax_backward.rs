//! The twin of `softmax_backward.cu`.

use super::{
    row_pairs::{Pairs, row_pairs, sum_of},
    rows::Float,
    with_float,
};
use crate::tensor::{View, ViewMut};
use taut_core::{Result, Softmax};

/// `dst` is the gradient of what `op` was taken of along `axis`, from that of its output and the output; `dst` is flat.
/// Without `grad`, it stands in `dst`.
pub(crate) fn softmax_backward(
    op: Softmax,
    axis: usize,
    scale: f32,
    grad: Option<View<'_>>,
    output: View<'_>,
    dst: ViewMut<'_>,
) -> Result<()> {
    with_float!(dst.dtype, "softmax_backward", T => match op {
        Softmax::Plain | Softmax::Masked => {
            row_pairs::<T>(&Plain { scale: Float::of(scale.into()) }, axis, grad, output, dst)
        }
        Softmax::Log => row_pairs::<T>(&Log, axis, grad, output, dst),
    })
}

/// `y (grad - sum(grad y)) scale`; what takes no part, where `y` is 0, has no part in the sum.
struct Plain<A> {
    scale: A,
}

impl<A: Float> Pairs<A> for Plain<A> {
    type Stat = f64;
    type By = A;

    #[inline(always)]
    fn find(&self, _: usize, grad: &[A], output: &[A]) -> f64 {
        let zero = A::of(0.0);
        sum_of(
            grad,
            output,
            #[inline(always)]
            |grad, y| if y == zero { zero } else { grad * y },
        )
    }

    #[inline(always)]
    fn join(&self, a: f64, b: f64) -> f64 {
        a + b
    }

    #[inline(always)]
    fn prescribe(&self, total: f64) -> A {
        A::of(total)
    }

    #[inline(always)]
    fn value(&self, sum: A, _: usize, grad: A, y: A) -> A {
        let zero = A::of(0.0);
        if y == zero { zero } else { y * (grad - sum) * self.scale }
    }
}

/// `grad - e^y sum(grad)`.
struct Log;

impl<A: Float> Pairs<A> for Log {
    type Stat = f64;
    type By = A;

    #[inline(always)]
    fn find(&self, _: usize, grad: &[A], _: &[A]) -> f64 {
        A::sum_of(
            grad,
            #[inline(always)]
            |grad| grad,
        )
    }

    #[inline(always)]
    fn join(&self, a: f64, b: f64) -> f64 {
        a + b
    }

    #[inline(always)]
    fn prescribe(&self, total: f64) -> A {
        A::of(total)
    }

    #[inline(always)]
    fn value(&self, sum: A, _: usize, grad: A, y: A) -> A {
        grad - A::exp(y) * sum
    }
}
