//! Launches of `fused.cu`.

use super::walk::{Way, check_dtypes, check_shapes, choose_with};
use crate::{Arg, Operand, Param, Stream};
use taut_core::{Activation, DType, Layout, Mask, Result};
use taut_kernels::{
    Kernel,
    args::{FUSED_LEN, Parts},
};

// SAFETY: `Parts` is `repr(C)`, and the build checks its size against that of its twin.
unsafe impl Param for Parts {}

/// What is done in one pass: `dst = residual + dropout(activation(src + bias))`. Operands are already broadcast to the
/// shape of `dst`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fused<'a> {
    /// Added first.
    pub bias: Option<Operand<'a>>,
    /// Applied to the sum.
    pub activation: Activation,
    /// What is dropped of that.
    pub mask: Option<Mask>,
    /// Added last.
    pub residual: Option<Operand<'a>>,
}

/// Runs the pass. Shapes and dtypes are equal; `src` or the residual may be `dst`, for the op in place.
///
/// # Errors
///
/// [`Shape`](taut_core::ErrorKind::Shape) and [`DType`](taut_core::ErrorKind::DType) if operands differ in them,
/// [`Driver`](taut_core::ErrorKind::Driver) if the launch fails.
pub fn fused(stream: &Stream, fused: Fused<'_>, src: Operand<'_>, dst: Operand<'_>) -> Result<()> {
    // What is absent is never read; as an operand it is in nobody's way.
    let (bias, residual) = (fused.bias.unwrap_or(dst), fused.residual.unwrap_or(dst));
    check_dtypes("fused", &[src, bias, residual, dst])?;
    check_shapes("fused", &[src, bias, residual, dst])?;
    if dst.layout.numel() == 0 {
        return Ok(());
    }
    // Its positions are the row-major numbers of the elements: bytes from address 0 on.
    let numbers = Layout::contiguous(*dst.layout.shape());
    let layout = if fused.mask.is_some() { &numbers } else { dst.layout };
    let operands = [src, bias, residual, Operand { address: 0, layout, dtype: DType::U8 }, dst];
    let choice = choose_with(&operands, FUSED_LEN);
    let (activation, slope) = fused.activation.code();
    let mask = fused.mask.unwrap_or_default();
    let Mask { seed, threshold, scale } = mask;
    let kernel = Kernel::Fused(dst.dtype, choice.access, threshold != 0);
    choice.each(&operands, |grid, [src, bias, residual, first, dst], way| {
        let bias = fused.bias.map_or(0, |_| bias);
        let residual = fused.residual.map_or(0, |_| residual);
        let parts = Parts { bias, residual, seed, threshold, scale, activation, slope };
        let [src, dst, first, parts] = [Arg::new(&src), Arg::new(&dst), Arg::new(&first), Arg::new(&parts)];
        // SAFETY: `fused_packed(in, out, n, parts)` and `fused_walk(in, out, walk, first, parts)`; the pointers, those of
        // `parts` too, are of operands that the caller vouches for, walked within their layouts, or null.
        unsafe {
            match way {
                Way::Packed(n) => stream.launch(kernel, grid, [src, dst, Arg::new(n), parts]),
                Way::Walk(walk) => stream.launch(kernel, grid, [src, dst, Arg::new(walk), first, parts]),
            }
        }
    })
}
