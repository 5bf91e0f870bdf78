//! The twin of `norm_backward.cu`.

use super::{
    Scalar,
    norm::{Along, Moment, join, moment, squares, widened},
    row_pairs::{Pairs, row_pairs, sum_of},
    rows::Float,
    with_float,
};
use crate::tensor::{View, ViewMut};
use taut_core::{Norm, Result};

const NAME: &str = "norm_backward";

/// `dst` is the gradient of what `op` was taken of along `axis`, from that of its output and the input; `dst` is flat.
/// Without `grad`, it stands in `dst`.
pub(crate) fn norm_backward(
    op: Norm,
    axis: usize,
    grad: Option<View<'_>>,
    input: View<'_>,
    along: Along<'_>,
    dst: ViewMut<'_>,
) -> Result<()> {
    let (n, eps) = (dst.layout.shape()[axis] as f64, f64::from(along.eps));
    let weight = along.weight.map(|view| widened(view, NAME)).transpose()?;
    with_float!(dst.dtype, NAME, T => {
        type A = <T as Scalar>::Acc;
        let weight = weight.map(|weight| weight.into_iter().map(A::of).collect::<Vec<A>>());
        let op = Backward { op, n, eps, weight };
        row_pairs::<T>(&op, axis, grad, input, dst)
    })
}

/// What the elements of a row of `n` are multiplied by.
pub(super) fn factor(op: Norm, x: Moment, n: f64, eps: f64) -> f64 {
    match op.of_rows() {
        Norm::Layer | Norm::AddLayer => 1.0 / (x.squares / x.count + eps).sqrt(),
        Norm::Rms | Norm::AddRms => 1.0 / (x.squares / n + eps).sqrt(),
        Norm::L2 => {
            let norm = x.squares.sqrt();
            // Not `max`, of which NaN would give eps.
            1.0 / if norm < eps { eps } else { norm }
        }
    }
}

/// What is found in elements of a row.
#[inline(always)]
pub(super) fn find<A: Float>(op: Norm, x: &[A]) -> Moment {
    if is_centered(op) { moment(x) } else { squares(x) }
}

#[inline(always)]
fn is_centered(op: Norm) -> bool {
    matches!(op.of_rows(), Norm::Layer)
}

/// `(grad weight - shift - normal slope) factor`, where `normal` is `(x - mean) factor`.
struct Backward<A> {
    op: Norm,
    n: f64,
    eps: f64,
    weight: Option<Vec<A>>,
}

/// What is found in the input; and of the gradient times the weight the sum, and that of products with the input less its
/// mean.
#[derive(Clone, Copy)]
struct Found {
    x: Moment,
    sum: f64,
    product: f64,
}

/// The mean in two parts: one alone would be rounded.
#[derive(Clone, Copy)]
struct By<A> {
    mean: A,
    rest: A,
    factor: A,
    shift: A,
    slope: A,
}

impl<A: Float> Pairs<A> for Backward<A> {
    type Stat = Found;
    type By = By<A>;

    #[inline(always)]
    fn find(&self, at: usize, grad: &[A], x: &[A]) -> Found {
        let found = find(self.op, x);
        let (mean, mut weighted) = (A::of(found.mean), Vec::new());
        let grad = match &self.weight {
            Some(weight) => {
                weighted.extend(grad.iter().zip(&weight[at..]).map(|(&grad, &weight)| grad * weight));
                &weighted[..]
            }
            None => grad,
        };
        let sum = A::sum_of(
            grad,
            #[inline(always)]
            |grad| grad,
        );
        let product = sum_of(
            grad,
            x,
            #[inline(always)]
            |grad, x| grad * (x - mean),
        );
        // The mean was rounded.
        Found { x: found, sum, product: product - (found.mean - mean.wide()) * sum }
    }

    #[inline(always)]
    fn join(&self, a: Found, b: Found) -> Found {
        // Without means there is nothing apart.
        let x = join(a.x, b.x);
        let moved = (a.x.mean - x.mean) * a.sum + (b.x.mean - x.mean) * b.sum;
        Found { x, sum: a.sum + b.sum, product: a.product + b.product + moved }
    }

    #[inline(always)]
    fn prescribe(&self, total: Found) -> By<A> {
        let (op, n, eps) = (self.op, self.n, self.eps);
        let (mean, factor) = (A::of(total.x.mean), factor(op, total.x, n, eps));
        let share = match op.of_rows() {
            // Rows shorter than eps are divided by that, whatever their length.
            Norm::L2 if total.x.squares.sqrt() < eps => 0.0,
            Norm::L2 => 1.0,
            _ => 1.0 / n,
        };
        By {
            mean,
            rest: A::of(total.x.mean - mean.wide()),
            factor: A::of(factor),
            shift: A::of(if is_centered(op) { total.sum / n } else { 0.0 }),
            slope: A::of(factor * total.product * share),
        }
    }

    #[inline(always)]
    fn value(&self, by: By<A>, at: usize, grad: A, x: A) -> A {
        let grad = match &self.weight {
            Some(weight) => grad * weight[at],
            None => grad,
        };
        (grad - by.shift - (x - by.mean - by.rest) * by.factor * by.slope) * by.factor
    }
}
