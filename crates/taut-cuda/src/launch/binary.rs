//! Launches of `binary.cu`.

use super::walk::{Way, check_dtypes, check_shapes, choose};
use crate::{Arg, Operand, Stream};
use taut_core::{Binary, Error, Result};
use taut_kernels::Kernel;

/// `dst = op(a, b)`, element by element. `a` and `b` have one dtype, `dst` has that of the [output](Binary::output); `a` and
/// `b` are already broadcast (stride 0) to the shape of `dst`, and either may be `dst`, for the op in place.
///
/// # Errors
///
/// [`Shape`](taut_core::ErrorKind::Shape) and [`DType`](taut_core::ErrorKind::DType) if operands are not so,
/// [`Device`](taut_core::ErrorKind::Device) if the op does not take the dtype, [`Driver`](taut_core::ErrorKind::Driver) if the launch fails.
pub fn binary(stream: &Stream, op: Binary, a: Operand<'_>, b: Operand<'_>, dst: Operand<'_>) -> Result<()> {
    let operands = [a, b, dst];
    check_shapes(op.name(), &operands)?;
    check_dtypes(op.name(), &operands[..2])?;
    if op.output(a.dtype) != Some(dst.dtype) {
        return Err(Error::dtype(format!("{}: {} does not give {}", op.name(), a.dtype, dst.dtype)));
    }
    if dst.layout.numel() == 0 {
        return Ok(());
    }
    let choice = choose(&operands);
    let kernel = Kernel::Binary(op, a.dtype, choice.access);
    choice.each(&operands, |grid, [a, b, dst], way| {
        let [a, b, dst] = [Arg::new(&a), Arg::new(&b), Arg::new(&dst)];
        // SAFETY: `binary_packed(a, b, out, n)` and `binary_walk(a, b, out, walk)`; the pointers are of operands that the
        // caller vouches for, walked within their layouts.
        unsafe {
            match way {
                Way::Packed(n) => stream.launch(kernel, grid, [a, b, dst, Arg::new(n)]),
                Way::Walk(walk) => stream.launch(kernel, grid, [a, b, dst, Arg::new(walk)]),
            }
        }
    })
}
