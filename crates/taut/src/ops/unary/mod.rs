//! Elementwise unary ops.
//!
//! A named method is one line that names a [`Unary`]. [`Tensor::unary`] and [`Tensor::unary_`] are the only roads from
//! here to a kernel.

mod activation;
mod arithmetic;
mod function;

use crate::{
    Tensor, cpu,
    device::DeviceKind,
    grad::{Kept, Tape},
    ops::{check_distinct, unary_backward},
    tensor::{View, ViewMut},
};
use taut_core::{DType, Error, Kept as Keeps, Result, Unary};
use taut_cuda::launch;
use taut_memory::{Kind, Site};

impl Tensor {
    /// Applies `op` to every element, over `self` where that loses nothing that someone needs. What backward keeps is told at
    /// the method that has the name of the op.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor, Unary};
    /// let x = Tensor::full([2], 4.0, DType::F32, &Device::cpu())?;
    /// assert_eq!(x.unary(Unary::Sqrt)?.to_vec::<f32>()?, [2.0, 2.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) if the op does not [take](Unary::takes) the dtype.
    pub fn unary(mut self, op: Unary) -> Result<Tensor> {
        let name = op.name();
        takes(op, self.dtype(), "")?;
        let tape = Tape::new(name, &[&self]);
        let kept = keep(op, &self, &tape)?;
        let mut out = if self.is_reusable() {
            eval(op, None, self.view_mut(name)?)?;
            self
        } else {
            let site = Site::new(name, Kind::Activations);
            let mut out = Tensor::allocate(*self.shape(), self.dtype(), self.device(), site)?;
            eval(op, Some(self.view()?), out.view_mut(name)?)?;
            out
        };
        note(op, tape, kept, &mut out);
        Ok(out)
    }

    /// Applies `op` to every element in place, whatever the strides; elements outside the view are untouched.
    ///
    /// # Errors
    ///
    /// [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else holds this storage, or if the view
    /// itself shows an element twice; as [`unary`](Self::unary). Nothing is changed then.
    pub fn unary_(&mut self, op: Unary) -> Result<()> {
        takes(op, self.dtype(), "_")?;
        let name = format!("{}_", op.name());
        check_distinct(self, &name)?;
        let tape = Tape::in_place(op.name(), self, std::iter::empty())?;
        if tape.is_on() && op.kept() == Some(Keeps::Input) && op.choice().is_none() {
            return Err(Error::grad(format!(
                "{name}: its backward needs what it would write over; use `{}`",
                op.name()
            )));
        }
        let kept = if op.choice().is_some() { keep(op, self, &tape)? } else { None };
        eval(op, None, self.view_mut(&name)?)?;
        note(op, tape, kept, self);
        Ok(())
    }
}

fn takes(op: Unary, dtype: DType, suffix: &str) -> Result<()> {
    if op.takes(dtype) {
        return Ok(());
    }
    Err(Error::dtype(format!("{}{suffix}: does not take {dtype}", op.name())))
}

/// What the backward needs of the input: all of it, or which way a choice went, or nothing.
fn keep(op: Unary, x: &Tensor, tape: &Tape) -> Result<Option<Kept>> {
    match op.choice() {
        Some((ask, _)) if tape.is_on() => Ok(tape.keep(&x.bits(op.name(), ask, x, *x.shape())?, true)),
        Some(_) => Ok(None),
        None => Ok(tape.keep(x, op.kept() == Some(Keeps::Input))),
    }
}

/// Notes `out` as what `op` made of the input, of which there is what its backward needs.
fn note(op: Unary, tape: Tape, kept: Option<Kept>, out: &mut Tensor) {
    let by_output = (op.kept() == Some(Keeps::Output)).then_some(op);
    tape.note_activated(out, by_output, move |grad, flow| {
        let grad = match (op, kept.map(Kept::take).transpose()?) {
            (_, Some(kept)) => match op.choice() {
                Some((_, factor)) => grad.choose(&kept, true, factor)?,
                None => return unary_backward::give(grad, op, kept, flow),
            },
            (Unary::Neg | Unary::MulScalar { .. }, None) => grad.unary(op)?,
            // Of what changes in jumps only.
            (Unary::Sign | Unary::Floor | Unary::Ceil | Unary::Round, None) => grad.mul_scalar(0.0)?,
            (_, None) => grad,
        };
        flow.give(0, grad)
    });
}

/// Where the device is chosen, once for the family. Without `src`, over `dst` itself.
fn eval(op: Unary, src: Option<View<'_>>, dst: ViewMut<'_>) -> Result<()> {
    match dst.storage.device().kind() {
        DeviceKind::Cpu => cpu::unary::unary(op, src, dst),
        DeviceKind::Cuda { gpu, .. } => {
            let target = dst.operand()?;
            let source = src.map_or(Ok(target), |src| src.operand())?;
            launch::unary::unary(&*gpu.stream(dst.storage.writer())?, op, source, target)
        }
        DeviceKind::Plan(_) => Ok(()),
    }
}
