//! The twin of `softmax.cu`.

use super::{
    BLOCK, Source,
    rows::{Float, Line, rows},
    with_float,
};
use crate::tensor::{View, ViewMut};
use taut_core::{Result, Softmax};
use taut_cuda::launch::softmax::Scaling;

/// `dst = op(scale * src)` along `axis`, where `dst` is flat; without `src`, over `dst` itself. The mask has the shape of
/// `dst`.
pub(crate) fn softmax(
    op: Softmax,
    axis: usize,
    scaling: Scaling,
    src: Option<View<'_>>,
    mask: Option<View<'_>>,
    dst: ViewMut<'_>,
) -> Result<()> {
    let mask = mask.map(|mask| mask.source::<u8>()).transpose()?;
    with_float!(dst.dtype, "softmax", T => {
        let enter = Enter { scale: Float::of(scaling.scale.into()), mask };
        match op {
            Softmax::Plain | Softmax::Masked => {
                rows::<T>(&Plain { enter, nothing: Float::of(scaling.nothing.into()) }, axis, src, dst)
            }
            Softmax::Log => rows::<T>(&Log { enter }, axis, src, dst),
        }
    })
}

/// What becomes of elements before all else.
struct Enter<'a, A> {
    scale: A,
    mask: Option<Source<'a, u8>>,
}

impl<A: Float> Enter<'_, A> {
    #[inline(always)]
    fn enter(&self, start: usize, x: &mut [A]) {
        let scale = self.scale;
        if scale.wide() != 1.0 {
            for x in &mut *x {
                *x = *x * scale;
            }
        }
        let Some(mask) = &self.mask else { return };
        let mut truth = [0; BLOCK];
        for (i, x) in x.chunks_mut(BLOCK).enumerate() {
            let truth = &mut truth[..x.len()];
            mask.read(start + i * BLOCK, truth);
            for (x, &truth) in x.iter_mut().zip(&*truth) {
                *x = if truth == 0 { A::LOWEST } else { *x };
            }
        }
    }
}

/// The largest element, and the sum of `exp(x - max)`.
#[derive(Clone, Copy)]
struct Peak<A> {
    max: A,
    sum: f64,
}

impl<A: Float> Peak<A> {
    /// `exp(x - max)` where -inf counts for nothing, even if there is nothing else.
    #[inline(always)]
    fn below(x: A, max: A) -> A {
        if x == A::LOWEST { A::of(0.0) } else { A::exp(x - max) }
    }

    #[inline(always)]
    fn join(a: Peak<A>, b: Peak<A>) -> Peak<A> {
        let max = if b.max > a.max { b.max } else { a.max };
        let share = |part: Peak<A>| part.sum * Peak::below(part.max, max).wide();
        Peak { max, sum: share(a) + share(b) }
    }
}

/// What is taken off before `exp`: the largest element, and 0 where that is -inf.
#[inline(always)]
pub(super) fn shift<A: Float>(max: A) -> A {
    if max == A::LOWEST { A::of(0.0) } else { max }
}

/// NaN plays no part: it shows in the sum.
#[inline(always)]
pub(super) fn max<A: Float>(x: &[A]) -> A {
    let larger = |x: A, max: A| if x > max { x } else { max };
    let mut lanes = [A::LOWEST; 32];
    let (chunks, rest) = x.as_chunks::<32>();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = larger(x, *lane);
        }
    }
    let mut width = 16;
    while width > 0 {
        for i in 0..width {
            lanes[i] = larger(lanes[i + width], lanes[i]);
        }
        width /= 2;
    }
    rest.iter().fold(lanes[0], |max, &x| larger(x, max))
}

/// `exp(x - max) / sum`.
struct Plain<'a, A> {
    enter: Enter<'a, A>,
    /// The result where nothing is larger than -inf.
    nothing: A,
}

#[derive(Clone, Copy)]
struct Ratio<A> {
    max: A,
    factor: A,
}

impl<A: Float> Plain<'_, A> {
    #[inline(always)]
    fn factor(&self, total: Peak<A>, share: A) -> A {
        if total.sum == 0.0 { self.nothing } else { A::of(share.wide() / total.sum) }
    }
}

impl<A: Float> Line<A> for Plain<'_, A> {
    type Stat = Peak<A>;
    type By = Ratio<A>;

    #[inline(always)]
    fn enter(&self, start: usize, x: &mut [A]) {
        self.enter.enter(start, x);
    }

    #[inline(always)]
    fn find(&self, x: &mut [A]) -> Peak<A> {
        let max = max(x);
        let (shift, mut total) = (shift(max), 0.0);
        for x in x.chunks_mut(BLOCK) {
            for x in &mut *x {
                *x = A::exp(*x - shift);
            }
            total += A::sum_of(
                x,
                #[inline(always)]
                |x| x,
            );
        }
        Peak { max, sum: total }
    }

    #[inline(always)]
    fn join(&self, a: Peak<A>, b: Peak<A>) -> Peak<A> {
        Peak::join(a, b)
    }

    #[inline(always)]
    fn prescribe(&self, total: Peak<A>, own: Peak<A>) -> Ratio<A> {
        Ratio { max: own.max, factor: self.factor(total, Peak::below(own.max, total.max)) }
    }

    #[inline(always)]
    fn finish(&self, by: Ratio<A>, _: usize, x: &mut [A]) {
        for x in x {
            *x = *x * by.factor;
        }
    }

    #[inline(always)]
    fn prescribe_entered(&self, total: Peak<A>) -> Ratio<A> {
        Ratio { max: shift(total.max), factor: self.factor(total, A::of(1.0)) }
    }

    #[inline(always)]
    fn finish_entered(&self, by: &[Ratio<A>], _: usize, x: &mut [A]) {
        for (x, by) in x.iter_mut().zip(by) {
            *x = A::exp(*x - by.max) * by.factor;
        }
    }
}

/// `x - max - ln(sum)`.
struct Log<'a, A> {
    enter: Enter<'a, A>,
}

#[derive(Clone, Copy)]
struct Shift<A> {
    max: A,
    log: A,
}

impl<A: Float> Line<A> for Log<'_, A> {
    type Stat = Peak<A>;
    type By = Shift<A>;

    #[inline(always)]
    fn enter(&self, start: usize, x: &mut [A]) {
        self.enter.enter(start, x);
    }

    #[inline(always)]
    fn find(&self, x: &mut [A]) -> Peak<A> {
        let max = max(x);
        let (shift, mut total) = (shift(max), 0.0);
        let mut powers = [A::of(0.0); BLOCK];
        for x in x.chunks(BLOCK) {
            for (power, &x) in powers.iter_mut().zip(x) {
                *power = A::exp(x - shift);
            }
            total += A::sum_of(
                &powers[..x.len()],
                #[inline(always)]
                |x| x,
            );
        }
        Peak { max, sum: total }
    }

    #[inline(always)]
    fn join(&self, a: Peak<A>, b: Peak<A>) -> Peak<A> {
        Peak::join(a, b)
    }

    #[inline(always)]
    fn prescribe(&self, total: Peak<A>, _: Peak<A>) -> Shift<A> {
        self.prescribe_entered(total)
    }

    #[inline(always)]
    fn finish(&self, by: Shift<A>, _: usize, x: &mut [A]) {
        for x in x {
            *x = *x - by.max - by.log;
        }
    }

    #[inline(always)]
    fn prescribe_entered(&self, total: Peak<A>) -> Shift<A> {
        Shift { max: total.max, log: A::of(total.sum.ln()) }
    }

    #[inline(always)]
    fn finish_entered(&self, by: &[Shift<A>], _: usize, x: &mut [A]) {
        for (x, by) in x.iter_mut().zip(by) {
            *x = *x - by.max - by.log;
        }
    }
}
