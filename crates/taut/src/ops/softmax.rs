//! Softmax along an axis.

use crate::{
    Tensor, cpu,
    device::{DeviceKind, SpecRef},
    grad::{Kept, Tape},
    tensor::{View, ViewMut},
};
use taut_core::{DType, Error, Result, Softmax};
use taut_cuda::launch::{self, softmax::Scaling};
use taut_memory::{Kind, Site};

impl Tensor {
    /// `exp(x) / sum(exp(x))` along `axis`: positive, with the sum 1. Shape `[..] -> [..]`, floats; computed in f32 (f64
    /// for f64) with the largest element of the row taken off, so that nothing overflows, and rounded once.
    ///
    /// A row that holds NaN or infinity, or nothing but -infinity, is NaN. Results below 2^-126 may come out as 0. Reuses
    /// the memory of `self` when no one else holds it and it is contiguous. Backward keeps the output: 0 extra bytes.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 1.0, 3e38, -3e38], [2, 2], &Device::cpu())?;
    /// assert_eq!(x.softmax(1)?.to_vec::<f32>()?, [0.5, 0.5, 1.0, 0.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if there is no such axis, [`DType`](crate::ErrorKind::DType) for integers and
    /// bool.
    pub fn softmax(self, axis: usize) -> Result<Tensor> {
        self.rows_of_softmax("softmax", Softmax::Plain, axis, PLAIN, None)
    }

    /// `x - ln(sum(exp(x)))` along `axis`: the logarithm of [`softmax`](Self::softmax), where that would be 0 too.
    ///
    /// A row that holds NaN or infinity, or nothing but -infinity, is NaN. Reuses the memory of `self` when no one else
    /// holds it and it is contiguous. Backward keeps the output: 0 extra bytes.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[-1000.0f32, 0.0, 0.0], [3], &Device::cpu())?;
    /// let y = x.log_softmax(0)?.to_vec::<f32>()?;
    /// assert!((y[0] + 1000.0 + 2f32.ln()).abs() < 1e-4 && (y[1] + 2f32.ln()).abs() < 1e-6);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`softmax`](Self::softmax).
    pub fn log_softmax(self, axis: usize) -> Result<Tensor> {
        self.rows_of_softmax("log_softmax", Softmax::Log, axis, PLAIN, None)
    }

    /// [`softmax`](Self::softmax) of `scale * x` over the elements where `mask` is true; 0 elsewhere. One kernel. The mask
    /// is of bools and broadcasts to the shape of `self`; without one all elements take part.
    ///
    /// What is -infinity takes no part, whatever the mask; a row in which nothing takes part is 0. A row in which NaN or
    /// infinity takes part is NaN throughout. The product is rounded to f32. Reuses the memory of `self` when no one else
    /// holds it and it is contiguous. Backward keeps the output: 0 extra bytes.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let scores = Tensor::full([2, 3], 7.0, taut::DType::F32, &Device::cpu())?;
    /// let mask = Tensor::from_slice(&[true, true, false, false, false, false], [2, 3], &Device::cpu())?;
    /// let y = scores.softmax_with(1, 0.125, Some(&mask))?;
    /// assert_eq!(y.to_vec::<f32>()?, [0.5, 0.5, 0.0, 0.0, 0.0, 0.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`softmax`](Self::softmax); [`Shape`](crate::ErrorKind::Shape) if the mask does not broadcast to `self`,
    /// [`DType`](crate::ErrorKind::DType) if it is not of bools, [`Device`](crate::ErrorKind::Device) if the devices
    /// differ.
    pub fn softmax_with(self, axis: usize, scale: f32, mask: Option<&Tensor>) -> Result<Tensor> {
        let op = if mask.is_some() { Softmax::Masked } else { Softmax::Plain };
        self.rows_of_softmax("softmax_with", op, axis, Scaling { scale, nothing: 0.0 }, mask)
    }

    fn rows_of_softmax(
        mut self,
        name: &'static str,
        op: Softmax,
        axis: usize,
        scaling: Scaling,
        mask: Option<&Tensor>,
    ) -> Result<Tensor> {
        self.layout().axis(name, axis)?;
        if !self.dtype().is_float() {
            return Err(Error::dtype(format!("{name}: does not take {}", self.dtype())));
        }
        let layout = mask.map(|mask| fit(name, &self, mask)).transpose()?;
        let mask = mask.zip(layout.as_ref());
        let mask = mask.map(|(mask, layout)| Ok(mask.view()?.through(layout))).transpose()?;
        let tape = Tape::new(name, &[&self]);
        let mut out = if self.is_contiguous() && self.is_reusable() {
            eval(op, axis, scaling, None, mask, self.view_mut(name)?)?;
            self
        } else {
            let site = Site::new(name, Kind::Activations);
            let mut out = Tensor::allocate(*self.shape(), self.dtype(), self.device(), site)?;
            eval(op, axis, scaling, Some(self.view()?), mask, out.view_mut(name)?)?;
            out
        };
        let output = tape.keep(&out, true);
        tape.note(&mut out, move |grad, flow| {
            let Some(output) = output.map(Kept::take).transpose()? else { return Ok(()) };
            let grad = match op {
                Softmax::Log => grad.log_softmax_backward(axis, &output)?,
                _ => grad.softmax_backward(axis, &output, scaling.scale)?,
            };
            flow.give(0, grad)
        });
        Ok(out)
    }
}

/// As it stands in the definition.
const PLAIN: Scaling = Scaling { scale: 1.0, nothing: f32::NAN };

/// The mask seen in the shape of `x`.
fn fit(name: &str, x: &Tensor, mask: &Tensor) -> Result<taut_core::Layout> {
    x.same_device(mask, name)?;
    if mask.dtype() != DType::Bool {
        return Err(Error::dtype(format!("{name}: the mask is {}, it must be bool", mask.dtype())));
    }
    let does_not = || {
        let (shape, mask) = (x.shape(), mask.shape());
        Error::shape(format!("{name}: the mask {mask} does not broadcast to {shape}"))
    };
    mask.layout().broadcast_to(*x.shape()).map_err(|_| does_not())
}

/// Where the device is chosen, once for the family. Without `src`, over `dst` itself.
fn eval(
    op: Softmax,
    axis: usize,
    scaling: Scaling,
    src: Option<View<'_>>,
    mask: Option<View<'_>>,
    dst: ViewMut<'_>,
) -> Result<()> {
    let device = dst.storage.device().clone();
    let source = src.as_ref().map_or(dst.layout, |src| src.layout);
    let bytes = match device.spec_ref() {
        SpecRef::Cpu => 0,
        SpecRef::Cuda(card) => {
            launch::softmax::workspace_bytes(op, axis, source, dst.layout, dst.dtype, card)
        }
    };
    let workspace = device.workspace(bytes, "softmax")?;
    match device.kind() {
        DeviceKind::Cpu => cpu::softmax::softmax(op, axis, scaling, src, mask, dst),
        DeviceKind::Cuda { gpu, .. } => {
            let target = dst.operand()?;
            let source = src.map_or(Ok(target), |src| src.operand())?;
            let mask = mask.map(|mask| mask.operand()).transpose()?;
            let stream = gpu.stream(dst.storage.writer())?;
            launch::softmax::softmax(&stream, op, axis, scaling, (source, mask), target, &workspace)
        }
        DeviceKind::Plan(_) => Ok(()),
    }
}
