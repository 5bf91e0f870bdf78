//! Launches of `select.cu`.

use super::walk::{Way, check_dtypes, check_shapes, choose};
use crate::{Arg, Operand, Stream};
use taut_core::{DType, Error, Result};
use taut_kernels::Kernel;

/// `dst = mask ? a : b`, element by element. The mask is of bools, `a`, `b` and `dst` of one dtype; all but `dst` are
/// already broadcast (stride 0) to its shape, and `a` or `b` may be `dst`, for the op in place.
///
/// # Errors
///
/// [`Shape`](taut_core::ErrorKind::Shape) and [`DType`](taut_core::ErrorKind::DType) if operands are not so,
/// [`Driver`](taut_core::ErrorKind::Driver) if the launch fails.
pub fn select(
    stream: &Stream,
    mask: Operand<'_>,
    a: Operand<'_>,
    b: Operand<'_>,
    dst: Operand<'_>,
) -> Result<()> {
    let operands = [mask, a, b, dst];
    check_shapes("select", &operands)?;
    check_dtypes("select", &operands[1..])?;
    if mask.dtype != DType::Bool {
        return Err(Error::dtype(format!("select: the mask is {}, it must be bool", mask.dtype)));
    }
    if dst.layout.numel() == 0 {
        return Ok(());
    }
    let choice = choose(&operands);
    let kernel = Kernel::Select(dst.dtype.size(), choice.access);
    choice.each(&operands, |grid, [mask, a, b, dst], way| {
        let [mask, a, b, dst] = [Arg::new(&mask), Arg::new(&a), Arg::new(&b), Arg::new(&dst)];
        // SAFETY: `select_packed(mask, a, b, out, n)` and `select_walk(mask, a, b, out, walk)`; the pointers are of operands
        // that the caller vouches for, walked within their layouts.
        unsafe {
            match way {
                Way::Packed(n) => stream.launch(kernel, grid, [mask, a, b, dst, Arg::new(n)]),
                Way::Walk(walk) => stream.launch(kernel, grid, [mask, a, b, dst, Arg::new(walk)]),
            }
        }
    })
}
