/// Stochastic gradient descent, with momentum (Sutskever, Martens, Dahl and Hinton, 2013).
///
/// `d = g + weight_decay p`, `m = momentum m + d`, `p = p - lr m`; with `nesterov` the last is `p - lr (d + momentum m)`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sgd {
    /// How much of the moment stays. Without any there is no moment.
    pub momentum: f32,
    /// Whether a step looks ahead.
    pub nesterov: bool,
    /// Added to the gradient for each unit of the weight.
    pub weight_decay: f32,
}

/// Adam with decoupled weight decay (Loshchilov and Hutter, 2019).
///
/// `m = beta1 m + (1 - beta1) g`, `v = beta2 v + (1 - beta2) g^2`,
/// `p = p (1 - lr weight_decay) - lr m' / (sqrt(v') + eps)`, where `m' = m / (1 - beta1^step)` and `v'` likewise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// How much of the mean of gradients stays, in `[0, 1)`.
    pub beta1: f32,
    /// How much of the mean of their squares stays, in `[0, 1)`.
    pub beta2: f32,
    /// Added to the root of that.
    pub eps: f32,
    /// The part of a weight that a step takes away, for each unit of the learning rate.
    pub weight_decay: f32,
}

impl Default for AdamW {
    /// `beta1` 0.9, `beta2` 0.999, `eps` 1e-8, `weight_decay` 0.01.
    fn default() -> AdamW {
        AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 }
    }
}

/// Steps of one size, by sign (Chen et al., "Symbolic discovery of optimization algorithms", 2023).
///
/// `p = p (1 - lr weight_decay) - lr sign(beta1 m + (1 - beta1) g)`, then `m = beta2 m + (1 - beta2) g`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lion {
    /// How much of the moment goes into the sign, in `[0, 1]`.
    pub beta1: f32,
    /// How much of the moment stays, in `[0, 1]`.
    pub beta2: f32,
    /// As that of [`AdamW`].
    pub weight_decay: f32,
}

impl Default for Lion {
    /// `beta1` 0.9, `beta2` 0.99, no `weight_decay`.
    fn default() -> Lion {
        Lion { beta1: 0.9, beta2: 0.99, weight_decay: 0.0 }
    }
}

/// An optimizer: how a weight follows from its gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// See [`Sgd`].
    Sgd(Sgd),
    /// See [`AdamW`].
    AdamW(AdamW),
    /// See [`Lion`].
    Lion(Lion),
}

impl Rule {
    /// The name of the function and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Rule::Sgd(_) => "sgd_",
            Rule::AdamW(_) => "adamw_",
            Rule::Lion(_) => "lion_",
        }
    }

    /// Moments that are kept of a weight: the first has a sign, the second has none.
    pub fn moments(self) -> usize {
        match self {
            Rule::Sgd(sgd) => usize::from(sgd.momentum != 0.0),
            Rule::AdamW(_) => 2,
            Rule::Lion(_) => 1,
        }
    }

    /// How much of each moment stays, or goes into a step; 0 where there is none.
    pub const fn betas(self) -> [f32; 2] {
        match self {
            Rule::Sgd(sgd) => [sgd.momentum, 0.0],
            Rule::AdamW(AdamW { beta1, beta2, .. }) | Rule::Lion(Lion { beta1, beta2, .. }) => [beta1, beta2],
        }
    }

    /// The weight decay.
    pub const fn weight_decay(self) -> f32 {
        match self {
            Rule::Sgd(sgd) => sgd.weight_decay,
            Rule::AdamW(adamw) => adamw.weight_decay,
            Rule::Lion(lion) => lion.weight_decay,
        }
    }
}
