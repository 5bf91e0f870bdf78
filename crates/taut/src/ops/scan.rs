//! Ops that run along an axis.

use crate::{
    Tensor, cpu,
    device::{DeviceKind, SpecRef},
    grad::Tape,
};
use taut_core::{Error, Result, Scan};
use taut_cuda::launch;
use taut_memory::{Kind, Site};

impl Tensor {
    /// The sums so far along `axis`, of each element and all before it. Shape `[..] -> [..]`. Floats accumulate in f32 or
    /// wider, and each sum is rounded once; integers and bool give i64, which wraps. From a NaN on, all is NaN.
    ///
    /// Reuses the memory of `self` when no one else holds it, it is contiguous, and the dtype stays. Backward keeps nothing:
    /// 0 bytes.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1u8, 2, 3, 250, 5, 6], [2, 3], &Device::cpu())?;
    /// assert_eq!(x.cumsum(1)?.to_vec::<i64>()?, [1, 3, 6, 250, 255, 261]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if the axis does not exist.
    pub fn cumsum(self, axis: usize) -> Result<Tensor> {
        self.scan(Scan::Sum, axis)
    }

    /// Runs `op` along `axis`, over `self` where that loses nothing that someone needs.
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if the axis does not exist, [`DType`](crate::ErrorKind::DType) if the op does not
    /// [take](Scan::output) the dtype.
    pub fn scan(mut self, op: Scan, axis: usize) -> Result<Tensor> {
        let name = op.name();
        self.layout().axis(name, axis)?;
        let dtype = op.output(self.dtype());
        let dtype = dtype.ok_or_else(|| Error::dtype(format!("{name}: does not take {}", self.dtype())))?;
        // Only where the new tensor would have the same layout, so that the order of additions is the same too.
        let tape = Tape::new(name, &[&self]);
        let mut out = if dtype == self.dtype() && self.is_contiguous() && self.is_reusable() {
            eval(op, axis, None, &mut self)?;
            self
        } else {
            let site = Site::new(name, Kind::Activations);
            let mut out = Tensor::allocate(*self.shape(), dtype, self.device(), site)?;
            eval(op, axis, Some(&self), &mut out)?;
            out
        };
        // An element is in all sums from its own on.
        tape.note(&mut out, move |grad, flow| {
            flow.give(0, grad.flip(&[axis])?.scan(op, axis)?.flip(&[axis])?)
        });
        Ok(out)
    }
}

/// Where the device is chosen, once for the family. Without `src`, over `dst` itself.
fn eval(op: Scan, axis: usize, src: Option<&Tensor>, dst: &mut Tensor) -> Result<()> {
    let (name, device) = (op.name(), dst.device().clone());
    match device.spec_ref() {
        SpecRef::Cpu => {
            let (src, dst) = (src.map(Tensor::view).transpose()?, dst.view_mut(name)?);
            if device.is_plan() { Ok(()) } else { cpu::scan::scan(op, axis, src, dst) }
        }
        SpecRef::Cuda(card) => {
            let source = src.unwrap_or(dst);
            let choice = launch::scan::choose(op, source.layout(), dst.layout(), source.dtype(), axis, card);
            let workspace = device.workspace(choice.workspace_bytes, name)?;
            let (src, dst) = (src.map(Tensor::view).transpose()?, dst.view_mut(name)?);
            let DeviceKind::Cuda { gpu, .. } = device.kind() else { return Ok(()) };
            let stream = gpu.stream(dst.storage.writer())?;
            let target = dst.operand()?;
            let source = src.map_or(Ok(target), |src| src.operand())?;
            launch::scan::scan(&stream, &choice, source, target, &workspace)
        }
    }
}
