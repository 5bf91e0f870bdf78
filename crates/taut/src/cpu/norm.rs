//! The twin of `norm.cu`.

use super::{
    Scalar,
    rows::{Float, Line, rows},
    with_float,
};
use crate::tensor::{View, ViewMut};
use bytemuck::Zeroable;
use taut_core::{Norm, Result};

/// What there is for each element of a row: factors and what is added, if anything; of the dtype of the op or f32.
#[derive(Clone, Copy)]
pub(crate) struct Along<'a> {
    pub(crate) weight: Option<View<'a>>,
    pub(crate) bias: Option<View<'a>>,
    pub(crate) eps: f32,
}

/// `dst = op(src)` along `axis`, where `dst` is flat; without `src`, over `dst` itself. A sum is already taken.
pub(crate) fn norm(
    op: Norm,
    axis: usize,
    src: Option<View<'_>>,
    along: Along<'_>,
    dst: ViewMut<'_>,
) -> Result<()> {
    let name = op.name();
    let n = dst.layout.shape()[axis] as f64;
    let by_row = |view: Option<View<'_>>| view.map(|view| widened(view, name)).transpose();
    let (weight, bias) = (by_row(along.weight)?, by_row(along.bias)?);
    with_float!(dst.dtype, name, T => {
        type A = <T as Scalar>::Acc;
        let floats = |x: Option<Vec<f64>>| x.map(|x| x.into_iter().map(A::of).collect::<Vec<A>>());
        let (weight, bias, eps) = (floats(weight), floats(bias), f64::from(along.eps));
        match op {
            Norm::Layer | Norm::AddLayer => {
                let scale = |stat: Moment| 1.0 / (stat.squares / stat.count + eps).sqrt();
                rows::<T>(&Affined { find: moment::<A>, scale, weight, bias }, axis, src, dst)
            }
            Norm::Rms | Norm::AddRms => {
                let scale = |stat: Moment| 1.0 / (stat.squares / n + eps).sqrt();
                rows::<T>(&Affined { find: squares::<A>, scale, weight, bias }, axis, src, dst)
            }
            Norm::L2 => {
                // Not `max`, of which NaN would give eps.
                let largest = |norm: f64| if norm < eps { eps } else { norm };
                let scale = |stat: Moment| 1.0 / largest(stat.squares.sqrt());
                rows::<T>(&Affined { find: squares::<A>, scale, weight, bias }, axis, src, dst)
            }
        }
    })
}

/// The elements of a view, exactly.
pub(super) fn widened(view: View<'_>, op: &str) -> Result<Vec<f64>> {
    with_float!(view.dtype, op, T => {
        let mut narrow = vec![T::zeroed(); view.layout.numel()];
        let mut wide = vec![<T as Scalar>::Acc::zeroed(); narrow.len()];
        view.source::<T>()?.read(0, &mut narrow);
        T::widen(&narrow, &mut wide);
        Ok(wide.into_iter().map(Float::wide).collect())
    })
}

/// Of so many elements the mean, and the sum of the squares of what is left without it. Without a mean it stays 0.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) count: f64,
    pub(super) mean: f64,
    pub(super) squares: f64,
}

/// Elements that stay in the first cache while they are read three times.
const PART: usize = 4096;

/// Deviations from the first element, and then from the mean, are small: in f32 they lose nothing that counts.
#[inline(always)]
pub(super) fn moment<A: Float>(x: &[A]) -> Moment {
    let mut parts = x.chunks(PART).map(
        #[inline(always)]
        |x| {
            let (count, origin) = (x.len() as f64, x[0]);
            let sum = A::sum_of(
                x,
                #[inline(always)]
                |x| x - origin,
            );
            let mean = sum / count;
            let center = A::of(mean);
            let squares = A::sum_of(
                x,
                #[inline(always)]
                |x| (x - origin - center) * (x - origin - center),
            );
            // The mean was rounded to the center.
            let off = mean - center.wide();
            Moment { count, mean: origin.wide() + mean, squares: squares - count * off * off }
        },
    );
    let first = parts.next().unwrap_or(Moment { count: 0.0, mean: 0.0, squares: 0.0 });
    parts.fold(first, join)
}

#[inline(always)]
pub(super) fn squares<A: Float>(x: &[A]) -> Moment {
    Moment {
        count: x.len() as f64,
        mean: 0.0,
        squares: A::sum_of(
            x,
            #[inline(always)]
            |x| x * x,
        ),
    }
}

/// Chan, Golub and LeVeque, 1979.
#[inline(always)]
pub(super) fn join(a: Moment, b: Moment) -> Moment {
    let (count, apart) = (a.count + b.count, b.mean - a.mean);
    let share = b.count / count;
    Moment {
        count,
        mean: a.mean + apart * share,
        squares: a.squares + b.squares + apart * apart * a.count * share,
    }
}

/// `(x - mean) * factor * weight + bias`.
struct Affined<A, F, S> {
    find: F,
    /// From the total of a row to the factor.
    scale: S,
    weight: Option<Vec<A>>,
    bias: Option<Vec<A>>,
}

/// The mean in two parts: one alone would be rounded.
#[derive(Clone, Copy)]
struct By<A> {
    mean: A,
    rest: A,
    factor: A,
}

impl<A: Float> By<A> {
    #[inline(always)]
    fn normal(self, x: A) -> A {
        (x - self.mean - self.rest) * self.factor
    }
}

impl<A: Float, F: Fn(&[A]) -> Moment + Sync, S: Fn(Moment) -> f64 + Sync> Line<A> for Affined<A, F, S> {
    type Stat = Moment;
    type By = By<A>;

    #[inline(always)]
    fn enter(&self, _: usize, _: &mut [A]) {}

    #[inline(always)]
    fn find(&self, x: &mut [A]) -> Moment {
        (self.find)(x)
    }

    #[inline(always)]
    fn join(&self, a: Moment, b: Moment) -> Moment {
        join(a, b)
    }

    #[inline(always)]
    fn prescribe(&self, total: Moment, _: Moment) -> By<A> {
        self.prescribe_entered(total)
    }

    #[inline(always)]
    fn finish(&self, by: By<A>, at: usize, x: &mut [A]) {
        match (&self.weight, &self.bias) {
            (Some(weight), Some(bias)) => {
                for ((x, &weight), &bias) in x.iter_mut().zip(&weight[at..]).zip(&bias[at..]) {
                    *x = by.normal(*x) * weight + bias;
                }
            }
            (Some(weight), None) => {
                for (x, &weight) in x.iter_mut().zip(&weight[at..]) {
                    *x = by.normal(*x) * weight;
                }
            }
            (None, Some(bias)) => {
                for (x, &bias) in x.iter_mut().zip(&bias[at..]) {
                    *x = by.normal(*x) + bias;
                }
            }
            (None, None) => {
                for x in x {
                    *x = by.normal(*x);
                }
            }
        }
    }

    #[inline(always)]
    fn prescribe_entered(&self, total: Moment) -> By<A> {
        let mean = A::of(total.mean);
        By { mean, rest: A::of(total.mean - mean.wide()), factor: A::of((self.scale)(total)) }
    }

    #[inline(always)]
    fn finish_entered(&self, by: &[By<A>], at: usize, x: &mut [A]) {
        let own = |of: &Option<Vec<A>>| of.as_ref().map(|of| of[at]);
        let (weight, bias) = (own(&self.weight), own(&self.bias));
        for (x, by) in x.iter_mut().zip(by) {
            *x = by.normal(*x);
        }
        if let Some(weight) = weight {
            for x in &mut *x {
                *x = *x * weight;
            }
        }
        if let Some(bias) = bias {
            for x in x {
                *x = *x + bias;
            }
        }
    }
}
