//! The backward of elementwise unary ops.

use crate::{
    Tensor, cpu,
    device::DeviceKind,
    grad::{Flow, refuse},
    tensor::{View, ViewMut},
};
use taut_core::{Error, ErrorKind, Kept, Onto, Result, Unary};
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
            eval(op, Onto::Replace, None, Some(kept.view()?), self.view_mut(NAME)?)?;
            return Ok(self);
        }
        apart(op, Onto::Replace, &self, kept)
    }
}

/// [`Tensor::unary_backward`] where nobody needs `kept` any more: it is written over if `grad` can not be. `onto` is of what
/// came before `op` and made `kept`: the gradient is that of its operand.
pub(crate) fn over(mut grad: Tensor, op: Unary, mut kept: Tensor, onto: Onto) -> Result<Tensor> {
    check(op, &grad, &kept)?;
    if grad.is_reusable() {
        eval(op, onto, None, Some(kept.view()?), grad.view_mut(NAME)?)?;
        return Ok(grad);
    }
    if kept.is_reusable() {
        eval(op, onto, Some(grad.view()?), None, kept.view_mut(NAME)?)?;
        return Ok(kept);
    }
    apart(op, onto, &grad, &kept)
}

/// Gives the operand of `op`, which is `input`, its gradient. If an activation made it, and no one else used it, that before
/// the activation in the same pass.
pub(crate) fn give(grad: Tensor, op: Unary, input: Tensor, flow: &mut Flow<'_, '_>) -> Result<()> {
    let (kept, onto) = match flow.take_output(0)? {
        Some((unary, output)) => match Onto::before(unary).filter(|_| is_same(&output, &input)) {
            Some(onto) => {
                drop(input);
                (output, onto)
            }
            None => {
                flow.put_output(0, unary, output);
                (input, Onto::Replace)
            }
        },
        None => (input, Onto::Replace),
    };
    flow.give(0, over(grad, op, kept, onto)?)
}

fn is_same(a: &Tensor, b: &Tensor) -> bool {
    a.holder().is(b.holder()) && a.layout() == b.layout() && a.dtype() == b.dtype()
}

fn apart(op: Unary, onto: Onto, grad: &Tensor, kept: &Tensor) -> Result<Tensor> {
    let site = Site::new(NAME, Kind::Activations);
    let mut out = Tensor::allocate(*grad.shape(), grad.dtype(), grad.device(), site)?;
    eval(op, onto, Some(grad.view()?), Some(kept.view()?), out.view_mut(NAME)?)?;
    Ok(out)
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

/// Where the device is chosen, once for the family. Without `grad` or without `kept`, it stands in `dst`.
fn eval(
    op: Unary,
    onto: Onto,
    grad: Option<View<'_>>,
    kept: Option<View<'_>>,
    dst: ViewMut<'_>,
) -> Result<()> {
    match dst.storage.device().kind() {
        DeviceKind::Cpu => cpu::unary_backward::unary_backward(op, onto, grad, kept, dst),
        DeviceKind::Cuda { gpu, .. } => {
            let target = dst.operand()?;
            let grad = grad.map_or(Ok(target), |grad| grad.operand())?;
            let kept = kept.map_or(Ok(target), |kept| kept.operand())?;
            let stream = gpu.stream(dst.storage.writer())?;
            launch::unary_backward::unary_backward(&stream, op, onto, grad, kept, target)
        }
        DeviceKind::Plan(_) => Ok(()),
    }
}
