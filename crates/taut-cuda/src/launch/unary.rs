//! Launches of `unary.cu`.

use super::walk::{Way, check_dtypes, check_shapes, choose};
use crate::{Arg, Operand, Stream};
use taut_core::{Result, Unary};
use taut_kernels::Kernel;

/// `dst = op(src)`, element by element. Shapes and dtypes are equal; `src` may be `dst`, for the op in place.
///
/// # Errors
///
/// [`Shape`](taut_core::ErrorKind::Shape) and [`DType`](taut_core::ErrorKind::DType) if operands differ in them, [`Device`](taut_core::ErrorKind::Device) if the op does not take the
/// dtype, [`Driver`](taut_core::ErrorKind::Driver) if the launch fails.
pub fn unary(stream: &Stream, op: Unary, src: Operand<'_>, dst: Operand<'_>) -> Result<()> {
    let operands = [src, dst];
    check_shapes(op.name(), &operands)?;
    check_dtypes(op.name(), &operands)?;
    if dst.layout.numel() == 0 {
        return Ok(());
    }
    let choice = choose(&operands);
    let kernel = Kernel::Unary(op, dst.dtype, choice.access);
    let param = op.param();
    choice.each(&operands, |grid, [src, dst], way| {
        let [src, dst, param] = [Arg::new(&src), Arg::new(&dst), Arg::new(&param)];
        // SAFETY: `unary_packed(in, out, n, param)` and `unary_walk(in, out, walk, param)`; both pointers are of operands
        // that the caller vouches for, walked within their layouts.
        unsafe {
            match way {
                Way::Packed(n) => stream.launch(kernel, grid, [src, dst, Arg::new(n), param]),
                Way::Walk(walk) => stream.launch(kernel, grid, [src, dst, Arg::new(walk), param]),
            }
        }
    })
}
