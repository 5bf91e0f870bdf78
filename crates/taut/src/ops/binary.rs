//! Elementwise binary ops, with broadcasting.

use crate::{
    Tensor, cpu,
    device::DeviceKind,
    tensor::{View, ViewMut},
};
use taut_core::{Binary, DType, Error, Result};
use taut_cuda::launch;
use taut_memory::{Kind, Site};

impl Tensor {
    /// `a + b`, broadcast at the last axes: `[.., n] + [n] -> [.., n]`. All dtypes but bool; integers wrap.
    ///
    /// Reuses the memory of `self` when no one else holds it and it has the shape of the result. `other` is only read.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let x = Tensor::zeros([2, 3], DType::F32, &Device::cpu())?;
    /// let row = Tensor::from_slice(&[1.0f32, 2.0, 3.0], [3], &Device::cpu())?;
    /// assert_eq!(x.add(&row)?.to_vec::<f32>()?, [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if the shapes do not broadcast, [`DType`](crate::ErrorKind::DType) if the
    /// dtypes differ or are bool, [`Device`](crate::ErrorKind::Device) if the devices differ.
    pub fn add(self, other: &Tensor) -> Result<Tensor> {
        self.binary(Binary::Add, other)
    }

    /// `a - b`; otherwise as [`add`](Self::add).
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub fn sub(self, other: &Tensor) -> Result<Tensor> {
        self.binary(Binary::Sub, other)
    }

    /// `a * b`; otherwise as [`add`](Self::add).
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub fn mul(self, other: &Tensor) -> Result<Tensor> {
        self.binary(Binary::Mul, other)
    }

    /// `a / b`, floats only; otherwise as [`add`](Self::add).
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add), and [`DType`](crate::ErrorKind::DType) for integers.
    pub fn div(self, other: &Tensor) -> Result<Tensor> {
        self.binary(Binary::Div, other)
    }

    /// `self += other`, always in place; `other` broadcasts to the shape of `self`.
    ///
    /// # Errors
    ///
    /// [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else holds this storage; as
    /// [`add`](Self::add). Nothing is changed then.
    pub fn add_(&mut self, other: &Tensor) -> Result<()> {
        self.binary_(Binary::Add, other)
    }

    /// Combines two tensors element by element, over `self` where that loses nothing that someone needs.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub fn binary(mut self, op: Binary, other: &Tensor) -> Result<Tensor> {
        let name = op.name();
        check(op, &self, other, name)?;
        let shape = self.shape().broadcast(other.shape(), name)?;
        if shape == *self.shape() && self.is_reusable() {
            self.binary_(op, other)?;
            return Ok(self);
        }
        let (a, b) = (self.layout().broadcast_to(shape)?, other.layout().broadcast_to(shape)?);
        let mut out =
            Tensor::allocate(shape, self.dtype(), self.device(), Site::new(name, Kind::Activations))?;
        eval(op, Some(self.view()?.through(&a)), other.view()?.through(&b), out.view_mut(name)?)?;
        Ok(out)
    }

    /// Combines two tensors element by element into the first, whatever its strides; elements outside the view are
    /// untouched.
    ///
    /// # Errors
    ///
    /// As [`add_`](Self::add_).
    pub fn binary_(&mut self, op: Binary, other: &Tensor) -> Result<()> {
        let name = format!("{}_", op.name());
        check(op, self, other, &name)?;
        if self.layout().overlaps() {
            return Err(Error::shared(format!(
                "{name}: {} is broadcast: one element stands for several",
                self.shape()
            )));
        }
        let fits = self.shape().broadcast(other.shape(), &name)? == *self.shape();
        if !fits {
            let (a, b) = (self.shape(), other.shape());
            return Err(Error::shape(format!("{name}: {b} does not broadcast to {a}")));
        }
        let b = other.layout().broadcast_to(*self.shape())?;
        // Asked for first: a shared storage is refused before anything else is touched.
        let target = self.view_mut(&name)?;
        eval(op, None, other.view()?.through(&b), target)
    }
}

fn check(op: Binary, a: &Tensor, b: &Tensor, name: &str) -> Result<()> {
    a.same_device(b, name)?;
    a.same_dtype(b, name)?;
    if !op.takes(a.dtype()) {
        let hint = if a.dtype() == DType::Bool { "" } else { "; cast to a float" };
        return Err(Error::dtype(format!("{name}: does not take {}{hint}", a.dtype())));
    }
    Ok(())
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
