//! Launches of `softmax.cu`.

use super::{
    rows::{Choice, Staging, choose, choose_columns},
    slabs::{Slabs, slabs},
    stay::stay,
    walk::{check_dtypes, check_shapes},
};
use crate::{Arg, Card, Operand, Stream};
use taut_core::{DType, Error, Layout, Result, Softmax};
use taut_kernels::Kernel;
use taut_memory::Block;

/// What a softmax takes beside its operands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scaling {
    /// The factor of every element before all else.
    pub scale: f32,
    /// The result in a row where nothing is larger than -inf.
    pub nothing: f32,
}

/// The size of `Peak` in CUDA.
const PEAK_BYTES: u64 = 8;

/// What [`softmax`] needs beside its operands, for those of these layouts.
pub fn workspace_bytes(
    op: Softmax,
    axis: usize,
    src: &Layout,
    dst: &Layout,
    dtype: DType,
    card: &Card,
) -> u64 {
    let operands = [src, dst].map(|layout| Operand { address: 0, layout, dtype });
    let is_empty = dst.numel() == 0 || op == Softmax::Masked || dst.axis(NAME, axis).is_err();
    let chosen = if is_empty { None } else { in_slabs(&operands, op, axis, card) };
    chosen.map_or(0, |(_, slabs)| slabs.workspace_bytes)
}

fn in_slabs(
    operands: &[Operand<'_>; 2],
    op: Softmax,
    axis: usize,
    card: &Card,
) -> Option<(Choice<2>, Slabs)> {
    let choice = choose_columns(operands, axis, op.streams(), card)?;
    let slabs = slabs(&choice, operands[1].dtype, PEAK_BYTES, card)?;
    Some((choice, slabs))
}

const NAME: &str = "softmax";

/// `dst = op(scale * src)` along `axis`; `src` may be `dst`, for the op in place. [`Softmax::Masked`] takes a mask of
/// [`DType::Bool`], already broadcast to the shape, and no other does. `workspace` has [`workspace_bytes`].
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
    (src, mask): (Operand<'_>, Option<Operand<'_>>),
    dst: Operand<'_>,
    workspace: &Block,
) -> Result<()> {
    check_shapes(NAME, &[src, dst])?;
    check_dtypes(NAME, &[src, dst])?;
    dst.layout.axis(NAME, axis)?;
    if (op == Softmax::Masked) != mask.is_some_and(|mask| mask.dtype == DType::Bool) {
        return Err(Error::dtype(format!("softmax: {op:?} with the mask {mask:?}")));
    }
    if dst.layout.numel() == 0 {
        return Ok(());
    }
    let (scale, nothing) = (Arg::new(&scaling.scale), Arg::new(&scaling.nothing));
    if let Some(mask) = mask {
        check_shapes(NAME, &[src, mask])?;
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
    if let Some((choice, slabs)) = in_slabs(&operands, op, axis, stream.card()) {
        let [src, dst] = choice.pointers(&operands);
        let [partials, totals] = slabs.places(NAME, workspace)?;
        let rows = Arg::new(&choice.rows);
        let find = [Arg::new(&src), Arg::new(&partials), rows, scale];
        let finish = [Arg::new(&src), Arg::new(&dst), Arg::new(&totals), rows, scale, nothing];
        let of = (op, operands[1].dtype, false);
        // SAFETY: `softmax_find(in, partials, rows, scale)` and `softmax_finish(in, out, totals, rows, scale, nothing)`; the
        // pointers are of operands that the caller vouches for, and the rows stay within their layouts.
        return unsafe { slabs.launch(stream, of, [partials, totals], find, finish) };
    }
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
