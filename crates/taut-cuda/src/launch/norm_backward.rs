//! Launches of `norm_backward.cu`.

use super::{
    norm::{Affine, Along, along},
    rows::{Staging, choose},
    stay::stay,
    walk::{check_dtypes, check_shapes},
};
use crate::{Arg, Operand, Stream};
use taut_core::{DType, Norm, Result};
use taut_kernels::Kernel;

const NAME: &str = "norm_backward";

/// What [`norm_backward`] reads.
#[derive(Clone, Copy, Debug)]
pub struct Outer<'a> {
    /// The gradient of the output.
    pub grad: Operand<'a>,
    /// What the norm was taken of.
    pub input: Operand<'a>,
    /// The factors of the norm, and its bound. A bias plays no part.
    pub affine: Affine<'a>,
}

/// As that of `norm.rs`.
fn stay_units(op: Norm, dtype: DType) -> usize {
    match (op.of_rows(), dtype) {
        (Norm::Layer, DType::BF16 | DType::F16) => 2048,
        (_, DType::BF16 | DType::F16) => 4096,
        _ => usize::MAX,
    }
}

/// The gradient of what `op` was taken of along `axis`; of an op of a sum, that of the sum. The gradient may be `dst`, for
/// the op in place.
///
/// # Errors
///
/// [`Shape`](taut_core::ErrorKind::Shape) and [`DType`](taut_core::ErrorKind::DType) if operands differ in them or the
/// weight is not what the op takes, [`Device`](taut_core::ErrorKind::Device) if the op does not take the dtype,
/// [`Driver`](taut_core::ErrorKind::Driver) if the launch fails.
pub fn norm_backward(
    stream: &Stream,
    op: Norm,
    axis: usize,
    Outer { grad, input, affine }: Outer<'_>,
    dst: Operand<'_>,
) -> Result<()> {
    let operands = [grad, input, dst];
    check_shapes(NAME, &operands)?;
    check_dtypes(NAME, &operands)?;
    let n = dst.layout.axis(NAME, axis)?;
    if dst.layout.numel() == 0 {
        return Ok(());
    }
    let along = along(NAME, &affine, n, dst.dtype)?;
    let beside_bytes = along.bytes(n, dst.dtype);
    let Along { weight, wide, aligned, .. } = along;
    let choice = choose(&operands, axis, 2, aligned, Staging::Wide(stream.card()));
    let [grad, input, dst] = choice.pointers(&operands);
    let [a, b, c, weight] = [&grad, &input, &dst, &weight].map(Arg::new);
    let (eps, wide) = (Arg::new(&affine.eps), Arg::new(&wide));
    if let Some(stay) = stay(&choice, 2, beside_bytes, stay_units(op, operands[2].dtype), stream.card()) {
        let args = [a, b, c, weight, Arg::new(&choice.rows), eps, wide, Arg::new(&stay.side)];
        let kernel = Kernel::NormBackwardStay(op.of_rows(), operands[2].dtype, stay.teams);
        // SAFETY: `norm_backward_stay(grad, in, out, weight, rows, eps, wide, side)`; as below.
        return unsafe { stream.launch(kernel, stay.grid, args) };
    }
    let args = [a, b, c, weight, Arg::new(&choice.rows), eps, wide, Arg::new(&choice.side)];
    let kernel = Kernel::NormBackward(op.of_rows(), operands[2].dtype, choice.part, choice.packs);
    // SAFETY: `norm_backward_rows(grad, in, out, weight, rows, eps, wide, side)`; the pointers are of operands that the
    // caller vouches for, the rows stay within their layouts, and weight is null or as long as a row.
    unsafe { stream.launch(kernel, choice.grid()?, args) }
}
