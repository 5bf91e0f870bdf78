//! The twin of `optimizer.cuh`.

mod rules;
mod states;

use super::{BLOCK, Scalar, TASK, vectorized};
use crate::tensor::{View, ViewMut};
use bytemuck::{Pod, Zeroable};
use half::{bf16, f16};
use rayon::prelude::*;
use rules::{Real, Update};
use states::{Halves, Kept, Master, Planes, Units};
use taut_core::{DType, Error, Result, Rule};

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

/// What a task takes of a parameter.
struct Part<'a, T, G, A> {
    param: &'a mut [T],
    grad: &'a [G],
    master: Master<'a>,
    first: Kept<'a, A>,
    second: Kept<'a, A>,
}

fn run<T, G>(update: &Update<T::Acc>, mut item: Item<'_>) -> Result<()>
where
    T: Scalar<Acc: Real + From<G::Acc>>,
    G: Scalar,
{
    let grad = item.grad.layout.flat().unwrap_or_default();
    let master = match &mut item.master {
        None => Master::None,
        Some(rests) => {
            let rests = bytemuck::cast_slice_mut(rests.flat::<u8>()?);
            if item.param.dtype == DType::F16 { Master::Units(rests) } else { Master::Halves(rests) }
        }
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
        let weights = &self.param[at.clone()];
        match &self.master {
            Master::None => T::widen(weights, p),
            Master::Halves(rests) => {
                vectorized(joined::<Halves, _>(bytemuck::cast_slice(weights), &rests[at], p))
            }
            Master::Units(rests) => {
                vectorized(joined::<Units, _>(bytemuck::cast_slice(weights), &rests[at], p))
            }
        }
    }

    /// The other way.
    fn store(&mut self, start: usize, p: &[T::Acc]) {
        let at = start..start + p.len();
        let weights = &mut self.param[at.clone()];
        match &mut self.master {
            Master::None => T::narrow(p, weights),
            Master::Halves(rests) => {
                vectorized(split::<Halves, _>(p, bytemuck::cast_slice_mut(weights), &mut rests[at]));
            }
            Master::Units(rests) => {
                vectorized(split::<Units, _>(p, bytemuck::cast_slice_mut(weights), &mut rests[at]));
            }
        }
    }
}

#[inline(always)]
fn joined<P: Planes, A: Real>(weights: &[u16], rests: &[u16], p: &mut [A]) -> impl FnOnce() {
    #[inline(always)]
    move || {
        for (p, (&weight, &rest)) in p.iter_mut().zip(weights.iter().zip(rests)) {
            *p = P::join(weight, rest).into();
        }
    }
}

#[inline(always)]
fn split<P: Planes, A: Real>(p: &[A], weights: &mut [u16], rests: &mut [u16]) -> impl FnOnce() {
    #[inline(always)]
    move || {
        for (p, (weight, rest)) in p.iter().zip(weights.iter_mut().zip(rests)) {
            (*weight, *rest) = P::split(p.narrow());
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
