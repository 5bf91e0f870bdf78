//! Launches of `unary_backward.cu`.

use super::walk::{Way, check_dtypes, check_shapes, choose};
use crate::{Arg, Operand, Stream};
use taut_core::{Onto, Result, Unary};
use taut_kernels::{Kernel, args::Params};

const NAME: &str = "unary_backward";

/// `dst = grad * op'(kept)`, element by element, where `kept` is what [`Unary::kept`] says. Shapes and dtypes are equal;
/// `grad` or `kept` may be `dst`, for the op in place. `onto` is of an activation that made `kept`, if the gradient is to be
/// that before it.
///
/// # Errors
///
/// [`Shape`](taut_core::ErrorKind::Shape) and [`DType`](taut_core::ErrorKind::DType) if operands differ in them,
/// [`Device`](taut_core::ErrorKind::Device) if the op has no such kernel, [`Driver`](taut_core::ErrorKind::Driver) if the
/// launch fails.
pub fn unary_backward(
    stream: &Stream,
    op: Unary,
    onto: Onto,
    grad: Operand<'_>,
    kept: Operand<'_>,
    dst: Operand<'_>,
) -> Result<()> {
    let operands = [grad, kept, dst];
    check_shapes(NAME, &operands)?;
    check_dtypes(NAME, &operands)?;
    if dst.layout.numel() == 0 {
        return Ok(());
    }
    let choice = choose(&operands);
    let kernel = Kernel::UnaryBackward(op, dst.dtype, choice.access);
    let params = Params { value: op.params() };
    let (code, slope) = onto.code();
    choice.each(&operands, |grid, [grad, kept, dst], way| {
        let [grad, kept, dst] = [Arg::new(&grad), Arg::new(&kept), Arg::new(&dst)];
        let (params, code, slope) = (Arg::new(&params), Arg::new(&code), Arg::new(&slope));
        // SAFETY: `unary_backward_packed(grad, kept, out, n, params, onto, slope)` and `unary_backward_walk(grad,
        // kept, out, walk, params, onto, slope)`; the pointers are of operands that the caller vouches for, walked within their layouts.
        unsafe {
            match way {
                Way::Packed(n) => {
                    stream.launch(kernel, grid, [grad, kept, dst, Arg::new(n), params, code, slope])
                }
                Way::Walk(walk) => {
                    stream.launch(kernel, grid, [grad, kept, dst, Arg::new(walk), params, code, slope])
                }
            }
        }
    })
}
