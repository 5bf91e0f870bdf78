//! The backward of elementwise unary ops.

use crate::{
    Tensor, cpu,
    device::DeviceKind,
    grad::refuse,
    tensor::{View, ViewMut},
};
use taut_core::{Error, ErrorKind, Kept, Result, Unary};
use taut_cuda::launch;
use taut_memory::{Kind, Site};

const NAME: &str = "unary_backward";

impl Tensor {
    /// The gradient of the operand of `op`, where `self` is that of its result: `self * op'(kept)`, in one pass. `kept` is
    /// what [`Unary::kept`] says, the operand or the result, of the shape and dtype of `self`. Shape `[..] -> [..]`, floats;
    /// computed in f32 for 16-bit floats and rounded once.
    ///
    /// Where there is no derivative, it is as in PyTorch: 0 at 0 for relu and abs, `slope` for leaky relu, `alpha` for elu;
    /// the bounds of a clamp let the gradient through. Where `kept` is NaN, so is the result, but relu and elu let the
    /// gradient through, leaky relu multiplies it by `slope`, and a clamp stops it. Derivatives of gelu, silu and the like
    /// have limits at infinity, and no NaN.
    ///
    /// Reuses the memory of `self` when no one else holds it; `kept` is only read.
    ///
    /// ```
    /// use taut::{Device, Tensor, Unary};
    /// let new = |values: &[f32]| Tensor::from_slice(values, [3], &Device::cpu());
    /// let y = new(&[-2.0, 0.0, 3.0])?.relu()?;
    /// let grad = new(&[5.0, 5.0, 5.0])?.unary_backward(Unary::Relu, &y)?;
    /// assert_eq!(grad.to_vec::<f32>()?, [0.0, 0.0, 5.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Grad`](crate::ErrorKind::Grad) if the op keeps nothing: it has no backward, or one that is an op of its own.
    /// [`DType`](crate::ErrorKind::DType) for integers, bool and different dtypes, [`Shape`](crate::ErrorKind::Shape) and
    /// [`Device`](crate::ErrorKind::Device) if shapes or devices differ.
    pub fn unary_backward(mut self, op: Unary, kept: &Tensor) -> Result<Tensor> {
        refuse(NAME, &[&self, kept])?;
        self.set_edge(None);
        check(op, &self, kept)?;
        if self.is_reusable() {
            eval(op, None, kept.view()?, self.view_mut(NAME)?)?;
            return Ok(self);
        }
        let site = Site::new(NAME, Kind::Activations);
        let mut out = Tensor::allocate(*self.shape(), self.dtype(), self.device(), site)?;
        eval(op, Some(self.view()?), kept.view()?, out.view_mut(NAME)?)?;
        Ok(out)
    }
}

fn check(op: Unary, grad: &Tensor, kept: &Tensor) -> Result<()> {
    let name = op.name();
    let refuse = |why: &str| Err(Error::new(ErrorKind::Grad, format!("{NAME}: {name} {why}")));
    match op.kept() {
        None => return refuse("has no backward: its result does not change with its operand"),
        Some(Kept::Nothing) => {
            return refuse("is linear: its backward takes the gradient alone");
        }
        Some(Kept::Input | Kept::Output) => {}
    }
    grad.same_device(kept, NAME)?;
    grad.same_dtype(kept, NAME)?;
    if !grad.dtype().is_float() {
        return Err(Error::dtype(format!("{NAME}: does not take {}", grad.dtype())));
    }
    if grad.shape() != kept.shape() {
        let (grad, kept) = (grad.shape(), kept.shape());
        return Err(Error::shape(format!(
            "{NAME}: the gradient {grad} and what {name} kept, {kept}, differ"
        )));
    }
    Ok(())
}

/// Where the device is chosen, once for the family. Without `grad`, it stands in `dst`.
fn eval(op: Unary, grad: Option<View<'_>>, kept: View<'_>, dst: ViewMut<'_>) -> Result<()> {
    match dst.storage.device().kind() {
        DeviceKind::Cpu => cpu::unary_backward::unary_backward(op, grad, kept, dst),
        DeviceKind::Cuda { gpu, .. } => {
            let target = dst.operand()?;
            let grad = grad.map_or(Ok(target), |grad| grad.operand())?;
            let stream = gpu.stream(dst.storage.writer())?;
            launch::unary_backward::unary_backward(&stream, op, grad, kept.operand()?, target)
        }
        DeviceKind::Plan(_) => Ok(()),
    }
}
