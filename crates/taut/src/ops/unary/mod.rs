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
    ops::check_distinct,
    tensor::{View, ViewMut},
};
use taut_core::{DType, Error, Result, Unary};
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
        takes(op, self.dtype(), "")?;
        if self.is_reusable() {
            self.unary_(op)?;
            return Ok(self);
        }
        let mut out = Tensor::allocate(
            *self.shape(),
            self.dtype(),
            self.device(),
            Site::new(op.name(), Kind::Activations),
        )?;
        eval(op, Some(self.view()?), out.view_mut(op.name())?)?;
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
        eval(op, None, self.view_mut(&name)?)
    }
}

fn takes(op: Unary, dtype: DType, suffix: &str) -> Result<()> {
    if op.takes(dtype) {
        return Ok(());
    }
    Err(Error::dtype(format!("{}{suffix}: does not take {dtype}", op.name())))
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
