//! Gradients of reductions.

use crate::{
    Tensor,
    grad::{Kept, Tape, no_grad, spread},
    ops::unary_backward,
};
use taut_core::{DType, Reduce, Result, Shape, Unary};

/// What is noted of a reduction: made before it runs.
pub(super) struct Note {
    op: Reduce,
    tape: Tape,
    axes: Vec<usize>,
    shape: Shape,
    input: Option<Kept>,
    /// Of the largest or smallest elements, in the lines of [`lines`].
    positions: Option<Tensor>,
}

impl Note {
    pub(super) fn new(op: Reduce, axes: &[usize], x: &Tensor, tape: Tape) -> Result<Note> {
        let needs_input = matches!(
            op,
            Reduce::Prod
                | Reduce::Norm
                | Reduce::MeanSquare
                | Reduce::Var { .. }
                | Reduce::Std { .. }
                | Reduce::LogSumExp
        );
        let position = match op {
            Reduce::Max => Some(Reduce::ArgMax),
            Reduce::Min => Some(Reduce::ArgMin),
            _ => None,
        };
        let position = position.filter(|_| tape.is_on());
        let positions = position.map(|op| {
            no_grad(|| {
                let lines = lines(x.clone(), axes)?;
                let last = lines.rank() - 1;
                lines.reduce(op, &[last])
            })
        });
        let (input, shape) = (tape.keep(x, needs_input), *x.shape());
        Ok(Note { op, tape, axes: axes.to_vec(), shape, input, positions: positions.transpose()? })
    }

    pub(super) fn of(self, out: &mut Tensor) {
        let Note { op, tape, axes, shape, input, positions } = self;
        let output = tape.keep(out, matches!(op, Reduce::Norm | Reduce::Std { .. } | Reduce::LogSumExp));
        tape.note(out, move |grad, flow| {
            let n: usize = axes.iter().map(|&axis| shape[axis]).product();
            let over = |x: Tensor| spread(x, &axes, shape);
            let (input, squares) = if op == Reduce::MeanSquare { (None, input) } else { (input, None) };
            if let Some(x) = squares {
                let grad = over(grad.mul_scalar(1.0 / n as f64)?)?;
                return unary_backward::give(grad, Unary::Square, x.take()?, flow);
            }
            // What is left of a difference of 16-bit numbers, or of a product of many, is no 16-bit number.
            let narrow = grad.dtype();
            let wide = if input.is_some() && narrow.size() == 2 { DType::F32 } else { narrow };
            let widened = |kept: Option<Kept>| kept.map(|kept| kept.take()?.cast(wide)).transpose();
            let (input, output, grad) = (widened(input)?, widened(output)?, grad.cast(wide)?);
            let grad = match (op, input, output) {
                (Reduce::Sum, ..) => over(grad)?,
                (Reduce::Mean, ..) => over(grad.mul_scalar(1.0 / n as f64)?)?,
                (Reduce::Max | Reduce::Min, ..) => match &positions {
                    Some(positions) => put_back(grad, positions, &axes, shape)?,
                    None => return Ok(()),
                },
                (Reduce::Prod, Some(x), _) => of_product(grad, x, &axes)?,
                (Reduce::Norm, Some(x), Some(y)) => {
                    // At 0 it has none: 0, the smallest of the subgradients.
                    let zero = y.clone().eq_scalar(0.0)?;
                    x.mul(&over(grad.div(&y)?.masked_fill(&zero, 0.0)?)?)?
                }
                (Reduce::Var { correction }, Some(x), _) => {
                    let factor = 2.0 / n.saturating_sub(correction) as f64;
                    centered(x, &axes)?.mul(&over(grad.mul_scalar(factor)?)?)?
                }
                (Reduce::Std { correction }, Some(x), Some(y)) => {
                    let zero = y.clone().eq_scalar(0.0)?;
                    let factor = 1.0 / n.saturating_sub(correction) as f64;
                    let grad = grad.div(&y)?.masked_fill(&zero, 0.0)?.mul_scalar(factor)?;
                    centered(x, &axes)?.mul(&over(grad)?)?
                }
                (Reduce::LogSumExp, Some(x), Some(y)) => x.sub(&over(y)?)?.exp()?.mul(&over(grad)?)?,
                // Their results are no floats.
                _ => return Ok(()),
            };
            flow.give(0, grad.cast(narrow)?)
        });
    }
}

/// `x` less its mean over `axes`.
fn centered(x: Tensor, axes: &[usize]) -> Result<Tensor> {
    let mean = spread(x.clone().mean(axes)?, axes, *x.shape())?;
    x.sub(&mean)
}

/// The axes of `x` with those that are reduced at the end.
fn order(rank: usize, axes: &[usize]) -> Vec<usize> {
    let rest = (0..rank).filter(|axis| !axes.contains(axis));
    rest.chain(axes.iter().copied()).collect()
}

/// `x` with the reduced axes as one, the last.
fn lines(x: Tensor, axes: &[usize]) -> Result<Tensor> {
    let n: usize = axes.iter().map(|&axis| x.shape()[axis]).product();
    let dims = [&x.shape().reduce(axes, false)[..], &[n]].concat();
    let order = order(x.rank(), axes);
    x.permute(&order)?.reshape(dims)
}

/// `grad` at the positions, 0 elsewhere.
fn put_back(grad: Tensor, positions: &Tensor, axes: &[usize], shape: Shape) -> Result<Tensor> {
    let (order, last) = (order(shape.len(), axes), grad.rank());
    let n: usize = axes.iter().map(|&axis| shape[axis]).product();
    let lines = Tensor::zeros([&grad.shape()[..], &[n]].concat(), grad.dtype(), grad.device())?;
    let lines = lines.scatter_add(last, &positions.clone().unsqueeze(last)?, &grad.unsqueeze(last)?)?;
    let mut back = vec![0; order.len()];
    order.iter().enumerate().for_each(|(to, &from)| back[from] = to);
    lines.reshape(order.iter().map(|&axis| shape[axis]).collect::<Vec<_>>())?.permute(&back)
}

/// The product of the others, for every element: by zeros nothing can be divided.
fn of_product(grad: Tensor, x: Tensor, axes: &[usize]) -> Result<Tensor> {
    let shape = *x.shape();
    let is_zero = x.clone().eq_scalar(0.0)?;
    let zeros = spread(is_zero.clone().cast(x.dtype())?.sum(axes)?, axes, shape)?;
    let filled = x.masked_fill(&is_zero, 1.0)?;
    let rest = spread(filled.clone().prod(axes)?, axes, shape)?.div(&filled)?;
    // With one zero among them only that has a gradient, with more none.
    let other_zeros = zeros.sub(&is_zero.cast(filled.dtype())?)?;
    rest.masked_fill(&other_zeros.gt_scalar(0.5)?, 0.0)?.mul(&spread(grad, axes, shape)?)
}
