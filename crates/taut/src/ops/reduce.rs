//! Reductions over axes.

use crate::{
    Tensor, cpu,
    device::{DeviceKind, SpecRef},
};
use taut_core::{Error, Reduce, Result};
use taut_cuda::launch;
use taut_memory::{Kind, Site};

impl Tensor {
    /// The sum over `axes`, which are removed: `[a, b, c]` over `[0, 2]` `-> [b]`; over all axes if `axes` is empty.
    /// Floats accumulate in f32 or wider and round once; integers and bool give i64. The sum of nothing is 0.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let x = Tensor::full([2, 3], 2.0, DType::F32, &Device::cpu())?;
    /// assert_eq!(x.clone().sum(&[0])?.to_vec::<f32>()?, [4.0, 4.0, 4.0]);
    /// assert_eq!(x.sum(&[])?.item::<f32>()?, 12.0);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if an axis does not exist or stands twice.
    pub fn sum(self, axes: &[usize]) -> Result<Tensor> {
        self.reduce(Reduce::Sum, axes)
    }

    /// The mean over `axes`, as [`sum`](Self::sum), floats only. The mean of nothing is NaN.
    ///
    /// # Errors
    ///
    /// As [`sum`](Self::sum); [`DType`](crate::ErrorKind::DType) for integers and bool.
    pub fn mean(self, axes: &[usize]) -> Result<Tensor> {
        self.reduce(Reduce::Mean, axes)
    }

    /// The position of the largest element along `axis`, which is removed: i64. Of equals the first; NaN is largest.
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if the axis does not exist or is empty.
    pub fn argmax(self, axis: usize) -> Result<Tensor> {
        self.reduce(Reduce::ArgMax, &[axis])
    }

    /// Reduces over `axes`, or over all if there are none. [`Reduce::ArgMax`] counts positions row-major over them.
    ///
    /// # Errors
    ///
    /// As [`sum`](Self::sum), [`mean`](Self::mean) and [`argmax`](Self::argmax).
    pub fn reduce(self, op: Reduce, axes: &[usize]) -> Result<Tensor> {
        let name = op.name();
        let all: Vec<usize> = (0..self.rank()).collect();
        let axes = if axes.is_empty() { &all[..] } else { axes };
        for (i, &axis) in axes.iter().enumerate() {
            let dim = self.layout().axis(name, axis)?;
            if axes[..i].contains(&axis) {
                return Err(Error::shape(format!("{name}: axis {axis} stands twice in {axes:?}")));
            }
            if op == Reduce::ArgMax && dim == 0 {
                return Err(Error::shape(format!("{name}: axis {axis} of {} is empty", self.shape())));
            }
        }
        let dtype = op.output(self.dtype());
        let dtype = dtype.ok_or_else(|| Error::dtype(format!("{name}: does not take {}", self.dtype())))?;

        let (device, shape) = (self.device().clone(), self.shape().reduce(axes, false));
        let mut out = Tensor::allocate(shape, dtype, &device, Site::new(name, Kind::Activations))?;
        match device.spec_ref() {
            SpecRef::Cpu => {
                let (src, dst) = (self.view()?, out.view_mut(name)?);
                if !device.is_plan() {
                    cpu::reduce::reduce(op, axes, src, dst)?;
                }
            }
            SpecRef::Cuda(card) => {
                let choice = launch::reduce::choose(op, self.layout(), self.dtype(), axes, card);
                let workspace = device.workspace(choice.workspace_bytes, name)?;
                let (src, dst) = (self.view()?, out.view_mut(name)?);
                if let DeviceKind::Cuda { gpu, .. } = device.kind() {
                    let stream = gpu.stream(dst.storage.writer())?;
                    launch::reduce::reduce(&stream, &choice, src.operand()?, dst.operand()?, &workspace)?;
                }
            }
        }
        Ok(out)
    }
}
