//! The backward of softmax along an axis.

use crate::{
    Tensor, cpu,
    device::{DeviceKind, SpecRef},
    grad::refuse,
    tensor::{View, ViewMut},
};
use taut_core::{Error, Result, Softmax};
use taut_cuda::launch;
use taut_memory::{Kind, Site};

impl Tensor {
    /// The gradient of the operand of a [`softmax`](Self::softmax) or [`softmax_with`](Self::softmax_with) along `axis`,
    /// where `self` is that of its output: `scale * y * (self - sum(self * y))`, where `y` is `output` and `scale` that of
    /// the softmax, 1 for the plain one. Shape `[..] -> [..]`, floats; computed in f32 (f64 for f64) and rounded once.
    ///
    /// What took no part, where `y` is 0, gets 0, and its gradient plays no part, NaN and infinity neither; so a row of which
    /// a mask left nothing gets 0. A row of NaN gets NaN. Reuses the memory of `self` when no one else holds it and it is
    /// contiguous; `output` is only read.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let new = |values: &[f32]| Tensor::from_slice(values, [2], &Device::cpu());
    /// let y = new(&[0.0, 0.0])?.softmax(0)?;
    /// assert_eq!(new(&[3.0, 1.0])?.softmax_backward(0, &y, 1.0)?.to_vec::<f32>()?, [0.5, -0.5]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if there is no such axis or the shapes differ, [`DType`](crate::ErrorKind::DType)
    /// for integers, bool and different dtypes, [`Device`](crate::ErrorKind::Device) if the devices differ.
    pub fn softmax_backward(self, axis: usize, output: &Tensor, scale: f32) -> Result<Tensor> {
        self.rows_of_backward("softmax_backward", Softmax::Plain, axis, output, scale)
    }

    /// The gradient of the operand of a [`log_softmax`](Self::log_softmax) along `axis`, where `self` is that of its output:
    /// `self - e^y * sum(self)`, where `y` is `output`. Otherwise as [`softmax_backward`](Self::softmax_backward), but every
    /// gradient plays a part.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let new = |values: &[f32]| Tensor::from_slice(values, [2], &Device::cpu());
    /// let y = new(&[0.0, 0.0])?.log_softmax(0)?;
    /// let grad = new(&[3.0, 1.0])?.log_softmax_backward(0, &y)?.to_vec::<f32>()?;
    /// assert!((grad[0] - 1.0).abs() < 1e-6 && (grad[1] + 1.0).abs() < 1e-6);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`softmax_backward`](Self::softmax_backward).
    pub fn log_softmax_backward(self, axis: usize, output: &Tensor) -> Result<Tensor> {
        self.rows_of_backward("log_softmax_backward", Softmax::Log, axis, output, 1.0)
    }

    fn rows_of_backward(
        mut self,
        name: &'static str,
        op: Softmax,
        axis: usize,
        output: &Tensor,
        scale: f32,
    ) -> Result<Tensor> {
        refuse(name, &[&self, output])?;
        self.set_edge(None);
        self.layout().axis(name, axis)?;
        self.same_device(output, name)?;
        self.same_dtype(output, name)?;
        if !self.dtype().is_float() {
            return Err(Error::dtype(format!("{name}: does not take {}", self.dtype())));
        }
        if self.shape() != output.shape() {
            let (grad, output) = (self.shape(), output.shape());
            return Err(Error::shape(format!("{name}: the gradient {grad} and the output {output} differ")));
        }
        if self.is_contiguous() && self.is_reusable() {
            eval(op, axis, scale, None, output.view()?, self.view_mut(name)?)?;
            return Ok(self);
        }
        let site = Site::new(name, Kind::Activations);
        let mut out = Tensor::allocate(*self.shape(), self.dtype(), self.device(), site)?;
        eval(op, axis, scale, Some(self.view()?), output.view()?, out.view_mut(name)?)?;
        Ok(out)
    }
}

/// Where the device is chosen, once for the family. Without `grad`, it stands in `dst`.
fn eval(
    op: Softmax,
    axis: usize,
    scale: f32,
    grad: Option<View<'_>>,
    output: View<'_>,
    dst: ViewMut<'_>,
) -> Result<()> {
    let device = dst.storage.device().clone();
    let layouts = [grad.as_ref().map_or(dst.layout, |grad| grad.layout), output.layout, dst.layout];
    let bytes = match device.spec_ref() {
        SpecRef::Cpu => 0,
        SpecRef::Cuda(card) => launch::softmax_backward::workspace_bytes(axis, layouts, dst.dtype, card),
    };
    let workspace = device.workspace(bytes, "softmax_backward")?;
    match device.kind() {
        DeviceKind::Cpu => cpu::softmax_backward::softmax_backward(op, axis, scale, grad, output, dst),
        DeviceKind::Cuda { gpu, .. } => {
            let target = dst.operand()?;
            let grad = grad.map_or(Ok(target), |grad| grad.operand())?;
            let outer = launch::softmax_backward::Outer { grad, output: output.operand()? };
            let stream = gpu.stream(dst.storage.writer())?;
            launch::softmax_backward::softmax_backward(&stream, op, axis, scale, outer, target, &workspace)
        }
        DeviceKind::Plan(_) => Ok(()),
    }
}
