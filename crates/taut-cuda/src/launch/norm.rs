//! Launches of `norm.cu`.

use super::{
    fill::flat,
    rows::{Staging, choose},
    stay::stay,
    walk::{check_dtypes, check_shapes},
};
use crate::{Arg, Card, Operand, Stream};
use taut_core::{DType, Error, Norm, Result};
use taut_kernels::{Kernel, pack_len};

/// What a norm takes beside the tensors of its size: elements along a row, contiguous, of the dtype of the op or f32.
#[derive(Clone, Copy, Debug)]
pub struct Affine<'a> {
    /// The factors, if there are any.
    pub weight: Option<Operand<'a>>,
    /// What is added, if anything; of the dtype of the factors.
    pub bias: Option<Operand<'a>>,
    /// See [`Norm`].
    pub eps: f32,
}

/// The sum that a norm is taken of, beside its first operand.
#[derive(Clone, Copy, Debug)]
pub struct Residual<'a> {
    /// What is added.
    pub other: Operand<'a>,
    /// Where the sum goes; may be the first operand.
    pub sum: Operand<'a>,
}

/// `dst = op(src)` along `axis`; `src` may be `dst`, for the op in place. Ops of a sum take a [`Residual`], and no other
/// does.
///
/// # Errors
///
/// [`Shape`](taut_core::ErrorKind::Shape) and [`DType`](taut_core::ErrorKind::DType) if operands differ in them or are not
/// what the op takes, [`Device`](taut_core::ErrorKind::Device) if the op does not take the dtype,
/// [`Driver`](taut_core::ErrorKind::Driver) if the launch fails.
pub fn norm(
    stream: &Stream,
    op: Norm,
    axis: usize,
    src: Operand<'_>,
    residual: Option<Residual<'_>>,
    affine: Affine<'_>,
    dst: Operand<'_>,
) -> Result<()> {
    let name = op.name();
    check_shapes(name, &[src, dst])?;
    check_dtypes(name, &[src, dst])?;
    let n = dst.layout.axis(name, axis)?;
    if (op.streams() == 2) != residual.is_some() {
        return Err(Error::shape(format!("{name}: the operands are not those of the op")));
    }
    if dst.layout.numel() == 0 {
        return Ok(());
    }
    let along = along(name, &affine, n, dst.dtype)?;
    let beside_bytes = along.bytes(n, dst.dtype);
    let Along { weight, bias, wide, aligned } = along;
    let [weight, bias] = [Arg::new(&weight), Arg::new(&bias)];
    let is_wide = wide == 1;
    let (eps, wide) = (Arg::new(&affine.eps), Arg::new(&wide));
    let Some(Residual { other, sum }) = residual else {
        let operands = [src, dst];
        let choice = choose(&operands, axis, 1, aligned, staging(op, stream.card()));
        let ([src, dst], none) = (choice.pointers(&operands), 0u64);
        let least_units = stay_units(op, operands[1].dtype, is_wide);
        if let Some(stay) = stay(&choice, 1, beside_bytes, least_units, stream.card()) {
            let [a, b] = [&src, &dst].map(Arg::new);
            let args = [a, b, weight, bias, Arg::new(&choice.rows), eps, wide, Arg::new(&stay.side)];
            let kernel = Kernel::NormStay(op, operands[1].dtype, stay.teams);
            // SAFETY: `norm_stay(in, out, weight, bias, rows, eps, wide, side)`; as below.
            return unsafe { stream.launch(kernel, stay.grid, args) };
        }
        let [a, b, c, d] = [&src, &none, &none, &dst].map(Arg::new);
        let args = [a, b, c, d, weight, bias, Arg::new(&choice.rows), eps, wide, Arg::new(&choice.side)];
        let kernel = Kernel::Norm(op, operands[1].dtype, choice.part, choice.packs);
        // SAFETY: `norm_rows(in, residual, sum, out, weight, bias, rows, eps, wide, side)`; the pointers are of operands
        // that the caller vouches for, the rows stay within their layouts, weight and bias are null or as long as a row,
        // and an op that is not of a sum does not read the arguments that are 0.
        return unsafe { stream.launch(kernel, choice.grid()?, args) };
    };
    let operands = [src, other, sum, dst];
    check_shapes(name, &operands)?;
    check_dtypes(name, &operands)?;
    let choice = choose(&operands, axis, 2, aligned, Staging::Never);
    let [src, other, sum, dst] = choice.pointers(&operands);
    let [a, b, c, d] = [&src, &other, &sum, &dst].map(Arg::new);
    let args = [a, b, c, d, weight, bias, Arg::new(&choice.rows), eps, wide, Arg::new(&choice.side)];
    let kernel = Kernel::Norm(op, operands[3].dtype, choice.part, choice.packs);
    // SAFETY: as above, with all arguments.
    unsafe { stream.launch(kernel, choice.grid()?, args) }
}

/// What the blocks of an op hold of rows: the others hold them as f32, which leaves registers enough.
fn staging(op: Norm, card: &Card) -> Staging<'_> {
    if op == Norm::Layer { Staging::Narrow(card) } else { Staging::Late(card) }
}

/// Packs of a row from which on blocks that stay are as fast as a block for each row, which has to tell as much of what it has
/// found to so many more threads. Of 16 bits those that no block holds, where what is beside them is no wider.
fn stay_units(op: Norm, dtype: DType, is_wide: bool) -> usize {
    match (op, dtype) {
        (Norm::Layer, DType::BF16 | DType::F16) if !is_wide => 3073,
        (Norm::Layer, DType::BF16) => 2048,
        (Norm::Layer, DType::F16) => 3072,
        (Norm::Layer, DType::F32) => 8192,
        _ => usize::MAX,
    }
}

/// The elements along a row, as the kernels take them.
pub(super) struct Along {
    pub(super) weight: u64,
    bias: u64,
    pub(super) wide: u32,
    /// Whether they begin on whole packs.
    pub(super) aligned: bool,
}

impl Along {
    /// Of all that stands beside a row of `n` elements of `dtype`.
    pub(super) fn bytes(&self, n: usize, dtype: DType) -> usize {
        let size = if self.wide == 1 { DType::F32.size() } else { dtype.size() };
        [self.weight, self.bias].iter().filter(|&&pointer| pointer != 0).count() * n * size
    }
}

pub(super) fn along(name: &str, affine: &Affine<'_>, n: usize, dtype: DType) -> Result<Along> {
    let given = [affine.weight, affine.bias];
    let own = given.iter().flatten().map(|operand| operand.dtype).next().unwrap_or(dtype);
    let (mut pointers, mut aligned) = ([0; 2], true);
    for (pointer, operand) in pointers.iter_mut().zip(given) {
        let Some(operand) = operand else { continue };
        let elements = flat(name, &operand)?;
        if operand.dtype != own || (own != dtype && own != DType::F32) {
            return Err(Error::dtype(format!("{name}: {} beside {own} for {dtype}", operand.dtype)));
        }
        match elements {
            Some((at, len)) if len == n as u64 => *pointer = at,
            _ => return Err(Error::shape(format!("{name}: {} for rows of {n}", operand.layout.shape()))),
        }
        aligned &= operand.layout.offset().is_multiple_of(pack_len(&[own]));
    }
    let [weight, bias] = pointers;
    Ok(Along { weight, bias, wide: u32::from(own == DType::F32), aligned })
}
