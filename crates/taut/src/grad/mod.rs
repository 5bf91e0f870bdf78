//! Gradients: ops on tracked tensors are noted on a tape, and [`Tensor::backward`] walks it back.
//!
//! A tensor is tracked if it [requires gradients](Tensor::require_grad) itself, or if an op made it of one that is. The op
//! then leaves a node: which operands it had, and a rule that owns what it kept, and nothing else ([`taut_core::SAVED`]).
//! To keep is to hold: a storage that a node holds is shared, so that no op writes over it. A rule takes the gradient of
//! the result by value, is taken itself when it runs, and frees what it kept as it uses it.

mod adjoint;
mod checkpoint;
mod flow;
mod offload;
mod tape;

pub(crate) use adjoint::{spread, sum_to};
pub use checkpoint::{checkpoint, checkpoint_sequential};
pub(crate) use flow::Flow;
pub(crate) use offload::{Absent, Away};
pub use offload::{SAVED_ON_HOST_BYTES, save_on_host};
pub(crate) use tape::{Edge, Kept, Tape, refuse};

use crate::Tensor;
use std::cell::{Cell, RefCell};
use taut_core::{Error, Result};
use taut_memory::Kind;

thread_local! {
    static ENABLED: Cell<bool> = const { Cell::new(true) };
    /// While a checkpoint watches: what requires a gradient among the operands of ops that are not noted.
    static WATCHED: RefCell<Option<Vec<Edge>>> = const { RefCell::new(None) };
}

/// Calls `f`, in which this thread notes no op: nothing is kept for a backward, and tensors that require gradients can be
/// changed in place.
///
/// ```
/// use taut::{DType, Device, Tensor, no_grad};
/// let mut weight = Tensor::full([2], 3.0, DType::F32, &Device::cpu())?.require_grad()?;
/// let loss = weight.clone().square()?.sum(&[])?;
/// loss.backward()?;
/// let grad = weight.take_grad().expect("backward has reached it");
/// no_grad(|| weight.sub_(&grad.mul_scalar(0.5)?))?;
/// assert_eq!(weight.to_vec::<f32>()?, [0.0, 0.0]);
/// # Ok::<(), taut::Error>(())
/// ```
pub fn no_grad<R>(f: impl FnOnce() -> R) -> R {
    with_grad(false, f)
}

/// Calls `f` with ops noted or not, whatever it was before; as before when it returns, or panics.
pub(crate) fn with_grad<R>(enabled: bool, f: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            ENABLED.set(self.0);
        }
    }
    let _restore = Restore(ENABLED.replace(enabled));
    f()
}

/// Calls `f` in [`no_grad`], and says what required a gradient among the operands of its ops.
fn watch<R>(f: impl FnOnce() -> R) -> (R, Vec<Edge>) {
    struct Restore(Option<Vec<Edge>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            WATCHED.replace(self.0.take());
        }
    }
    let _restore = Restore(WATCHED.replace(Some(Vec::new())));
    let result = no_grad(f);
    (result, WATCHED.take().unwrap_or_default())
}

/// Whether this thread notes ops.
pub(crate) fn is_enabled() -> bool {
    ENABLED.get()
}

impl Tensor {
    /// This tensor as one whose gradient [`backward`](Self::backward) finds: a parameter. Clones of it share that
    /// gradient, views are made of it. Memory of no other [kind](Tensor::kind) is that of [weights](crate::Kind::Weights)
    /// from now on.
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) unless it is a float; [`Grad`](crate::ErrorKind::Grad) if an op made it of a tracked
    /// tensor: [`detach`](Self::detach) it first.
    pub fn require_grad(mut self) -> Result<Tensor> {
        if !self.dtype().is_float() {
            return Err(Error::dtype(format!("require_grad: {} has no gradient", self.dtype())));
        }
        match self.edge() {
            None => {
                if self.kind() == Kind::Activations {
                    self.storage().block().set_kind(Kind::Weights);
                }
                self.set_edge(Some(Edge::leaf()));
            }
            Some(edge) if edge.is_leaf() => {}
            Some(edge) => {
                return Err(Error::grad(format!("require_grad: `{}` made it; detach it first", edge.op())));
            }
        }
        Ok(self)
    }

    /// The same values, of which nothing is noted: the way to freeze a parameter, or to cut a graph.
    pub fn detach(mut self) -> Tensor {
        self.set_edge(None);
        self
    }

    /// Whether ops on it are noted (unless in [`no_grad`]).
    pub fn is_tracked(&self) -> bool {
        self.edge().is_some()
    }

    /// The gradient that [`backward`](Self::backward) has added up, if any. It shares its memory with what the next
    /// backward adds to, which then takes new memory: prefer [`take_grad`](Self::take_grad).
    pub fn grad(&self) -> Option<Tensor> {
        self.edge().and_then(Edge::grad)
    }

    /// The gradient that [`backward`](Self::backward) has added up, if any; the next one starts from nothing.
    pub fn take_grad(&self) -> Option<Tensor> {
        self.edge().and_then(Edge::take_grad)
    }

    /// Drops the gradient.
    pub fn zero_grad(&self) {
        drop(self.take_grad());
    }

    /// Adds the gradient of this tensor, of one element, to that of every tensor it was made of and that
    /// [requires](Self::require_grad) one. Those of 16-bit tensors are 16-bit tensors; those of weights of f32 that a
    /// [`cast`](Self::cast) rounded for a product are sums in f32.
    ///
    /// What the forward pass kept is freed on the way, as soon as it is used. A parameter's gradient is one buffer: the first
    /// contribution, to which others are added in place.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, -2.0], [2], &Device::cpu())?.require_grad()?;
    /// x.clone().relu()?.mul(&x)?.sum(&[])?.backward()?;
    /// assert_eq!(x.grad().expect("backward has reached it").to_vec::<f32>()?, [2.0, 0.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) unless it has one element, [`Grad`](crate::ErrorKind::Grad) if it is not tracked or a
    /// backward has been through its graph already; those of the ops of the backward. The gradients that this call added to
    /// are gone then.
    pub fn backward(self) -> Result<()> {
        if self.numel() != 1 {
            return Err(Error::shape(format!(
                "backward: {} has {} elements, a loss has one; give the gradient of others to `backward_with`",
                self.shape(),
                self.numel()
            )));
        }
        let one = Tensor::filled("backward", self.shape(), 1.0, self.dtype(), self.device())?;
        self.backward_with(one)
    }

    /// [`backward`](Self::backward) of a tensor of any shape, whose gradient is `grad`.
    ///
    /// # Errors
    ///
    /// As [`backward`](Self::backward); [`Shape`](crate::ErrorKind::Shape), [`DType`](crate::ErrorKind::DType) and
    /// [`Device`](crate::ErrorKind::Device) if `grad` is not of its shape, its dtype or where it is.
    pub fn backward_with(self, grad: Tensor) -> Result<()> {
        if self.shape() != grad.shape() {
            let (x, grad) = (self.shape(), grad.shape());
            return Err(Error::shape(format!("backward: {x} has a gradient of that shape, not {grad}")));
        }
        self.same_dtype(&grad, "backward")?;
        self.same_device(&grad, "backward")?;
        let Some(edge) = self.edge().cloned() else {
            return Err(Error::grad("backward: nothing that it was made of requires a gradient"));
        };
        // What the loss kept of itself is the tape's alone from here on.
        drop(self);
        no_grad(|| flow::backward(edge, grad.detach(), None))
    }

    /// [`backward`](Self::backward) in which the gradient of each tensor that requires one is taken by `update` as soon as it is
    /// whole, with the [number](Self::grad_number) of that tensor: not all gradients exist together. What was kept of the
    /// tensor is freed by then, so that it can be changed in place.
    ///
    /// Source: Lv et al., "Full parameter fine-tuning for large language models with limited resources", 2023.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let mut w = Tensor::full([2], 3.0, DType::F32, &Device::cpu())?.require_grad()?;
    /// let number = w.grad_number();
    /// let loss = w.clone().square()?.sum(&[])?;
    /// loss.backward_each(|of, grad| {
    ///     assert_eq!(Some(of), number);
    ///     w.sub_(&grad.mul_scalar(0.5)?)
    /// })?;
    /// assert_eq!(w.to_vec::<f32>()?, [0.0, 0.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`backward`](Self::backward); [`Grad`](crate::ErrorKind::Grad), before anything is done, if a gradient of an earlier
    /// backward was not taken: it would be added to one that is gone; those of `update`. What it changed before an error
    /// stays changed.
    pub fn backward_each(self, mut update: impl FnMut(u64, Tensor) -> Result<()>) -> Result<()> {
        if self.numel() != 1 {
            let shape = self.shape();
            return Err(Error::shape(format!("backward_each: {shape} is not of one element, as a loss is")));
        }
        let grad = Tensor::filled("backward", self.shape(), 1.0, self.dtype(), self.device())?;
        let Some(edge) = self.edge().cloned() else {
            return Err(Error::grad("backward_each: nothing that it was made of requires a gradient"));
        };
        drop(self);
        no_grad(|| flow::backward(edge, grad, Some(&mut update)))
    }

    /// A number that tells tensors that [require](Self::require_grad) a gradient apart; `None` for others. Clones have the same.
    pub fn grad_number(&self) -> Option<u64> {
        self.edge().filter(|edge| edge.is_leaf()).map(Edge::number)
    }
}
