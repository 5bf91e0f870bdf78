//! Launches of `softmax_backward.cu`.

use super::{
    rows::{Choice, Staging, choose, choose_columns},
    slabs::{Slabs, slabs},
    stay::stay,
    walk::{check_dtypes, check_shapes},
};
use crate::{Arg, Card, Operand, Stream};
use taut_core::{DType, Layout, Result, Softmax};
use taut_kernels::Kernel;
use taut_memory::Block;

const NAME: &str = "softmax_backward";

/// What [`softmax_backward`] reads.
#[derive(Clone, Copy, Debug)]
pub struct Outer<'a> {
    /// The gradient of the output.
    pub grad: Operand<'a>,
    /// The output.
    pub output: Operand<'a>,
}

/// The size of `Sum` in CUDA.
const SUM_BYTES: u64 = 4;

/// What [`softmax_backward`] needs beside its operands, for those of these layouts: gradient, output and result.
pub fn workspace_bytes(axis: usize, layouts: [&Layout; 3], dtype: DType, card: &Card) -> u64 {
    let operands = layouts.map(|layout| Operand { address: 0, layout, dtype });
    let is_empty = layouts[2].numel() == 0 || layouts[2].axis(NAME, axis).is_err();
    let chosen = if is_empty { None } else { in_slabs(&operands, axis, card) };
    chosen.map_or(0, |(_, slabs)| slabs.workspace_bytes)
}

fn in_slabs(operands: &[Operand<'_>; 3], axis: usize, card: &Card) -> Option<(Choice<3>, Slabs)> {
    let choice = choose_columns(operands, axis, 2, card)?;
    let slabs = slabs(&choice, operands[2].dtype, SUM_BYTES, card)?;
    Some((choice, slabs))
}

/// The gradient of what `op`, [`Softmax::Plain`] or [`Softmax::Log`], was taken of along `axis`; of the plain one times
/// `scale`. The gradient or the output may be `dst`, for the op in place. `workspace` has [`workspace_bytes`].
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
    workspace: &Block,
) -> Result<()> {
    let operands = [grad, output, dst];
    check_shapes(NAME, &operands)?;
    check_dtypes(NAME, &operands)?;
    dst.layout.axis(NAME, axis)?;
    if dst.layout.numel() == 0 {
        return Ok(());
    }
    if let Some((choice, slabs)) = in_slabs(&operands, axis, stream.card()) {
        let [grad, output, dst] = choice.pointers(&operands);
        let [partials, totals] = slabs.places(NAME, workspace)?;
        let [grad, output, rows] = [Arg::new(&grad), Arg::new(&output), Arg::new(&choice.rows)];
        let find = [grad, output, Arg::new(&partials), rows];
        let finish = [grad, output, Arg::new(&dst), Arg::new(&totals), rows, Arg::new(&scale)];
        let of = (op, operands[2].dtype, true);
        // SAFETY: `softmax_backward_find(grad, output, partials, rows)` and `softmax_backward_finish(grad, output, out, totals,
        // rows, scale)`; as below.
        return unsafe { slabs.launch(stream, of, [partials, totals], find, finish) };
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
    // SAFETY: `softmax_backward_rows(grad, output, out, rows, scale, side)`, and so `softmax_backward_columns`; the pointers are
    // of operands that the caller vouches for, and the rows stay within their layouts.
    unsafe { stream.launch(kernel, choice.grid()?, args) }
}
