//! Of `optimizer.cuh` and `codes.cuh`.

use super::Number;
use taut_core::{DECADES, Rule};

/// Elements of a parameter that a block of `optimizer.cuh` takes.
pub const STEP_CHUNK: u32 = 2048;

/// What stays of an optimizer from step to step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Hyper {
    /// How much of the first moment stays; of SGD the momentum.
    pub beta1: f32,
    /// How much of the second moment stays.
    pub beta2: f32,
    /// 1 less `beta1`.
    pub rest1: f32,
    /// 1 less `beta2`.
    pub rest2: f32,
    /// The natural logarithm of `beta1`.
    pub log1: f32,
    /// The natural logarithm of `beta2`.
    pub log2: f32,
    /// What is added to a root before it divides.
    pub eps: f32,
    /// The weight decay.
    pub decay: f32,
    /// 1 for Nesterov's momentum.
    pub nesterov: u32,
}

impl Hyper {
    /// That of a rule.
    pub fn new(rule: Rule) -> Hyper {
        let ([beta1, beta2], decay) = (rule.betas(), rule.weight_decay());
        let [rest1, rest2] = [beta1, beta2].map(|beta| (1.0 - f64::from(beta)) as f32);
        let [log1, log2] = [beta1, beta2].map(|beta| f64::from(beta).ln() as f32);
        let (eps, nesterov) = match rule {
            Rule::AdamW(adamw) => (adamw.eps, false),
            Rule::Sgd(sgd) => (0.0, sgd.nesterov),
            Rule::Lion(_) => (0.0, false),
        };
        Hyper { beta1, beta2, rest1, rest2, log1, log2, eps, decay, nesterov: nesterov.into() }
    }
}

/// What changes of an optimizer from step to step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Control {
    /// The learning rate.
    pub lr: Number,
    /// The number of the step, from 1.
    pub step: Number,
    /// What gradients are multiplied by.
    pub grad_scale: Number,
    /// Of the gradients; nothing is done if it is not finite.
    pub norm: Number,
    /// Nothing is done if it is not 0.
    pub skip: Number,
    /// The largest norm of the gradients, after `grad_scale`, that is not cut.
    pub max_norm: f32,
}

/// What codes of 8 bits without a sign stand for, by decade: [`DECADES`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct Codes {
    /// The largest level.
    pub top: [f32; 8],
    /// From level to level.
    pub step: [f32; 8],
    /// From a level to its code.
    pub scale: [f32; 8],
    /// See `scale`.
    pub shift: [f32; 8],
}

impl Default for Codes {
    fn default() -> Codes {
        let of = |field: fn(&taut_core::Decade) -> f32| DECADES.each_ref().map(field);
        Codes { top: of(|d| d.top), step: of(|d| d.step), scale: of(|d| d.scale), shift: of(|d| d.shift) }
    }
}
