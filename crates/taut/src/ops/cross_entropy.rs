//! The cross entropy of rows with labels.

use crate::{
    Tensor, cpu,
    device::DeviceKind,
    grad::{Tape, refuse},
    tensor::ViewMut,
};
use taut_core::{DType, Error, ErrorKind, Result, Shape};
use taut_cuda::launch;
use taut_memory::{Kind, Site};

const NAME: &str = "cross_entropy";

impl Tensor {
    /// The cross entropy of each row with its label: `[rows, classes]` by targets `[rows]` of i64 `-> [rows]`, which is
    /// `ln(sum(exp(x))) - x[label]`. With `smoothing` that share of a target is spread evenly over all classes (Szegedy et
    /// al., 2016). A row whose label is `ignore` has the loss 0, whatever is in it. Floats; losses are f32, f64 of f64, and so
    /// is what they are computed in. The logits are read once.
    ///
    /// A row that holds NaN or infinity, or nothing but -infinity, is NaN. Backward keeps the logits and the targets;
    /// [`cross_entropy_with_grad`](Self::cross_entropy_with_grad) needs no backward, and keeps neither.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let logits = Tensor::from_slice(&[0.0f32, 0.0, 100.0, 0.0], [2, 2], &Device::cpu())?;
    /// let targets = Tensor::from_slice(&[1i64, 0], [2], &Device::cpu())?;
    /// let losses = logits.cross_entropy(&targets, 0.0, None)?.to_vec::<f32>()?;
    /// assert!((losses[0] - 2f32.ln()).abs() < 1e-6 && losses[1] == 0.0);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if the shapes are not these, and if a label is negative or not below the number of
    /// classes: at once on the CPU, on CUDA by the next call that blocks. [`DType`](crate::ErrorKind::DType) for integers and
    /// bool, and targets that are not i64; [`Value`](crate::ErrorKind::Value) if `smoothing` is not in `[0, 1]`;
    /// [`Device`](crate::ErrorKind::Device) if the devices differ.
    pub fn cross_entropy(self, targets: &Tensor, smoothing: f32, ignore: Option<i64>) -> Result<Tensor> {
        let labels = Labels { targets, smoothing, ignored: ignore };
        let mut losses = labels.losses(&self)?;
        if self.numel() > 0 {
            eval(&labels, &self, losses.view_mut(NAME)?)?;
        }
        let tape = Tape::new(NAME, &[&self]);
        let (logits, targets) = (tape.keep(&self, true), tape.keep(targets, true));
        drop(self);
        tape.note(&mut losses, move |grad, flow| {
            let Some((logits, targets)) = logits.zip(targets) else {
                return Ok(());
            };
            let (logits, targets) = (logits.take()?, targets.take()?);
            let one = Tensor::filled(NAME, &[], 1.0, grad.dtype(), grad.device())?;
            let dtype = logits.dtype();
            // Over the logits, if no one else has them.
            let (_, rows) = logits.cross_entropy_with_grad(&targets, smoothing, ignore, &one)?;
            flow.give(0, rows.mul(&grad.cast(dtype)?.unsqueeze(1)?)?)
        });
        Ok(losses)
    }

    /// [`cross_entropy`](Self::cross_entropy), and in the same kernel its gradient: `(losses, grad)`, where `grad` is what the
    /// sum of the losses times `scale` gives the logits, `scale * (softmax - target)`, and 0 in ignored rows. `scale` is a
    /// tensor of one element of the dtype of the losses, such as one over the number of rows, so that it may change from step to
    /// step without the host.
    ///
    /// The gradient reuses the memory of `self` when no one else holds it and it is contiguous.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let logits = Tensor::from_slice(&[0.0f32, 0.0], [1, 2], &Device::cpu())?;
    /// let targets = Tensor::from_slice(&[1i64], [1], &Device::cpu())?;
    /// let scale = Tensor::full([], 4.0, DType::F32, &Device::cpu())?;
    /// let (_, grad) = logits.cross_entropy_with_grad(&targets, 0.0, None, &scale)?;
    /// assert_eq!(grad.to_vec::<f32>()?, [2.0, -2.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`cross_entropy`](Self::cross_entropy), and the same for a scale of more elements, of another dtype or device.
    pub fn cross_entropy_with_grad(
        mut self,
        targets: &Tensor,
        smoothing: f32,
        ignore: Option<i64>,
        scale: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        refuse("cross_entropy_with_grad", &[&self])?;
        self.set_edge(None);
        let labels = Labels { targets, smoothing, ignored: ignore };
        let mut losses = labels.losses(&self)?;
        self.same_device(scale, NAME)?;
        losses.same_dtype(scale, NAME)?;
        if scale.numel() != 1 {
            return Err(Error::shape(format!(
                "{NAME}: the scale is {}, it must be one element",
                scale.shape()
            )));
        }
        if self.numel() == 0 {
            return Ok((losses, self));
        }
        if self.is_contiguous() && self.is_reusable() {
            eval_with_grad(&labels, scale, None, losses.view_mut(NAME)?, self.view_mut(NAME)?)?;
            return Ok((losses, self));
        }
        let site = Site::new(NAME, Kind::Activations);
        let mut grad = Tensor::allocate(*self.shape(), self.dtype(), self.device(), site)?;
        eval_with_grad(&labels, scale, Some(&self), losses.view_mut(NAME)?, grad.view_mut(NAME)?)?;
        Ok((losses, grad))
    }
}

/// What rows are compared with.
struct Labels<'a> {
    targets: &'a Tensor,
    smoothing: f32,
    ignored: Option<i64>,
}

impl Labels<'_> {
    /// Memory for the losses of rows that fit to the labels.
    fn losses(&self, logits: &Tensor) -> Result<Tensor> {
        let Labels { targets, smoothing, .. } = *self;
        logits.same_device(targets, NAME)?;
        if !logits.dtype().is_float() {
            return Err(Error::dtype(format!("{NAME}: does not take {}", logits.dtype())));
        }
        if targets.dtype() != DType::I64 {
            return Err(Error::dtype(format!("{NAME}: the targets are {}, not i64", targets.dtype())));
        }
        let (&[rows, classes], &[labels]) = (&logits.shape()[..], &targets.shape()[..]) else {
            return Err(self.misfit(logits));
        };
        if rows != labels || (classes == 0 && rows > 0) {
            return Err(self.misfit(logits));
        }
        if !(0.0..=1.0).contains(&smoothing) {
            let message = format!("{NAME}: a smoothing of {smoothing}, it must be in [0, 1]");
            return Err(Error::new(ErrorKind::Value, message));
        }
        if let DeviceKind::Cpu = logits.device().kind() {
            cpu::cross_entropy::check(&self.on_host()?, classes)?;
        }
        let dtype = if logits.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
        let site = Site::new(NAME, Kind::Activations);
        Tensor::allocate(Shape::new(&[rows])?, dtype, logits.device(), site)
    }

    fn misfit(&self, logits: &Tensor) -> Error {
        let (logits, targets) = (logits.shape(), self.targets.shape());
        Error::shape(format!(
            "{NAME}: {logits} by {targets}: must be [rows, classes] by [rows], of at least a class"
        ))
    }

    fn on_host(&self) -> Result<cpu::cross_entropy::Labels<'_>> {
        let Labels { targets, smoothing, ignored } = *self;
        Ok(cpu::cross_entropy::Labels { targets: targets.view()?, smoothing, ignored })
    }

    fn on_card<'a>(&'a self, losses: &'a ViewMut<'_>) -> Result<launch::cross_entropy::Labels<'a>> {
        let Labels { targets, smoothing, ignored } = *self;
        let (targets, losses) = (targets.view()?.operand()?, losses.operand()?);
        Ok(launch::cross_entropy::Labels { targets, losses, smoothing, ignored })
    }
}

/// Where the device is chosen.
fn eval(labels: &Labels<'_>, logits: &Tensor, losses: ViewMut<'_>) -> Result<()> {
    let logits = logits.view()?;
    match losses.storage.device().kind() {
        DeviceKind::Cpu => cpu::cross_entropy::cross_entropy(logits, labels.on_host()?, losses),
        DeviceKind::Cuda { gpu, .. } => {
            let stream = gpu.stream(losses.storage.writer())?;
            launch::cross_entropy::cross_entropy(&stream, logits.operand()?, labels.on_card(&losses)?, None)
        }
        DeviceKind::Plan(_) => labels.targets.view().map(drop),
    }
}

/// Where the device is chosen. Without `logits`, they stand in `dst`.
fn eval_with_grad(
    labels: &Labels<'_>,
    scale: &Tensor,
    logits: Option<&Tensor>,
    losses: ViewMut<'_>,
    dst: ViewMut<'_>,
) -> Result<()> {
    let (logits, scale) = (logits.map(Tensor::view).transpose()?, scale.view()?);
    match dst.storage.device().kind() {
        DeviceKind::Cpu => {
            cpu::cross_entropy::cross_entropy_with_grad(logits, labels.on_host()?, scale, losses, dst)
        }
        DeviceKind::Cuda { gpu, .. } => {
            let target = dst.operand()?;
            let source = logits.map_or(Ok(target), |logits| logits.operand())?;
            let grad = launch::cross_entropy::Grad { scale: scale.operand()?, dst: target };
            let stream = gpu.stream(dst.storage.writer())?;
            launch::cross_entropy::cross_entropy(&stream, source, labels.on_card(&losses)?, Some(grad))
        }
        DeviceKind::Plan(_) => labels.targets.view().map(drop),
    }
}
