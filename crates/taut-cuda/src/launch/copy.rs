//! Launches of `copy.cu`.

use super::walk::{Way, check_shapes, choose};
use crate::{Arg, Operand, Stream};
use taut_core::Result;
use taut_kernels::Kernel;

/// `dst = src`, converted to the dtype of `dst`. Shapes are equal; the two do not overlap.
///
/// # Errors
///
/// [`Shape`](taut_core::ErrorKind::Shape) if the shapes differ, [`Driver`](taut_core::ErrorKind::Driver) if the launch fails.
pub fn copy(stream: &Stream, src: Operand<'_>, dst: Operand<'_>) -> Result<()> {
    let operands = [src, dst];
    check_shapes("copy", &operands)?;
    if dst.layout.numel() == 0 {
        return Ok(());
    }
    let choice = choose(&operands);
    let kernel = Kernel::Copy(src.dtype, dst.dtype, choice.access);
    choice.each(&operands, |grid, [src, dst], way| {
        let [src, dst] = [Arg::new(&src), Arg::new(&dst)];
        // SAFETY: `copy_packed(in, out, n)` and `copy_walk(in, out, walk)`; both pointers are of operands that the caller
        // vouches for, walked within their layouts.
        unsafe {
            match way {
                Way::Packed(n) => stream.launch(kernel, grid, [src, dst, Arg::new(n)]),
                Way::Walk(walk) => stream.launch(kernel, grid, [src, dst, Arg::new(walk)]),
            }
        }
    })
}
