//! Copies: to another dtype, to another order, to memory of one's own.

use crate::{
    Tensor, cpu,
    device::DeviceKind,
    grad::{Flow, Tape, sum_to},
    tensor::{View, ViewMut},
};
use taut_core::{DType, Error, Result};
use taut_cuda::launch;
use taut_memory::{Kind, Site};

impl Tensor {
    /// The values in another dtype; `self` where it has that dtype. Floats round to nearest; float to integer
    /// truncates, saturates, and gives 0 for NaN; integer to integer wraps; f64 and integers go to 16-bit floats through
    /// f32; everything to bool is `x != 0`. Shape `[..] -> [..]`. Backward keeps nothing: 0 bytes. Where f32 was rounded to 16 bits
    /// for the second factor of a product, or the weight of a layer, the product adds its gradient to that of the f32, in f32.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let x = Tensor::from_slice(&[-1.5f32, 300.0, f32::NAN], [3], &Device::cpu())?;
    /// assert_eq!(x.cast(DType::U8)?.to_vec::<u8>()?, [0, 255, 0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) to f64 on CUDA.
    pub fn cast(self, dtype: DType) -> Result<Tensor> {
        if dtype == self.dtype() { Ok(self) } else { self.copied("cast", dtype) }
    }

    /// Row-major without gaps: `self` where it is so already, otherwise a copy.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory) if the copy does not fit.
    pub fn contiguous(self) -> Result<Tensor> {
        if self.is_contiguous() {
            return Ok(self);
        }
        let dtype = self.dtype();
        self.copied("contiguous", dtype)
    }

    /// A copy in memory of its own.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory) if the copy does not fit.
    pub fn copy(&self) -> Result<Tensor> {
        self.clone().copied("copy", self.dtype())
    }

    /// Overwrites `self`, in place, with the values of `src`, broadcast and cast to its shape and dtype.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let mut x = Tensor::zeros([2, 2], DType::F32, &Device::cpu())?;
    /// x.copy_(&Tensor::from_slice(&[1i64, 2], [2], &Device::cpu())?)?;
    /// assert_eq!(x.to_vec::<f32>()?, [1.0, 2.0, 1.0, 2.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shared`](crate::ErrorKind::Shared) if anyone else holds the storage of `self`;
    /// [`Shape`](crate::ErrorKind::Shape) if `self` is not contiguous or `src` does not broadcast to it;
    /// [`Device`](crate::ErrorKind::Device) if the devices differ.
    pub fn copy_(&mut self, src: &Tensor) -> Result<()> {
        self.same_device(src, "copy_")?;
        if !self.is_contiguous() {
            return Err(Error::shape(format!("copy_: {} is not contiguous", self.shape())));
        }
        let layout = src.layout().broadcast_to(*self.shape())?;
        // What stood there before has no part in the result.
        let tape = Tape::in_place("copy", self, std::iter::once(src))?;
        let (shape, dtype) = (*src.shape(), src.dtype());
        let target = self.view_mut("copy_")?;
        eval(src.view()?.through(&layout), target)?;
        tape.note(self, move |grad, flow| flow.give(1, sum_to(grad, shape)?.cast(dtype)?));
        Ok(())
    }

    fn copied(self, op: &'static str, dtype: DType) -> Result<Tensor> {
        let (tape, from) = (Tape::new(op, &[&self]), self.dtype());
        let mut out =
            Tensor::allocate(*self.shape(), dtype, self.device(), Site::new(op, Kind::Activations))?;
        eval(self.view()?, out.view_mut(op)?)?;
        let rule = move |grad: Tensor, flow: &mut Flow<'_, '_>| flow.give(0, grad.cast(from)?);
        match (from, dtype) {
            (DType::F32, DType::F16 | DType::BF16) => tape.note_rounding(&mut out, rule),
            _ => tape.note(&mut out, rule),
        }
        Ok(out)
    }
}

/// Where the device is chosen, once for the family. `dst` may have any layout that overlaps nowhere.
pub(crate) fn eval(src: View<'_>, dst: ViewMut<'_>) -> Result<()> {
    match dst.storage.device().kind() {
        DeviceKind::Cpu => cpu::copy::copy(src, dst),
        DeviceKind::Cuda { gpu, .. } => {
            let stream = gpu.stream(dst.storage.writer())?;
            let (src, dst) = (src.operand()?, dst.operand()?);
            if src.dtype == dst.dtype && src.layout.flat().is_some() && dst.layout.flat().is_some() {
                return stream.copy_bytes(src, dst);
            }
            launch::copy::copy(&stream, src, dst)
        }
        DeviceKind::Plan(_) => Ok(()),
    }
}
