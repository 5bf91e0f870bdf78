//! Launches of `cross_entropy.cu`.

use super::{
    fill::flat,
    rows::{Choice, Staging, choose},
    walk::{check_dtypes, check_shapes},
};
use crate::{Arg, Operand, Param, Stream};
use taut_core::{DType, Error, Index, Result};
use taut_kernels::{Kernel, args};

// SAFETY: `Labels` is `repr(C)`, and the build checks its size against that of its twin.
unsafe impl Param for args::Labels {}

const NAME: &str = "cross_entropy";

/// What rows are compared with, and where that goes.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    /// `[rows]` of i64.
    pub targets: Operand<'a>,
    /// `[rows]` of f32, flat.
    pub losses: Operand<'a>,
    /// The share of a target that all classes have evenly.
    pub smoothing: f32,
    /// The label of rows that do not count.
    pub ignored: Option<i64>,
}

/// Where gradients go.
#[derive(Clone, Copy, Debug)]
pub struct Grad<'a> {
    /// What they are multiplied by: one f32.
    pub scale: Operand<'a>,
    /// Of the shape of the logits.
    pub dst: Operand<'a>,
}

/// The losses of the rows of `logits`, `[rows, classes]`, and with a [`Grad`] what they give their logits, which may stand
/// over those. A label that is out of range is reported by the next call that waits for the device.
///
/// # Errors
///
/// [`Shape`](taut_core::ErrorKind::Shape) or [`DType`](taut_core::ErrorKind::DType) if the operands do not fit,
/// [`Device`](taut_core::ErrorKind::Device) if the op does not take the dtype, [`Driver`](taut_core::ErrorKind::Driver) if
/// the launch fails.
pub fn cross_entropy(
    stream: &Stream,
    logits: Operand<'_>,
    labels: Labels<'_>,
    grad: Option<Grad<'_>>,
) -> Result<()> {
    let (&[rows, _], &[target_step]) = (&logits.layout.shape()[..], labels.targets.layout.strides()) else {
        return Err(Error::shape(format!(
            "{NAME}: {} by {}",
            logits.layout.shape(),
            labels.targets.layout.shape()
        )));
    };
    let dtypes =
        [labels.targets.dtype, labels.losses.dtype, grad.map_or(DType::F32, |grad| grad.scale.dtype)];
    if dtypes != [DType::I64, DType::F32, DType::F32] || labels.targets.layout.numel() != rows {
        return Err(Error::dtype(format!("{NAME}: labels, losses and scale are {dtypes:?}, of {rows} rows")));
    }
    let losses = match flat(NAME, &labels.losses)? {
        Some((at, len)) if len == rows as u64 => at,
        _ => return Err(Error::shape(format!("{NAME}: the losses are not those of {rows} rows"))),
    };
    if logits.layout.numel() == 0 {
        return Ok(());
    }
    let labels = args::Labels {
        targets: labels.targets.pointer(),
        target_step: target_step as u64,
        losses,
        scale: grad.map_or(0, |grad| grad.scale.pointer()),
        ignored: labels.ignored.unwrap_or(0),
        ignores: u32::from(labels.ignored.is_some()),
        smoothing: labels.smoothing,
    };
    let Some(Grad { dst, .. }) = grad else {
        let choice = choose(&[logits], 1, 1, true, Staging::Once);
        let [src] = choice.pointers(&[logits]);
        return launch(stream, logits.dtype, false, &choice, [src, 0], &labels);
    };
    let operands = [logits, dst];
    check_shapes(NAME, &operands)?;
    check_dtypes(NAME, &operands)?;
    let choice = choose(&operands, 1, 1, true, Staging::Early(stream.card()));
    launch(stream, dst.dtype, true, &choice, choice.pointers(&operands), &labels)
}

fn launch<const N: usize>(
    stream: &Stream,
    dtype: DType,
    grad: bool,
    choice: &Choice<N>,
    [src, dst]: [u64; 2],
    labels: &args::Labels,
) -> Result<()> {
    let fault = stream.context().faults().of(Index::CrossEntropy);
    let [src, dst] = [&src, &dst].map(Arg::new);
    let args = [src, dst, Arg::new(labels), Arg::new(&choice.rows), Arg::new(&fault), Arg::new(&choice.side)];
    let kernel = Kernel::CrossEntropy(grad, dtype, choice.part, choice.packs);
    // SAFETY: `cross_entropy_rows(in, out, labels, rows, fault, side)`; the pointers, those of the labels too, are of
    // operands that the caller vouches for, with an element for each row; the rows stay within their layouts, of which
    // there are two with gradients and one without, where nothing goes to the null pointer.
    unsafe { stream.launch(kernel, choice.grid()?, args) }
}
