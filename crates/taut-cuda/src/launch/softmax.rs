//! Launches of `softmax.cu`.

use super::{
    rows::{Staging, choose, choose_columns},
    stay::stay,
    walk::{check_dtypes, check_shapes},
};
use crate::{Arg, Operand, Stream};
use taut_core::{DType, Error, Result, Softmax};
use taut_kernels::Kernel;

/// What a softmax takes beside its operands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scaling {
    /// The factor of every element before all else.
    pub scale: f32,
    /// The result in a row where nothing is larger than -inf.
    pub nothing: f32,
}

/// `dst = op(scale * src)` along `axis`; `src` may be `dst`, for the op in place. [`Softmax::Masked`] takes a mask of
/// [`DType::Bool`], already broadcast to the shape, and no other does.
///
/// # Errors
///
/// [`Shape`](taut_core::ErrorKind::Shape) and [`DType`](taut_core::ErrorKind::DType) if operands differ in them or the mask
/// is not what the op takes, [`Device`](taut_core::ErrorKind::Device) if the op does not take the dtype,
/// [`Driver`](taut_core::ErrorKind::Driver) if the launch fails.
pub fn softmax(
    stream: &Stream,
    op: Softmax,
    axis: usize,
    scaling: Scaling,
    src: Operand<'_>,
    mask: Option<Operand<'_>>,
    dst: Operand<'_>,
) -> Result<()> {
    check_shapes("softmax", &[src, dst])?;
    check_dtypes("softmax", &[src, dst])?;
    dst.layout.axis("softmax", axis)?;
    if (op == Softmax::Masked) != mask.is_some_and(|mask| mask.dtype == DType::Bool) {
        return Err(Error::dtype(format!("softmax: {op:?} with the mask {mask:?}")));
    }
    if dst.layout.numel() == 0 {
        return Ok(());
    }
    let (scale, nothing) = (Arg::new(&scaling.scale), Arg::new(&scaling.nothing));
    if let Some(mask) = mask {
        check_shapes("softmax", &[src, mask])?;
        let operands = [src, mask, dst];
        let choice = choose(&operands, axis, op.streams(), true, Staging::Never);
        let [src, mask, dst] = choice.pointers(&operands);
        let pointers = [Arg::new(&src), Arg::new(&mask), Arg::new(&dst)];
        let [a, b, c] = pointers;
        let args = [a, b, c, Arg::new(&choice.rows), scale, nothing, Arg::new(&choice.side)];
        let kernel = Kernel::Softmax(op, operands[2].dtype, choice.part, choice.packs);
        // SAFETY: `softmax_rows(in, mask, out, rows, scale, nothing, side)`; the pointers are of operands that the caller
        // vouches for, and the rows stay within their layouts.
        return unsafe { stream.launch(kernel, choice.grid()?, args) };
    }
    let operands = [src, dst];
    // What pads a row there is scaled too, and must stay -inf.
    let staging = if scaling.scale > 0.0 { Staging::Early(stream.card()) } else { Staging::Never };
    if let Some(choice) = choose_columns(&operands, axis, op.streams(), stream.card()) {
        let [src, dst] = choice.pointers(&operands);
        let [a, b] = [&src, &dst].map(Arg::new);
        let args = [a, b, Arg::new(&choice.rows), scale, nothing, Arg::new(&choice.side)];
        let kernel = Kernel::Softmax(op, operands[1].dtype, choice.part, choice.packs);
        // SAFETY: `softmax_columns(in, out, rows, scale, nothing, side)`; as above.
        return unsafe { stream.launch(kernel, choice.grid()?, args) };
    }
    let choice = choose(&operands, axis, op.streams(), true, staging);
    let ([src, dst], mask) = (choice.pointers(&operands), 0u64);
    let stay = stay(&choice, 1, 0, usize::MAX, stream.card()).filter(|_| scaling.scale > 0.0);
    if let Some(stay) = stay {
        let [a, b] = [&src, &dst].map(Arg::new);
        let args = [a, b, Arg::new(&choice.rows), scale, nothing, Arg::new(&stay.side)];
        let kernel = Kernel::SoftmaxStay(op, operands[1].dtype, stay.teams);
        // SAFETY: `softmax_stay(in, out, rows, scale, nothing, side)`; as above.
        return unsafe { stream.launch(kernel, stay.grid, args) };
    }
    let [a, b, c] = [Arg::new(&src), Arg::new(&mask), Arg::new(&dst)];
    let args = [a, b, c, Arg::new(&choice.rows), scale, nothing, Arg::new(&choice.side)];
    let kernel = Kernel::Softmax(op, operands[1].dtype, choice.part, choice.packs);
    // SAFETY: as above; without a mask the kernel does not read that argument.
    unsafe { stream.launch(kernel, choice.grid()?, args) }
}
