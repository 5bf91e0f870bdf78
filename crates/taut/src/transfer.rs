//! Values in and out: between host and device, and from device to device.

use crate::{
    Device, Tensor,
    device::DeviceKind,
    grad::{Tape, no_grad},
};
use taut_core::{Element, Error, Result};
use taut_cuda::Operand;
use taut_memory::{Site, StreamId};

impl Tensor {
    /// The values, row-major. Blocks until they are computed. A tensor that is not contiguous is copied on its device
    /// first. A plan device gives its [read value](Device::set_read_value).
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) if `T` is not the dtype; whatever failed in the work that is waited for.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        self.device().not_in_graph("to_vec")?;
        if T::DTYPE != self.dtype() {
            return Err(Error::dtype(format!("to_vec: the tensor is {}, not {}", self.dtype(), T::DTYPE)));
        }
        let flat = no_grad(|| self.clone().contiguous())?;
        if self.device().is_plan() {
            return Ok(vec![T::from_f64(self.device().read_value()); self.numel()]);
        }
        let mut bits: Vec<T::Bits> = bytemuck::zeroed_vec(self.numel());
        flat.read_bytes(bytemuck::cast_slice_mut(&mut bits))?;
        Ok(T::from_bits(bits))
    }

    /// The value of a tensor with one element. Blocks until it is computed.
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if there is not exactly one element; as [`to_vec`](Self::to_vec).
    pub fn item<T: Element>(&self) -> Result<T> {
        if self.numel() != 1 {
            return Err(Error::shape(format!(
                "item: {} has {} elements, not one",
                self.shape(),
                self.numel()
            )));
        }
        let value = self.to_vec::<T>()?.pop();
        value.ok_or_else(|| Error::shape("item: there is no element"))
    }

    /// This tensor on `device`: itself if it is there, otherwise a contiguous copy. Between host and card the bytes go
    /// through pinned memory; toward the host this blocks until they are there.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let x = Tensor::arange(0.0, 3.0, 1.0, DType::F32, &Device::cpu())?;
    /// let y = x.to(&Device::best())?.mul_scalar(2.0)?;
    /// assert_eq!(y.to(&Device::cpu())?.to_vec::<f32>()?, [0.0, 2.0, 4.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Device`](crate::ErrorKind::Device) from a plan to a real device: there are no values.
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory) if the copy does not fit; [`DType`](crate::ErrorKind::DType) for
    /// f64 to CUDA.
    pub fn to(self, device: &Device) -> Result<Tensor> {
        if self.device() == device {
            return Ok(self);
        }
        self.device().not_in_graph("to")?;
        if self.device().is_plan() && !device.is_plan() {
            return Err(Error::device(format!(
                "to: a tensor on {} has no values for {device}",
                self.device()
            )));
        }
        device.takes(self.dtype(), "to")?;
        let (tape, from) = (Tape::new("to", &[&self]), self.device().clone());
        let src = no_grad(|| self.contiguous())?;
        let site = Site::new("to", src.kind());
        let mut out = Tensor::allocate_on(StreamId::UPLOAD, *src.shape(), src.dtype(), device, site)?;
        match (src.device().kind(), device.kind()) {
            (_, DeviceKind::Plan(_)) => {}
            (DeviceKind::Cpu, _) => out.write_bytes(src.view()?.host_bytes()?)?,
            (_, DeviceKind::Cpu) => src.read_bytes(out.view_mut("to")?.host_bytes()?)?,
            // Another card, or another pool on the same one: by way of the host.
            _ => {
                let mut bytes = vec![0; src.numel() * src.dtype().size()];
                src.read_bytes(&mut bytes)?;
                out.write_bytes(&bytes)?;
            }
        }
        tape.note(&mut out, move |grad, flow| flow.give(0, grad.to(&from)?));
        Ok(out)
    }

    /// Copies a flat tensor of a real device to the host. Blocks.
    pub(crate) fn read_bytes(&self, dst: &mut [u8]) -> Result<()> {
        match self.device().kind() {
            DeviceKind::Cpu => dst.copy_from_slice(self.view()?.host_bytes()?),
            DeviceKind::Cuda { gpu, .. } => {
                self.storage().read_on(StreamId::DOWNLOAD)?;
                let src = Operand::new(self.storage().block(), self.layout(), self.dtype())?;
                gpu.download(src, dst)?;
            }
            DeviceKind::Plan(_) => {}
        }
        Ok(())
    }

    /// Overwrites a new flat tensor, allocated on the upload stream, with host bytes.
    pub(crate) fn write_bytes(&mut self, src: &[u8]) -> Result<()> {
        match self.device().clone().kind() {
            DeviceKind::Cpu => self.view_mut("write")?.host_bytes()?.copy_from_slice(src),
            DeviceKind::Cuda { gpu, .. } => {
                let dst = Operand::new(self.storage().block(), self.layout(), self.dtype())?;
                gpu.upload(src, dst)?;
            }
            DeviceKind::Plan(_) => {}
        }
        Ok(())
    }
}
