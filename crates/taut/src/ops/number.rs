//! Numbers that ops take from the host or from the device.

use crate::{Device, Tensor, tensor::View};
use taut_core::{DType, Error, Result};
use taut_cuda::launch;

/// A number that an op takes: of the host, or a tensor of one f32, which is read when the op runs. What the device has
/// computed needs not be waited for so, and a graph takes what stands there with every replay.
///
/// ```
/// use taut::{DType, Device, Number, Tensor};
/// let lr = Tensor::full([0usize; 0], 1e-3, DType::F32, &Device::cpu())?;
/// let numbers: [Number<'_>; 2] = [1e-3.into(), (&lr).into()];
/// assert!(matches!(numbers, [Number::Host(_), Number::Device(_)]));
/// # Ok::<(), taut::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Number<'a> {
    /// Of the host.
    Host(f32),
    /// One element of f32.
    Device(&'a Tensor),
}

impl From<f32> for Number<'_> {
    fn from(value: f32) -> Self {
        Number::Host(value)
    }
}

impl<'a> From<&'a Tensor> for Number<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Number::Device(tensor)
    }
}

impl<'a> Number<'a> {
    /// Refuses a tensor that is no number on `device`.
    pub(super) fn check(self, op: &str, what: &str, device: &Device) -> Result<()> {
        let Number::Device(tensor) = self else { return Ok(()) };
        if tensor.device() != device {
            return Err(Error::device(format!("{op}: {what} is on {}, not on {device}", tensor.device())));
        }
        if tensor.numel() != 1 {
            return Err(Error::shape(format!("{op}: {what} is {}, not one element", tensor.shape())));
        }
        if tensor.dtype() != DType::F32 {
            return Err(Error::dtype(format!("{op}: {what} is {}, not f32", tensor.dtype())));
        }
        Ok(())
    }

    /// For reading by an op.
    pub(super) fn see(self) -> Result<Seen<'a>> {
        Ok(match self {
            Number::Host(value) => Seen::Host(value),
            Number::Device(tensor) => Seen::Device(tensor.view()?),
        })
    }
}

/// A number that an op reads.
#[derive(Clone, Copy)]
pub(super) enum Seen<'a> {
    Host(f32),
    Device(View<'a>),
}

impl<'a> Seen<'a> {
    /// On the CPU.
    pub(super) fn value(&self) -> Result<f32> {
        match self {
            Seen::Host(value) => Ok(*value),
            Seen::Device(view) => Ok(view.data::<f32>()?[view.layout.offset()]),
        }
    }

    /// What a launcher sees of it.
    pub(super) fn number(&self) -> Result<launch::Number<'a>> {
        Ok(match self {
            Seen::Host(value) => launch::Number::Host(*value),
            Seen::Device(view) => launch::Number::Device(view.operand()?),
        })
    }
}
