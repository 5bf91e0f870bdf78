//! What a step of an optimizer takes.

use crate::{Number, Tensor};

/// A parameter, with what a step of its optimizer reads and changes. All tensors are contiguous, and have as many elements as
/// the parameter where nothing else is said.
#[derive(Debug)]
pub struct Step<'a> {
    /// What is changed: any float.
    pub param: &'a mut Tensor,
    /// Its gradient: of the dtype of the parameter, or f32.
    pub grad: &'a Tensor,
    /// Beside f16 and bf16 u8, two for each element, on an even byte; see [`optim`](crate::optim). None beside others.
    pub master: Option<&'a mut Tensor>,
    /// The mean of gradients, if the optimizer keeps one.
    pub first: Option<Moment<'a>>,
    /// The mean of their squares, if the optimizer keeps one; kept as the first is.
    pub second: Option<Moment<'a>>,
}

/// How a moment is kept.
#[derive(Debug)]
pub enum Moment<'a> {
    /// As f32; of an f64 parameter as f64.
    Full(&'a mut Tensor),
    /// In 8 bits.
    Codes {
        /// u8.
        codes: &'a mut Tensor,
        /// f32: the largest magnitude of each [`CODE_BLOCK`](crate::optim::CODE_BLOCK) elements, and of the rest.
        largest: &'a mut Tensor,
    },
}

impl<'a> Step<'a> {
    /// A step of a parameter of which nothing is kept.
    pub fn new(param: &'a mut Tensor, grad: &'a Tensor) -> Step<'a> {
        Step { param, grad, master: None, first: None, second: None }
    }

    /// With what the parameter is rounded from.
    pub fn with_master(self, master: &'a mut Tensor) -> Step<'a> {
        Step { master: Some(master), ..self }
    }

    /// With a first moment.
    pub fn with_first(self, first: Moment<'a>) -> Step<'a> {
        Step { first: Some(first), ..self }
    }

    /// With a second moment.
    pub fn with_second(self, second: Moment<'a>) -> Step<'a> {
        Step { second: Some(second), ..self }
    }
}

/// What changes from step to step.
#[derive(Clone, Copy, Debug)]
pub struct Control<'a> {
    /// The learning rate.
    pub lr: Number<'a>,
    /// The number of the step, from 1: AdamW divides its moments by what they have gathered by then. See [`advance_`](crate::optim::advance_).
    pub step: Number<'a>,
    /// What gradients are multiplied by: 1 over the scale of the loss.
    pub grad_scale: Number<'a>,
    /// The norm of the gradients as they are, before `grad_scale`: of [`multi::norm`](crate::multi::norm). Nothing is changed if
    /// it is NaN or infinite.
    pub norm: Option<&'a Tensor>,
    /// If the norm times `|grad_scale|` is larger than this, gradients are scaled down to it. Infinite: never.
    pub max_norm: f32,
    /// Nothing is changed if it is not 0.
    pub skip: Option<&'a Tensor>,
}

impl<'a> Control<'a> {
    /// Step `step`, from 1, with this learning rate and gradients as they are.
    pub fn new(lr: impl Into<Number<'a>>, step: impl Into<Number<'a>>) -> Control<'a> {
        let (lr, step) = (lr.into(), step.into());
        Control { lr, step, grad_scale: Number::Host(1.0), norm: None, max_norm: f32::INFINITY, skip: None }
    }
}
