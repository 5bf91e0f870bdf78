//! The rules: from weights, gradients and moments to new ones.

use super::Now;
use crate::cpu::vectorized;
use bytemuck::Pod;
use std::ops::{Add, Div, Mul, Sub};
use taut_core::Rule;

/// A rule, and what it takes of a step.
#[derive(Clone, Copy)]
pub(super) struct Update<A> {
    rule: Rule,
    lr: A,
    pub(super) scale: A,
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
    pub(super) fn new(rule: Rule, now: Now) -> Update<A> {
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
    pub(super) fn apply(&self, p: &mut [A], g: &[A], m: &mut [A], v: &mut [A]) {
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

/// What is computed in.
pub(super) trait Real:
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
