//! Bits: the answers to a question about each element, which ops keep whose derivative is a choice, and gradients of which
//! such bits choose.

use crate::{
    Tensor, cpu,
    device::DeviceKind,
    tensor::{View, ViewMut},
};
use taut_core::{DType, Predicate, Result, Shape};
use taut_cuda::launch;
use taut_memory::{Kind, Site};

impl Tensor {
    /// The answers about each element of `self`, or each pair with one of `other`, both broadcast to `shape`:
    /// `[..], [..] -> [ceil(numel / 8)]`, u8. Of floats. A question about one operand does not look at `other`.
    pub(crate) fn bits(
        &self,
        op: &'static str,
        ask: Predicate,
        other: &Tensor,
        shape: Shape,
    ) -> Result<Tensor> {
        let bytes = Shape::new(&[Predicate::bytes(shape.numel())])?;
        let (a, b) = (self.layout().broadcast_to(shape)?, other.layout().broadcast_to(shape)?);
        let site = Site::new(op, Kind::Activations);
        let mut out = Tensor::allocate(bytes, DType::U8, self.device(), site)?;
        eval(ask, self.view()?.through(&a), other.view()?.through(&b), out.view_mut(op)?)?;
        Ok(out)
    }

    /// This gradient where its bit is `wanted`, and elsewhere `factor` times it, or 0 where that is 0, whatever the gradient
    /// is. Shape `[..] -> [..]`. Reuses the memory of `self` when no one else holds it and it is contiguous.
    pub(crate) fn choose(mut self, bits: &Tensor, wanted: bool, factor: f32) -> Result<Tensor> {
        let op = "bits";
        if self.is_contiguous() && self.is_reusable() {
            eval_choice(None, bits.view()?, wanted, factor, self.view_mut(op)?)?;
            return Ok(self);
        }
        let site = Site::new(op, Kind::Activations);
        let mut out = Tensor::allocate(*self.shape(), self.dtype(), self.device(), site)?;
        eval_choice(Some(self.view()?), bits.view()?, wanted, factor, out.view_mut(op)?)?;
        Ok(out)
    }
}

/// Where the device is chosen, once for each of the two.
fn eval(ask: Predicate, a: View<'_>, b: View<'_>, dst: ViewMut<'_>) -> Result<()> {
    match dst.storage.device().kind() {
        DeviceKind::Cpu => cpu::bits::bits(ask, a, b, dst),
        DeviceKind::Cuda { gpu, .. } => {
            let target = dst.operand()?;
            let stream = gpu.stream(dst.storage.writer())?;
            launch::bits::bits(&stream, ask, a.operand()?, b.operand()?, target)
        }
        DeviceKind::Plan(_) => Ok(()),
    }
}

/// Without `grad`, it stands in `dst`.
fn eval_choice(
    grad: Option<View<'_>>,
    bits: View<'_>,
    wanted: bool,
    factor: f32,
    dst: ViewMut<'_>,
) -> Result<()> {
    match dst.storage.device().kind() {
        DeviceKind::Cpu => cpu::bits::choose(grad, bits, wanted, factor, dst),
        DeviceKind::Cuda { gpu, .. } => {
            let target = dst.operand()?;
            let grad = grad.map_or(Ok(target), |grad| grad.operand())?;
            let stream = gpu.stream(dst.storage.writer())?;
            launch::bits::choose(&stream, grad, bits.operand()?, wanted, factor, target)
        }
        DeviceKind::Plan(_) => Ok(()),
    }
}
