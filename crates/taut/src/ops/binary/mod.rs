//! Elementwise binary ops, with broadcasting.
//!
//! A named method is one line that names a [`Binary`]. [`Tensor::binary`] and [`Tensor::binary_`] are the only roads from
//! here to a kernel.

mod arithmetic;
mod backward;
mod compare;

use crate::{
    Tensor, cpu,
    device::DeviceKind,
    grad::Tape,
    ops::{check_distinct, check_fits},
    tensor::{View, ViewMut},
};
use backward::{Note, needs};
use std::ops::Range;
use taut_core::{Binary, DType, Error, Result};
use taut_cuda::launch;
use taut_memory::{Kind, Site};

impl Tensor {
    /// Combines two tensors element by element, over `self` where that loses nothing that someone needs and the result
    /// has its dtype. What backward keeps is told at the method that has the name of the op.
    ///
    /// ```
    /// use taut::{Binary, DType, Device, Tensor};
    /// let x = Tensor::full([2], 4.0, DType::F32, &Device::cpu())?;
    /// let y = Tensor::full([1], 0.5, DType::F32, &Device::cpu())?;
    /// assert_eq!(x.binary(Binary::Pow, &y)?.to_vec::<f32>()?, [2.0, 2.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add); [`DType`](crate::ErrorKind::DType) if the op does not [take](Binary::output) the dtype.
    pub fn binary(mut self, op: Binary, other: &Tensor) -> Result<Tensor> {
        let name = op.name();
        let dtype = check(op, &self, other, name)?;
        let shape = self.shape().broadcast(other.shape(), name)?;
        let note = Note::new(op, &self, other, Tape::new(name, &[&self, other]))?;
        let (a, b) = (self.layout().broadcast_to(shape)?, other.layout().broadcast_to(shape)?);
        let mut out = if dtype == self.dtype() && shape == *self.shape() && self.is_reusable() {
            let target = self.view_mut(name)?;
            eval(op, None, other.view()?.through(&b), target)?;
            self
        } else {
            let mut out = Tensor::allocate(shape, dtype, self.device(), Site::new(name, Kind::Activations))?;
            eval(op, Some(self.view()?.through(&a)), other.view()?.through(&b), out.view_mut(name)?)?;
            out
        };
        note.of(&mut out);
        Ok(out)
    }

    /// Combines two tensors element by element into the first, whatever its strides; elements outside the view are
    /// untouched.
    ///
    /// # Errors
    ///
    /// As [`add_`](Self::add_); [`DType`](crate::ErrorKind::DType) if the result has another dtype than `self`.
    pub fn binary_(&mut self, op: Binary, other: &Tensor) -> Result<()> {
        let name = format!("{}_", op.name());
        let dtype = check(op, self, other, &name)?;
        if dtype != self.dtype() {
            return Err(Error::dtype(format!(
                "{name}: the result is {dtype}, {} has no room for it",
                self.dtype()
            )));
        }
        check_distinct(self, &name)?;
        check_fits(self, other, &name)?;
        let b = other.layout().broadcast_to(*self.shape())?;
        let tape = Tape::in_place(op.name(), self, std::iter::once(other))?;
        if tape.is_on() && needs(op, &tape)[0] {
            let op = op.name();
            return Err(Error::grad(format!(
                "{name}: its backward needs what it would write over; use `{op}`"
            )));
        }
        let note = Note::new(op, self, other, tape)?;
        // Asked for first: a shared storage is refused before anything else is touched.
        let target = self.view_mut(&name)?;
        eval(op, None, other.view()?.through(&b), target)?;
        note.of(self);
        Ok(())
    }

    /// Adds `part` to the slice `range` of `axis`, in memory of its own. Nothing is noted of it.
    pub(crate) fn add_at(mut self, axis: usize, range: Range<usize>, part: &Tensor) -> Result<Tensor> {
        let op = "add_at";
        if !self.is_reusable() {
            self = self.copy()?;
        }
        let layout = self.layout().sliced(axis, range)?;
        if layout.numel() > 0 {
            let target = self.view_mut(op)?;
            eval(Binary::Add, None, part.view()?, target.through(&layout))?;
        }
        Ok(self)
    }
}

/// The dtype of the result.
fn check(op: Binary, a: &Tensor, b: &Tensor, name: &str) -> Result<DType> {
    a.same_device(b, name)?;
    a.same_dtype(b, name)?;
    let dtype = a.dtype();
    op.output(dtype).ok_or_else(|| {
        let to_bool = op.output(DType::Bool).is_some();
        let hint = match dtype {
            _ if to_bool => "; cast to bool",
            DType::Bool => "",
            _ => "; cast to a float",
        };
        Error::dtype(format!("{name}: does not take {dtype}{hint}"))
    })
}

/// Where the device is chosen, once for the family. Without `a`, `dst` is the first operand.
fn eval(op: Binary, a: Option<View<'_>>, b: View<'_>, dst: ViewMut<'_>) -> Result<()> {
    match dst.storage.device().kind() {
        DeviceKind::Cpu => cpu::binary::binary(op, a, b, dst),
        DeviceKind::Cuda { gpu, .. } => {
            let target = dst.operand()?;
            let first = a.map_or(Ok(target), |a| a.operand())?;
            launch::binary::binary(&*gpu.stream(dst.storage.writer())?, op, first, b.operand()?, target)
        }
        DeviceKind::Plan(_) => Ok(()),
    }
}
