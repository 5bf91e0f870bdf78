//! Gradients of products and of linear layers.

use crate::{
    Tensor,
    grad::{Flow, Kept, Tape, sum_to},
    precision::{precision, with_precision},
};
use taut_core::{Activation, DType, Layout, Onto, Precision, Result, Shape};

/// What is noted of a product: made before it runs.
pub(super) struct Note {
    tape: Tape,
    factors: Factors,
    bias: Option<DType>,
    activation: Activation,
    /// Of the product, and so of its gradients.
    precision: Precision,
}

/// The factors of a product, and where they stand among the operands.
struct Factors {
    /// Of the first. What comes before it is what the product is added to.
    at: usize,
    shapes: [Shape; 2],
    dtype: DType,
    /// Whether the second is read transposed: the weight of a layer.
    is_layer: bool,
    a: Option<Kept>,
    b: Option<Kept>,
}

impl Note {
    pub(super) fn new(
        tape: Tape,
        at: usize,
        a: &Tensor,
        b: &Tensor,
        b_layout: &Layout,
        bias: Option<&Tensor>,
        activation: Activation,
    ) -> Note {
        // Each is needed for the other's gradient.
        let (keep_a, keep_b) = (tape.keep(a, tape.wants(at + 1)), tape.keep(b, tape.wants(at)));
        let is_layer = b.layout() != b_layout;
        let shapes = [*a.shape(), *b.shape()];
        let factors = Factors { at, shapes, dtype: a.dtype(), is_layer, a: keep_a, b: keep_b };
        Note { tape, factors, bias: bias.map(Tensor::dtype), activation, precision: precision() }
    }

    pub(super) fn of(self, out: &mut Tensor) {
        let Note { tape, factors, bias, activation, precision } = self;
        tape.note_activated(out, activation.unary(), move |grad, flow| {
            if factors.at > 0 {
                flow.give(0, grad.clone())?;
            }
            if let Some(dtype) = bias.filter(|_| flow.wants(factors.at + 2)) {
                let lead: Vec<usize> = (0..grad.rank() - 1).collect();
                let sum = if lead.is_empty() { grad.clone() } else { grad.clone().sum(&lead)? };
                flow.give(factors.at + 2, sum.cast(dtype)?)?;
            }
            with_precision(precision, || factors.give(grad, flow))
        });
    }
}

impl Factors {
    /// Gives both factors their gradients.
    fn give(self, grad: Tensor, flow: &mut Flow<'_, '_>) -> Result<()> {
        let Factors { at, shapes: [a_shape, b_shape], dtype, is_layer, a, b } = self;
        let mut grad = grad.cast(dtype)?;
        // Vectors as matrices: a row on the left, a column on the right.
        if b_shape.len() == 1 {
            let end = grad.rank();
            grad = grad.unsqueeze(end)?;
        }
        if a_shape.len() == 1 {
            let end = grad.rank();
            grad = grad.unsqueeze(end - 1)?;
        }
        if let Some(a) = a.map(Kept::take).transpose()? {
            let a = if a_shape.len() == 1 { a.unsqueeze(0)? } else { a };
            let of_b =
                |sum: Option<Tensor>, dtype| of_right(a, grad.clone(), (b_shape, dtype), is_layer, sum);
            flow.fold_wide(at + 1, dtype, of_b)?;
        }
        if let Some(b) = b.map(Kept::take).transpose()? {
            let b = match (is_layer, b_shape.len()) {
                (true, _) => b,
                (false, 1) => b.unsqueeze(0)?,
                (false, _) => b.t()?,
            };
            // Over the activation that the first factor was, if this was its only use: it is not needed any more.
            if let Some((op, mut output)) = flow.take_output(at)? {
                let onto = Onto::before(op);
                let product = [&grad.shape()[..grad.rank() - 1], &[b.shape()[1]]].concat();
                let fits = output.dtype() == dtype && b.rank() == 2 && output.shape()[..] == product[..];
                match onto.filter(|_| fits && output.is_contiguous() && output.is_reusable()) {
                    Some(onto) => {
                        super::multiply_over("matmul", &mut output, onto, &grad, &b)?;
                        return flow.give(at, output);
                    }
                    None => flow.put_output(at, op, output),
                }
            }
            let of_a = grad.matmul(&b)?;
            let matrix = if a_shape.len() == 1 { Shape::new(&[1, a_shape[0]])? } else { a_shape };
            flow.give(at, sum_to(of_a, matrix)?.reshape(a_shape)?)?;
        }
        Ok(())
    }
}

/// The gradient of the right factor, of this shape and dtype, on top of `sum`.
fn of_right(
    a: Tensor,
    grad: Tensor,
    (shape, dtype): (Shape, DType),
    is_layer: bool,
    sum: Option<Tensor>,
) -> Result<Tensor> {
    if shape.len() > 2 {
        let grad = sum_to(a.t()?.matmul(&grad)?, shape)?.cast(dtype)?;
        return sum.map_or_else(|| Ok(grad.clone()), |sum| sum.add(&grad));
    }
    // One product over the rows of the whole batch.
    let lead = Shape::new(&grad.shape()[..grad.rank() - 2])?;
    let (m, n, k) = (grad.shape()[grad.rank() - 2], grad.shape()[grad.rank() - 1], a.shape()[a.rank() - 1]);
    let rows = lead.numel() * m;
    let a = a.broadcast_to([&lead[..], &[m, k]].concat())?.reshape([rows, k])?;
    let grad = grad.reshape([rows, n])?;
    let (left, right) = if is_layer { (grad.t()?, a) } else { (a.t()?, grad) };
    match sum {
        Some(sum) if sum.rank() == 2 && sum.is_contiguous() => {
            let mut sum = if sum.holder().count() == 1 { sum } else { sum.copy()? };
            sum.addmm_(&left, &right)?;
            Ok(sum)
        }
        Some(sum) => sum.add(&super::multiply_as("matmul", &left, &right, dtype)?.reshape(shape)?),
        None => super::multiply_as("matmul", &left, &right, dtype)?.reshape(shape),
    }
}
