//! The twin of `optimizer.cuh`.

use super::{BLOCK, Scalar, TASK, vectorized};
use crate::tensor::{View, ViewMut};
use bytemuck::{Pod, Zeroable};
use half::{bf16, f16};
use rayon::prelude::*;
use std::{
    ops::{Add, Div, Mul, Range, Sub},
    sync::LazyLock,
};
use taut_core::{CODE_BLOCK, DType, Error, Result, Rule, code, level, signed_code, signed_level};

/// A parameter with all that a step needs of it: flat operands, as [`optim::Step`](crate::optim::Step) describes them.
pub(crate) struct Item<'a> {
    pub(crate) param: ViewMut<'a>,
    pub(crate) master: Option<ViewMut<'a>>,
    pub(crate) grad: View<'a>,
    pub(crate) first: Option<Moment<'a>>,
    pub(crate) second: Option<Moment<'a>>,
}

/// How a moment is kept.
pub(crate) enum Moment<'a> {
    /// In what is computed in.
    Full(ViewMut<'a>),
    /// As codes, and the largest magnitude of each block.
    Codes(ViewMut<'a>, ViewMut<'a>),
}

/// What changes from step to step.
#[derive(Clone, Copy)]
pub(crate) struct Now {
    pub(crate) lr: f32,
    pub(crate) step: f32,
    pub(crate) scale: f32,
}

/// Changes every parameter, its master and its moments as `rule` says.
pub(crate) fn step(rule: Rule, items: Vec<Item<'_>>, now: Now) -> Result<()> {
    let f32s = Update::<f32>::new(rule, now);
    let f64s = Update::<f64>::new(rule, now);
    items.into_par_iter().try_for_each(|item| match (item.param.dtype, item.grad.dtype) {
        (DType::F32, DType::F32) => run::<f32, f32>(&f32s, item),
        (DType::F16, DType::F16) => run::<f16, f16>(&f32s, item),
        (DType::F16, DType::F32) => run::<f16, f32>(&f32s, item),
        (DType::BF16, DType::BF16) => run::<bf16, bf16>(&f32s, item),
        (DType::BF16, DType::F32) => run::<bf16, f32>(&f32s, item),
        (DType::F64, DType::F64) => run::<f64, f64>(&f64s, item),
        (DType::F64, DType::F32) => run::<f64, f32>(&f64s, item),
        (param, grad) => {
            let name = rule.name();
            Err(Error::dtype(format!("{name}: does not take {param} with a gradient of {grad}")))
        }
    })
}

/// What is computed in.
trait Real:
    Pod
    + Send
    + Sync
    + PartialOrd
    + From<f32>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
{
    fn near(x: f64) -> Self;
    fn narrow(self) -> f32;
    fn root(self) -> Self;
}

macro_rules! real {
    ($($t:ty)*) => {$(
        impl Real for $t {
            #[inline(always)]
            fn near(x: f64) -> $t {
                x as $t
            }
            #[inline(always)]
            fn narrow(self) -> f32 {
                self as f32
            }
            #[inline(always)]
            fn root(self) -> $t {
                self.sqrt()
            }
        }
    )*};
}

real!(f32 f64);

/// A rule, and what it takes of a step.
#[derive(Clone, Copy)]
struct Update<A> {
    rule: Rule,
    lr: A,
    scale: A,
    betas: [A; 2],
    rests: [A; 2],
    eps: A,
    decay: A,
    /// What stays of a weight.
    keep: A,
    /// The learning rate over what the first moment has gathered.
    rate: A,
    /// 1 over the root of what the second has gathered.
    root: A,
}

impl<A: Real> Update<A> {
    fn new(rule: Rule, now: Now) -> Update<A> {
        let (betas, lr, decay) =
            (rule.betas().map(f64::from), f64::from(now.lr), f64::from(rule.weight_decay()));
        // 1 - beta^step, without cancellation.
        let gathered = betas.map(|beta| -(f64::from(now.step) * beta.ln()).exp_m1());
        let eps = if let Rule::AdamW(adamw) = rule { adamw.eps } else { 0.0 };
        Update {
            rule,
            lr: A::near(lr),
            scale: A::from(now.scale),
            betas: betas.map(A::near),
            rests: betas.map(|beta| A::near(1.0 - beta)),
            eps: A::from(eps),
            decay: A::near(decay),
            keep: A::near(1.0 - lr * decay),
            rate: A::near(lr / gathered[0]),
            root: A::near(1.0 / gathered[1].sqrt()),
        }
    }

    /// One block, of gradients that are scaled.
    fn apply(&self, p: &mut [A], g: &[A], m: &mut [A], v: &mut [A]) {
        match self.rule {
            Rule::AdamW(_) => vectorized(adamw(self, p, g, m, v)),
            Rule::Lion(_) => vectorized(lion(self, p, g, m)),
            Rule::Sgd(_) if m.is_empty() => vectorized(plain(self, p, g)),
            Rule::Sgd(sgd) if sgd.nesterov => vectorized(nesterov(self, p, g, m)),
            Rule::Sgd(_) => vectorized(momentum(self, p, g, m)),
        }
    }
}

#[inline(always)]
fn adamw<A: Real>(by: &Update<A>, p: &mut [A], g: &[A], m: &mut [A], v: &mut [A]) -> impl FnOnce() {
    #[inline(always)]
    move || {
        for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
            *m = by.betas[0] * *m + by.rests[0] * g;
            *v = by.betas[1] * *v + by.rests[1] * g * g;
            *p = *p * by.keep - by.rate * (*m / (v.root() * by.root + by.eps));
        }
    }
}

#[inline(always)]
fn lion<A: Real>(by: &Update<A>, p: &mut [A], g: &[A], m: &mut [A]) -> impl FnOnce() {
    #[inline(always)]
    move || {
        let (zero, one) = (A::from(0.0), A::from(1.0));
        for ((p, &g), m) in p.iter_mut().zip(g).zip(m) {
            let mix = by.betas[0] * *m + by.rests[0] * g;
            *m = by.betas[1] * *m + by.rests[1] * g;
            // NaN stays.
            let sign = if mix > zero {
                one
            } else if mix < zero {
                zero - one
            } else {
                mix
            };
            *p = *p * by.keep - by.lr * sign;
        }
    }
}

#[inline(always)]
fn plain<A: Real>(by: &Update<A>, p: &mut [A], g: &[A]) -> impl FnOnce() {
    #[inline(always)]
    move || {
        for (p, &g) in p.iter_mut().zip(g) {
            *p = *p - by.lr * (by.decay * *p + g);
        }
    }
}

#[inline(always)]
fn momentum<A: Real>(by: &Update<A>, p: &mut [A], g: &[A], m: &mut [A]) -> impl FnOnce() {
    #[inline(always)]
    move || {
        for ((p, &g), m) in p.iter_mut().zip(g).zip(m) {
            *m = by.betas[0] * *m + (by.decay * *p + g);
            *p = *p - by.lr * *m;
        }
    }
}

#[inline(always)]
fn nesterov<A: Real>(by: &Update<A>, p: &mut [A], g: &[A], m: &mut [A]) -> impl FnOnce() {
    #[inline(always)]
    move || {
        for ((p, &g), m) in p.iter_mut().zip(g).zip(m) {
            let d = by.decay * *p + g;
            *m = by.betas[0] * *m + d;
            *p = *p - by.lr * (by.betas[0] * *m + d);
        }
    }
}

/// What a task takes of a parameter.
struct Part<'a, T, G, A> {
    param: &'a mut [T],
    grad: &'a [G],
    master: Master<'a>,
    first: Kept<'a, A>,
    second: Kept<'a, A>,
}

enum Master<'a> {
    None,
    Full(&'a mut [f32]),
    /// Lower halves.
    Low(&'a mut [u16]),
}

enum Kept<'a, A> {
    None,
    Full(&'a mut [A]),
    Codes(&'a mut [u8], &'a mut [f32]),
}

fn run<T, G>(update: &Update<T::Acc>, mut item: Item<'_>) -> Result<()>
where
    T: Scalar<Acc: Real + From<G::Acc>>,
    G: Scalar,
{
    let grad = item.grad.layout.flat().unwrap_or_default();
    let master = match &mut item.master {
        None => Master::None,
        Some(master) if master.dtype == DType::F32 => Master::Full(master.flat::<f32>()?),
        Some(low) => Master::Low(bytemuck::cast_slice_mut(low.flat::<u8>()?)),
    };
    let mut rest = Part {
        param: item.param.flat::<T>()?,
        grad: &item.grad.data::<G>()?[grad],
        master,
        first: kept(&mut item.first)?,
        second: kept(&mut item.second)?,
    };
    let mut parts = Vec::new();
    while rest.param.len() > TASK {
        let (part, other) = rest.split_at(TASK);
        parts.push(part);
        rest = other;
    }
    parts.push(rest);
    parts.into_par_iter().for_each(|part| part.step(update));
    Ok(())
}

fn kept<'a, A: Pod>(moment: &'a mut Option<Moment<'_>>) -> Result<Kept<'a, A>> {
    Ok(match moment {
        None => Kept::None,
        Some(Moment::Full(full)) => Kept::Full(full.flat()?),
        Some(Moment::Codes(codes, largest)) => Kept::Codes(codes.flat()?, largest.flat()?),
    })
}

impl<'a, T: Scalar<Acc: Real + From<G::Acc>>, G: Scalar> Part<'a, T, G, T::Acc> {
    /// The first `at` elements, whole blocks of codes, and the others.
    fn split_at(self, at: usize) -> (Self, Self) {
        let (param, params) = self.param.split_at_mut(at);
        let (grad, grads) = self.grad.split_at(at);
        let (master, masters) = self.master.split_at(at);
        let (first, firsts) = self.first.split_at(at);
        let (second, seconds) = self.second.split_at(at);
        (
            Part { param, grad, master, first, second },
            Part { param: params, grad: grads, master: masters, first: firsts, second: seconds },
        )
    }

    fn step(mut self, update: &Update<T::Acc>) {
        let (mut p, mut g) = ([T::Acc::zeroed(); BLOCK], [T::Acc::zeroed(); BLOCK]);
        let mut wide = [G::Acc::zeroed(); BLOCK];
        for start in (0..self.param.len()).step_by(BLOCK) {
            let end = self.param.len().min(start + BLOCK);
            let (at, p) = (start..end, &mut p[..end - start]);
            vectorized(scaled(&mut g, G::wide(&self.grad[at.clone()], &mut wide), update.scale));
            self.load(start, p);
            self.first.over(at.clone(), true, |m| {
                self.second.over(at, false, |v| update.apply(p, &g[..p.len()], m, v));
            });
            self.store(start, p);
        }
    }

    /// The weights from `start` on.
    fn load(&self, start: usize, p: &mut [T::Acc]) {
        let at = start..start + p.len();
        match &self.master {
            Master::None => T::widen(&self.param[at], p),
            Master::Full(master) => p.iter_mut().zip(&master[at]).for_each(|(p, &x)| *p = x.into()),
            Master::Low(low) => {
                let high: &[u16] = bytemuck::cast_slice(&self.param[at.clone()]);
                p.iter_mut().zip(high.iter().zip(&low[at])).for_each(|(p, (&h, &l))| *p = join(h, l).into());
            }
        }
    }

    /// The other way.
    fn store(&mut self, start: usize, p: &[T::Acc]) {
        let at = start..start + p.len();
        match &mut self.master {
            Master::None => T::narrow(p, &mut self.param[at]),
            Master::Full(master) => {
                T::narrow(p, &mut self.param[at.clone()]);
                master[at].iter_mut().zip(p).for_each(|(x, p)| *x = p.narrow());
            }
            Master::Low(low) => {
                let high: &mut [u16] = bytemuck::cast_slice_mut(&mut self.param[at.clone()]);
                let planes = high.iter_mut().zip(&mut low[at]);
                planes.zip(p).for_each(|((h, l), p)| (*h, *l) = split(p.narrow()));
            }
        }
    }
}

#[inline(always)]
fn scaled<A: Real + From<B>, B: Copy>(g: &mut [A], grad: &[B], scale: A) -> impl FnOnce() {
    #[inline(always)]
    move || {
        for (g, &x) in g.iter_mut().zip(grad) {
            *g = A::from(x) * scale;
        }
    }
}

/// The f32 of two planes.
#[inline(always)]
fn join(high: u16, low: u16) -> f32 {
    let upper = u32::from(high).wrapping_sub(u32::from(low >> 15));
    f32::from_bits(upper << 16 | u32::from(low))
}

/// The upper half of an f32 rounded to the nearest, halves away from 0, and its lower half, which tells whether it was rounded
/// up. Of NaN there is one: rounded up, others would be a number.
#[inline(always)]
fn split(x: f32) -> (u16, u16) {
    let bits = if x.is_nan() { 0x7fc0_0000 } else { x.to_bits() };
    (((bits + 0x8000) >> 16) as u16, bits as u16)
}

impl Master<'_> {
    fn split_at(self, at: usize) -> (Self, Self) {
        match self {
            Master::None => (Master::None, Master::None),
            Master::Full(x) => {
                let (a, b) = x.split_at_mut(at);
                (Master::Full(a), Master::Full(b))
            }
            Master::Low(x) => {
                let (a, b) = x.split_at_mut(at);
                (Master::Low(a), Master::Low(b))
            }
        }
    }
}

/// What every code stands for, without a sign and with one.
static LEVELS: LazyLock<[[f32; 256]; 2]> = LazyLock::new(|| {
    let all: fn(fn(u8) -> f32) -> [f32; 256] = |level| std::array::from_fn(|code| level(code as u8));
    [all(level), all(signed_level)]
});

impl<A: Real> Kept<'_, A> {
    fn split_at(self, at: usize) -> (Self, Self) {
        match self {
            Kept::None => (Kept::None, Kept::None),
            Kept::Full(x) => {
                let (a, b) = x.split_at_mut(at);
                (Kept::Full(a), Kept::Full(b))
            }
            Kept::Codes(codes, largest) => {
                let (a, b) = codes.split_at_mut(at);
                let (a_largest, b_largest) = largest.split_at_mut(at / CODE_BLOCK);
                (Kept::Codes(a, a_largest), Kept::Codes(b, b_largest))
            }
        }
    }

    /// Lets `f` change elements, at most a block, from a multiple of [`CODE_BLOCK`] on. None, if there is no moment.
    fn over(&mut self, at: Range<usize>, is_signed: bool, f: impl FnOnce(&mut [A])) {
        match self {
            Kept::None => f(&mut []),
            Kept::Full(x) => f(&mut x[at]),
            Kept::Codes(codes, largest) => {
                let mut x = [A::zeroed(); BLOCK];
                let x = &mut x[..at.len()];
                let first = at.start / CODE_BLOCK;
                let levels = &LEVELS[usize::from(is_signed)];
                let codes = &mut codes[at];
                for (i, (x, codes)) in x.chunks_mut(CODE_BLOCK).zip(codes.chunks(CODE_BLOCK)).enumerate() {
                    let most = largest[first + i];
                    let decoded = codes.iter().map(|&code| A::from(levels[usize::from(code)] * most));
                    x.iter_mut().zip(decoded).for_each(|(x, decoded)| *x = decoded);
                }
                f(x);
                for (i, (x, codes)) in x.chunks(CODE_BLOCK).zip(codes.chunks_mut(CODE_BLOCK)).enumerate() {
                    largest[first + i] = encode(x, is_signed, codes);
                }
            }
        }
    }
}

/// The codes of a block, and what stands beside them: 0 where no code could be made, NaN where an element is not finite.
fn encode<A: Real>(x: &[A], is_signed: bool, codes: &mut [u8]) -> f32 {
    let mut narrow = [0.0; CODE_BLOCK];
    let narrow = &mut narrow[..x.len()];
    narrow.iter_mut().zip(x).for_each(|(narrow, x)| *narrow = x.narrow());
    let is_finite = narrow.iter().all(|x| x.is_finite());
    let most = narrow.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
    let kept = if !is_finite {
        f32::NAN
    } else if most < f32::MIN_POSITIVE {
        0.0
    } else {
        most
    };
    let factor = if kept > 0.0 { 1.0 / kept } else { 0.0 };
    if is_signed {
        vectorized(coded(narrow, codes, move |x| signed_code(x * factor)));
    } else {
        // What is positive stays so, for what is divided by its root.
        vectorized(coded(narrow, codes, move |x| code(x * factor).max(u8::from(x > 0.0))));
    }
    kept
}

#[inline(always)]
fn coded(x: &[f32], codes: &mut [u8], code: impl Fn(f32) -> u8) -> impl FnOnce() {
    #[inline(always)]
    move || {
        for (out, &x) in codes.iter_mut().zip(x) {
            *out = code(x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every f32 that is no NaN, near every edge between two bf16 and one in 97 of the others, comes back with its bits; what is
    /// seen is the nearest, and NaN stays NaN.
    #[test]
    fn planes_hold_every_float() {
        let edges = (0..=u16::MAX).flat_map(|high| {
            let at = u32::from(high) << 16;
            [at, at | 1, at | 0x7fff, at | 0x8000, at | 0x8001, at | 0xffff]
        });
        for bits in edges.chain((0..=u32::MAX).step_by(97)) {
            let x = f32::from_bits(bits);
            let (high, low) = split(x);
            let seen = f32::from_bits(u32::from(high) << 16);
            if x.is_nan() {
                assert!(join(high, low).is_nan() && seen.is_nan(), "{bits:#x}");
                continue;
            }
            assert_eq!(join(high, low).to_bits(), bits);
            let below = f32::from_bits(bits & 0xffff_0000);
            let above = f32::from_bits((bits & 0xffff_0000) + 0x1_0000);
            if x.is_finite() && above.is_finite() {
                let [to_seen, to_below, to_above] =
                    [seen, below, above].map(|y| (f64::from(x) - f64::from(y)).abs());
                assert!(to_seen <= to_below && to_seen <= to_above, "{x:e} is seen as {seen:e}");
            }
        }
    }
}
