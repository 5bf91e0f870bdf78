//! Launches of `unary.cu`.

use super::walk::{Way, check_dtypes, check_shapes, choose};
use crate::{Arg, Operand, Param, Stream};
use taut_core::{Result, Unary};
use taut_kernels::{Kernel, args::Params};

// SAFETY: `Params` is `repr(C)`, and the build checks its size against that of its twin.
unsafe impl Param for Params {}

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
    let params = Params { value: op.params() };
    choice.each(&operands, |grid, [src, dst], way| {
        let [src, dst, params] = [Arg::new(&src), Arg::new(&dst), Arg::new(&params)];
        // SAFETY: `unary_packed(in, out, n, params)` and `unary_walk(in, out, walk, params)`; both pointers are of operands
        // that the caller vouches for, walked within their layouts.
        unsafe {
            match way {
                Way::Packed(n) => stream.launch(kernel, grid, [src, dst, Arg::new(n), params]),
                Way::Walk(walk) => stream.launch(kernel, grid, [src, dst, Arg::new(walk), params]),
            }
        }
    })
}
