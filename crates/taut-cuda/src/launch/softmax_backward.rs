//! Launches of `softmax_backward.cu`.

use super::{
    rows::{Staging, choose, choose_columns},
    stay::stay,
    walk::{check_dtypes, check_shapes},
};
use crate::{Arg, Operand, Stream};
use taut_core::{Result, Softmax};
use taut_kernels::Kernel;

const NAME: &str = "softmax_backward";

/// What [`softmax_backward`] reads.
#[derive(Clone, Copy, Debug)]
pub struct Outer<'a> {
    /// The gradient of the output.
    pub grad: Operand<'a>,
    /// The output.
    pub output: Operand<'a>,
}

/// The gradient of what `op`, [`Softmax::Plain`] or [`Softmax::Log`], was taken of along `axis`; of the plain one times
/// `scale`. The gradient or the output may be `dst`, for the op in place.
///
/// # Errors
///
/// [`Shape`](taut_core::ErrorKind::Shape) and [`DType`](taut_core::ErrorKind::DType) if operands differ in them,
/// [`Device`](taut_core::ErrorKind::Device) if the op does not take the dtype or has no such kernel,
/// [`Driver`](taut_core::ErrorKind::Driver) if the launch fails.
pub fn softmax_backward(
    stream: &Stream,
    op: Softmax,
    axis: usize,
    scale: f32,
    Outer { grad, output }: Outer<'_>,
    dst: Operand<'_>,
) -> Result<()> {
    let operands = [grad, output, dst];
    check_shapes(NAME, &operands)?;
    check_dtypes(NAME, &operands)?;
    dst.layout.axis(NAME, axis)?;
    if dst.layout.numel() == 0 {
        return Ok(());
    }
    let choice = choose_columns(&operands, axis, 2, stream.card())
        .unwrap_or_else(|| choose(&operands, axis, 2, true, Staging::Late(stream.card())));
    let [grad, output, dst] = choice.pointers(&operands);
    let [a, b, c] = [&grad, &output, &dst].map(Arg::new);
    if let Some(stay) = stay(&choice, 2, 0, usize::MAX, stream.card()) {
        let args = [a, b, c, Arg::new(&choice.rows), Arg::new(&scale), Arg::new(&stay.side)];
        let kernel = Kernel::SoftmaxBackwardStay(op, operands[2].dtype, stay.teams);
        // SAFETY: `softmax_backward_stay(grad, output, out, rows, scale, side)`; as below.
        return unsafe { stream.launch(kernel, stay.grid, args) };
    }
    let args = [a, b, c, Arg::new(&choice.rows), Arg::new(&scale), Arg::new(&choice.side)];
    let kernel = Kernel::SoftmaxBackward(op, operands[2].dtype, choice.part, choice.packs);
    // SAFETY: `softmax_backward_rows(grad, output, out, rows, scale, side)`, and so `softmax_backward_columns`; the pointers are of operands that the caller
    // vouches for, and the rows stay within their layouts.
    unsafe { stream.launch(kernel, choice.grid()?, args) }
}
