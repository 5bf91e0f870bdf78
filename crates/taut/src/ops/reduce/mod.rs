//! Reductions over axes.
//!
//! A named method is one line that names a [`Reduce`]. [`Tensor::reduce`] is the only road from here to a kernel.
//!
//! The reduced axes are removed; for broadcasting against the operand, [`Tensor::unsqueeze`] puts one back with extent 1.

mod backward;

use crate::{
    Tensor, cpu,
    device::{DeviceKind, SpecRef},
    grad::Tape,
};
use backward::Note;
use taut_core::{Error, Reduce, Result};
use taut_cuda::launch;
use taut_memory::{Kind, Site};

impl Tensor {
    /// The sum over `axes`, which are removed: `[a, b, c]` over `[0, 2]` `-> [b]`; over all axes if `axes` is empty.
    /// Floats accumulate in f32 or wider and round once, so that an f16 sum beyond 65,504 is inf where only the result
    /// does not fit; integers and bool give i64, which wraps. The sum of nothing is 0.
    ///
    /// Backward keeps nothing: 0 bytes.
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

    /// The mean over `axes`, as [`sum`](Self::sum), floats only. The mean of nothing is NaN; that of large numbers does not
    /// overflow where it is representable itself.
    ///
    /// Backward keeps nothing: 0 bytes.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor, f16};
    /// // The sum is 6e7, far beyond f16.
    /// let x = Tensor::full([1000], 60_000.0, DType::F16, &Device::cpu())?;
    /// assert_eq!(x.mean(&[])?.item::<f16>()?, f16::from_f32(60_000.0));
    ///
    /// // Rows less their means: the axis is put back to broadcast.
    /// let x = Tensor::from_slice(&[1.0f32, 3.0, 5.0, 9.0], [2, 2], &Device::cpu())?;
    /// let means = x.clone().mean(&[1])?.unsqueeze(1)?;
    /// assert_eq!(x.sub(&means)?.to_vec::<f32>()?, [-1.0, 1.0, -2.0, 2.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`sum`](Self::sum); [`DType`](crate::ErrorKind::DType) for integers and bool.
    pub fn mean(self, axes: &[usize]) -> Result<Tensor> {
        self.reduce(Reduce::Mean, axes)
    }

    /// The product over `axes`, as [`sum`](Self::sum): floats multiply in f32 or wider and round once, integers and bool
    /// give i64, which wraps. The product of nothing is 1.
    ///
    /// Backward keeps the operand and the result: all of their bytes.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[2u8, 3, 200], [3], &Device::cpu())?;
    /// assert_eq!(x.prod(&[])?.item::<i64>()?, 1200);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`sum`](Self::sum).
    pub fn prod(self, axes: &[usize]) -> Result<Tensor> {
        self.reduce(Reduce::Prod, axes)
    }

    /// The largest element over `axes`, as [`sum`](Self::sum), of the same dtype. NaN if there is one; 0 is larger than -0.
    ///
    /// Backward keeps the position of each result, the first of equals: 8 bytes for each element of the result.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 5.0, 3.0, f32::NAN], [2, 2], &Device::cpu())?;
    /// let rows = x.max(&[1])?.to_vec::<f32>()?;
    /// assert!(rows[0] == 5.0 && rows[1].is_nan());
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`sum`](Self::sum); [`Shape`](crate::ErrorKind::Shape) if a reduced axis is empty,
    /// [`DType`](crate::ErrorKind::DType) for bool.
    pub fn max(self, axes: &[usize]) -> Result<Tensor> {
        self.reduce(Reduce::Max, axes)
    }

    /// The smallest element over `axes`, as [`max`](Self::max). NaN if there is one; -0 is smaller than 0.
    ///
    /// Backward keeps the position of each result, the first of equals: 8 bytes for each element of the result.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[7i64, -2, 3], [3], &Device::cpu())?;
    /// assert_eq!(x.min(&[0])?.item::<i64>()?, -2);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`max`](Self::max).
    pub fn min(self, axes: &[usize]) -> Result<Tensor> {
        self.reduce(Reduce::Min, axes)
    }

    /// The position of the largest element along `axis`, which is removed: i64. Of equals the first; NaN is largest.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 5.0, 5.0], [3], &Device::cpu())?;
    /// assert_eq!(x.argmax(0)?.item::<i64>()?, 1);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if the axis does not exist or is empty.
    pub fn argmax(self, axis: usize) -> Result<Tensor> {
        self.reduce(Reduce::ArgMax, &[axis])
    }

    /// The position of the smallest element along `axis`, as [`argmax`](Self::argmax). Of equals the first; NaN is smallest.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[4u32, 1, 9, 0], [2, 2], &Device::cpu())?;
    /// assert_eq!(x.argmin(1)?.to_vec::<i64>()?, [1, 1]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`argmax`](Self::argmax).
    pub fn argmin(self, axis: usize) -> Result<Tensor> {
        self.reduce(Reduce::ArgMin, &[axis])
    }

    /// Whether any element over `axes` is true, as [`sum`](Self::sum): bool to bool. Of nothing, false.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[true, false, false, false], [2, 2], &Device::cpu())?;
    /// assert_eq!(x.any(&[1])?.to_vec::<bool>()?, [true, false]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`sum`](Self::sum); [`DType`](crate::ErrorKind::DType) for all but bool.
    pub fn any(self, axes: &[usize]) -> Result<Tensor> {
        self.reduce(Reduce::Any, axes)
    }

    /// Whether all elements over `axes` are true, as [`any`](Self::any). Of nothing, true.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[true, true, true, false], [2, 2], &Device::cpu())?;
    /// assert_eq!(x.all(&[1])?.to_vec::<bool>()?, [true, false]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`any`](Self::any).
    pub fn all(self, axes: &[usize]) -> Result<Tensor> {
        self.reduce(Reduce::All, axes)
    }

    /// The Euclidean norm over `axes`, the root of the sum of squares, as [`sum`](Self::sum), floats only. Right wherever it
    /// is representable itself: squares too large or too small for f32 are summed scaled (Blue, 1978). That of nothing is 0.
    ///
    /// Backward keeps the operand and the result: all of their bytes.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[3e30f32, 4e30], [2], &Device::cpu())?;
    /// assert_eq!(x.norm(&[])?.item::<f32>()?, 5e30);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`mean`](Self::mean).
    pub fn norm(self, axes: &[usize]) -> Result<Tensor> {
        self.reduce(Reduce::Norm, axes)
    }

    /// The mean of squares over `axes`, as [`mean`](Self::mean): the squares exist nowhere. Those too large or too small for
    /// f32 are infinite or 0.
    ///
    /// Backward keeps the operand: all of its bytes. The gradient is written over it if nobody else holds it.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[3.0f32, 4.0], [2], &Device::cpu())?;
    /// assert_eq!(x.mean_square(&[])?.item::<f32>()?, 12.5);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`mean`](Self::mean).
    pub fn mean_square(self, axes: &[usize]) -> Result<Tensor> {
        self.reduce(Reduce::MeanSquare, axes)
    }

    /// The variance over `axes`, as [`sum`](Self::sum), floats only: squared distances from the mean, over their number
    /// less `correction`: 0 for all that there is, 1 for a sample of it. NaN for no more elements than `correction`, and
    /// where an element is NaN or infinite. A mean far from 0 costs no precision: partial means and squares are joined
    /// (Chan, Golub and LeVeque, 1983).
    ///
    /// Backward keeps the operand, all of its bytes, and computes the mean again.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1e6f32, 1e6 + 2.0, 1e6 + 4.0], [3], &Device::cpu())?;
    /// assert_eq!(x.var(&[], 1)?.item::<f32>()?, 4.0);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`mean`](Self::mean).
    pub fn var(self, axes: &[usize], correction: usize) -> Result<Tensor> {
        self.reduce(Reduce::Var { correction }, axes)
    }

    /// The standard deviation over `axes`: the root of [`var`](Self::var), rounded once.
    ///
    /// Backward keeps the operand and the result, all of their bytes, and computes the mean again.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 3.0], [2], &Device::cpu())?;
    /// assert_eq!(x.std(&[], 0)?.item::<f32>()?, 1.0);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`mean`](Self::mean).
    pub fn std(self, axes: &[usize], correction: usize) -> Result<Tensor> {
        self.reduce(Reduce::Std { correction }, axes)
    }

    /// The logarithm of the sum of exponentials over `axes`, as [`sum`](Self::sum), floats only. No exponential overflows:
    /// they are taken of distances from the largest element, in one pass (Milakov and Gimelshein, 2018). All -inf, or
    /// nothing, gives -inf; an inf without NaN gives inf.
    ///
    /// Backward keeps the operand and the result: all of their bytes.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1000.0f32, 1000.0], [2], &Device::cpu())?;
    /// assert_eq!(x.logsumexp(&[])?.item::<f32>()?, 1000.0 + 2f32.ln());
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`mean`](Self::mean).
    pub fn logsumexp(self, axes: &[usize]) -> Result<Tensor> {
        self.reduce(Reduce::LogSumExp, axes)
    }

    /// Reduces over `axes`, or over all if there are none. [`Reduce::ArgMax`] and [`Reduce::ArgMin`] count positions
    /// row-major over them.
    ///
    /// # Errors
    ///
    /// Those of the method that has the name of the op.
    pub fn reduce(self, op: Reduce, axes: &[usize]) -> Result<Tensor> {
        let name = op.name();
        let all: Vec<usize> = (0..self.rank()).collect();
        let axes = if axes.is_empty() { &all[..] } else { axes };
        for (i, &axis) in axes.iter().enumerate() {
            let dim = self.layout().axis(name, axis)?;
            if axes[..i].contains(&axis) {
                return Err(Error::shape(format!("{name}: axis {axis} stands twice in {axes:?}")));
            }
            if op.needs_elements() && dim == 0 {
                return Err(Error::shape(format!("{name}: axis {axis} of {} is empty", self.shape())));
            }
        }
        let dtype = op.output(self.dtype());
        let dtype = dtype.ok_or_else(|| Error::dtype(format!("{name}: does not take {}", self.dtype())))?;

        let note = Note::new(op, axes, &self, Tape::new(name, &[&self]))?;
        let (device, shape) = (self.device().clone(), self.shape().reduce(axes, false));
        let mut out = Tensor::allocate(shape, dtype, &device, Site::new(name, Kind::Activations))?;
        match device.spec_ref() {
            SpecRef::Cpu => {
                let bytes = cpu::reduce::workspace_bytes(self.layout(), axes, dtype);
                let mut workspace = device.workspace(bytes, name)?;
                let (src, dst) = (self.view()?, out.view_mut(name)?);
                if !device.is_plan() {
                    cpu::reduce::reduce(op, axes, src, dst, &mut workspace)?;
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
        note.of(&mut out);
        Ok(out)
    }
}
