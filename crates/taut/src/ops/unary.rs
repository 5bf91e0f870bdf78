//! Elementwise unary ops.
//!
//! A named method is one line that names a [`Unary`]. [`Tensor::unary`] and [`Tensor::unary_`] are the only roads from
//! here to a kernel.

use crate::{
    Tensor, cpu,
    device::DeviceKind,
    tensor::{View, ViewMut},
};
use taut_core::{DType, Error, Result, Unary};
use taut_cuda::launch;
use taut_memory::{Kind, Site};

impl Tensor {
    /// `max(x, 0)`. NaN stays NaN, and -0 stays -0. Shape `[..] -> [..]`, floats.
    ///
    /// Reuses the memory of `self` when no one else holds it.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[-1.0f32, 2.0], [2], &Device::cpu())?;
    /// assert_eq!(x.relu()?.to_vec::<f32>()?, [0.0, 2.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for integers and bool.
    pub fn relu(self) -> Result<Tensor> {
        self.unary(Unary::Relu)
    }

    /// [`relu`](Self::relu), always in place.
    ///
    /// # Errors
    ///
    /// [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else holds this storage.
    pub fn relu_(&mut self) -> Result<()> {
        self.unary_(Unary::Relu)
    }

    /// `x` where `x >= 0`, `slope * x` elsewhere. NaN stays NaN. Shape `[..] -> [..]`, floats.
    ///
    /// Reuses the memory of `self` when no one else holds it.
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for integers and bool.
    pub fn leaky_relu(self, slope: f32) -> Result<Tensor> {
        self.unary(Unary::LeakyRelu { slope })
    }

    /// [`leaky_relu`](Self::leaky_relu), always in place.
    ///
    /// # Errors
    ///
    /// [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else holds this storage.
    pub fn leaky_relu_(&mut self, slope: f32) -> Result<()> {
        self.unary_(Unary::LeakyRelu { slope })
    }

    /// `-x`. Shape `[..] -> [..]`, floats and i64, which wraps.
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for unsigned integers and bool.
    pub fn neg(self) -> Result<Tensor> {
        self.unary(Unary::Neg)
    }

    /// `x + value`. Shape `[..] -> [..]`, all dtypes but bool; `value` is converted to the dtype (to f32 for 16-bit
    /// floats), and integers wrap.
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for bool.
    pub fn add_scalar(self, value: f64) -> Result<Tensor> {
        self.unary(Unary::AddScalar { value })
    }

    /// `x - value`: [`add_scalar`](Self::add_scalar) of `-value`.
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for unsigned integers and bool: they have no `-value`.
    pub fn sub_scalar(self, value: f64) -> Result<Tensor> {
        if !self.dtype().is_float() && self.dtype() != DType::I64 {
            return Err(Error::dtype(format!("sub_scalar: {} has no negative values", self.dtype())));
        }
        self.unary(Unary::AddScalar { value: -value })
    }

    /// `x * value`. Shape `[..] -> [..]`, all dtypes but bool; `value` is converted as in
    /// [`add_scalar`](Self::add_scalar).
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for bool.
    pub fn mul_scalar(self, value: f64) -> Result<Tensor> {
        self.unary(Unary::MulScalar { value })
    }

    /// Applies `op` to every element, over `self` where that loses nothing that someone needs.
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
        if self.layout().overlaps() {
            let name = op.name();
            return Err(Error::shared(format!(
                "{name}_: {} is broadcast: one element stands for several",
                self.shape()
            )));
        }
        eval(op, None, self.view_mut(&format!("{}_", op.name()))?)
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
