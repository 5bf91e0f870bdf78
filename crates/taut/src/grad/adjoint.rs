//! What rules share: how a gradient gets back the shape of its operand.

use crate::Tensor;
use taut_core::{Result, Shape};

/// The gradient of an operand of `shape` that was broadcast: the sum over what was repeated.
pub(crate) fn sum_to(grad: Tensor, shape: Shape) -> Result<Tensor> {
    if *grad.shape() == shape {
        return Ok(grad);
    }
    let new = grad.rank() - shape.len();
    let repeated = (0..grad.rank()).filter(|&axis| axis < new || shape[axis - new] != grad.shape()[axis]);
    let axes: Vec<usize> = repeated.collect();
    // Without an axis `sum` would take all.
    let sum = if axes.is_empty() { grad } else { grad.sum(&axes)? };
    sum.reshape(shape)
}

/// The gradient of a sum over `axes` of a tensor of `shape`: a view that shows it for every term.
pub(crate) fn spread(grad: Tensor, axes: &[usize], shape: Shape) -> Result<Tensor> {
    grad.reshape(shape.reduce(axes, true))?.broadcast_to(shape)
}
