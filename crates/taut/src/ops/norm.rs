//! Norms of rows, and of a sum with what went around it.

use crate::{
    Tensor,
    cpu::{self, norm::Along},
    device::DeviceKind,
    grad::{Flow, Kept, Tape},
    tensor::{View, ViewMut},
};
use taut_core::{Binary, DType, Error, Norm, Result};
use taut_cuda::launch;
use taut_memory::{Kind, Site};

impl Tensor {
    /// Layer norm (Ba, Kiros and Hinton, 2016): `(x - mean) / sqrt(variance + eps) * weight + bias` over the last axis, of
    /// `n` elements; `[.., n] -> [.., n]`, floats. `variance` is the mean of squared deviations. Without a weight or a bias
    /// that step is left out.
    ///
    /// Computed in f32 (f64 for f64), deviations first, so that neither large values of 16-bit floats nor a large mean do
    /// harm, and rounded once. `weight` and `bias` are `[n]`, of the dtype of `self` or both f32. A row that holds NaN or
    /// infinity is NaN. Reuses the memory of `self` when no one else holds it and it is contiguous. Backward keeps the
    /// input, the weight, and the mean and scale of each row: 8 bytes a row.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let x = Tensor::from_slice(&[1001.0f32, 1003.0, 5.0, 5.0], [2, 2], &Device::cpu())?;
    /// let bias = Tensor::full([2], 10.0, DType::F32, &Device::cpu())?;
    /// let y = x.layer_norm(None, Some(&bias), 1e-12)?;
    /// assert_eq!(y.to_vec::<f32>()?, [9.0, 11.0, 10.0, 10.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if `self` is a scalar or the weight or the bias is not `[n]`,
    /// [`DType`](crate::ErrorKind::DType) for integers, bool, and a weight or a bias of another dtype,
    /// [`Device`](crate::ErrorKind::Device) if the devices differ.
    pub fn layer_norm(self, weight: Option<&Tensor>, bias: Option<&Tensor>, eps: f32) -> Result<Tensor> {
        self.normalized(Norm::Layer, None, Affine { weight, bias, eps })
    }

    /// RMS norm (Zhang and Sennrich, 2019): `x / sqrt(mean(x^2) + eps) * weight` over the last axis, of `n` elements;
    /// `[.., n] -> [.., n]`, floats.
    ///
    /// Computed as [`layer_norm`](Self::layer_norm); `weight` is `[n]`, of the dtype of `self` or f32. NaN in a row makes
    /// all of it NaN; infinity in it, 0 of what is finite. Elements beyond 1.8e19, whose squares f32 does not hold, count
    /// as infinite. Reuses the memory of `self` when no one else holds it and it is contiguous. Backward keeps the input,
    /// the weight, and the scale of each row: 4 bytes a row.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor, f16};
    /// let x = Tensor::full([4, 256], 60_000.0, DType::F16, &Device::cpu())?;
    /// assert_eq!(x.rms_norm(None, 1e-6)?.to_vec::<f16>()?, [f16::ONE; 1024]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`layer_norm`](Self::layer_norm).
    pub fn rms_norm(self, weight: Option<&Tensor>, eps: f32) -> Result<Tensor> {
        self.normalized(Norm::Rms, None, Affine { weight, bias: None, eps })
    }

    /// `x / max(sqrt(sum(x^2)), eps)` along `axis`: rows of length 1, or shorter where they are shorter than `eps`. Shape
    /// `[..] -> [..]`, floats.
    ///
    /// Computed in f32 (f64 for f64) and rounded once; NaN, infinity and elements beyond 1.8e19 as in
    /// [`rms_norm`](Self::rms_norm). Reuses the memory of `self` when no one else holds it and it is contiguous. Backward
    /// keeps the output and the norm of each row: 4 bytes a row.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[3.0f32, 4.0, 0.0, 0.0], [2, 2], &Device::cpu())?;
    /// let y = x.l2_normalize(1, 1e-12)?.to_vec::<f32>()?;
    /// assert!((y[0] - 0.6).abs() < 1e-6 && (y[1] - 0.8).abs() < 1e-6 && y[2..] == [0.0, 0.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if there is no such axis, [`DType`](crate::ErrorKind::DType) for integers and
    /// bool.
    pub fn l2_normalize(self, axis: usize, eps: f32) -> Result<Tensor> {
        self.normalized(Norm::L2, Some(axis), Affine { weight: None, bias: None, eps })
    }

    /// [`layer_norm`](Self::layer_norm) of `self + residual`, and the sum, in one kernel: `(norm, sum)`. The sum is rounded
    /// to the dtype before the norm is taken. `residual` has the shape of `self`.
    ///
    /// The sum reuses the memory of `self` when no one else holds it and it is contiguous. Backward keeps the sum, the
    /// weight, and the mean and scale of each row: 8 bytes a row.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let new = |values: &[f32]| Tensor::from_slice(values, [2], &Device::cpu());
    /// let (norm, sum) = new(&[1.0, 2.0])?.add_layer_norm(&new(&[1.0, 4.0])?, None, None, 1e-12)?;
    /// assert_eq!((norm.to_vec::<f32>()?, sum.to_vec::<f32>()?), (vec![-1.0, 1.0], vec![2.0, 6.0]));
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`layer_norm`](Self::layer_norm), and the same for a residual of another shape, dtype or device.
    pub fn add_layer_norm(
        self,
        residual: &Tensor,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f32,
    ) -> Result<(Tensor, Tensor)> {
        self.add_norm(Norm::AddLayer, residual, Affine { weight, bias, eps })
    }

    /// [`rms_norm`](Self::rms_norm) of `self + residual`, and the sum, in one kernel: `(norm, sum)`, otherwise as
    /// [`add_layer_norm`](Self::add_layer_norm). Backward keeps the sum, the weight, and the scale of each row: 4 bytes a
    /// row.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let new = |values: &[f32]| Tensor::from_slice(values, [2], &Device::cpu());
    /// let (norm, sum) = new(&[1.0, -2.0])?.add_rms_norm(&new(&[3.0, -2.0])?, None, 0.0)?;
    /// assert_eq!((norm.to_vec::<f32>()?, sum.to_vec::<f32>()?), (vec![1.0, -1.0], vec![4.0, -4.0]));
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`add_layer_norm`](Self::add_layer_norm).
    pub fn add_rms_norm(
        self,
        residual: &Tensor,
        weight: Option<&Tensor>,
        eps: f32,
    ) -> Result<(Tensor, Tensor)> {
        self.add_norm(Norm::AddRms, residual, Affine { weight, bias: None, eps })
    }

    /// Over the last axis if none is told.
    fn normalized(mut self, op: Norm, axis: Option<usize>, affine: Affine<&Tensor>) -> Result<Tensor> {
        let name = op.name();
        let axis = check(name, &self, axis)?;
        let given = affine.operands(&self);
        let tape = Tape::of(name, given.iter().copied());
        let (input, weight) =
            (tape.keep(&self, true), affine.weight.and_then(|w| tape.keep(w, tape.wants(0))));
        let places = affine.places(1);
        let affine = affine.checked(name, &self)?;
        let (along, eps) = (affine.along()?, affine.eps);
        let mut out = if self.is_contiguous() && self.is_reusable() {
            eval(op, axis, None, along, self.view_mut(name)?)?;
            self
        } else {
            let mut out = self.like(name)?;
            eval(op, axis, Some(self.view()?), along, out.view_mut(name)?)?;
            out
        };
        tape.note(&mut out, move |grad, flow| {
            let Some(input) = input.map(Kept::take).transpose()? else { return Ok(()) };
            give_affine(op, &grad, &input, eps, places, flow)?;
            if flow.wants(0) {
                let weight = weight.map(Kept::take).transpose()?;
                flow.give(0, grad.norm_backward(op, axis, &input, weight.as_ref(), eps)?)?;
            }
            Ok(())
        });
        Ok(out)
    }

    fn add_norm(mut self, op: Norm, residual: &Tensor, affine: Affine<&Tensor>) -> Result<(Tensor, Tensor)> {
        let name = op.name();
        let axis = check(name, &self, None)?;
        self.same_device(residual, name)?;
        self.same_dtype(residual, name)?;
        if residual.shape() != self.shape() {
            let (x, residual) = (self.shape(), residual.shape());
            return Err(Error::shape(format!("{name}: {x} and the residual {residual} differ")));
        }
        // Two ops in one pass: a sum, and the norm of it.
        let added = Tape::new(name, &[&self, residual]);
        let (weight, bias) = (affine.weight, affine.bias);
        let places = affine.places(1);
        let affine = affine.checked(name, &self)?;
        let (along, eps) = (affine.along()?, affine.eps);
        let mut out = self.like(name)?;
        let mut sum = if self.is_contiguous() && self.is_reusable() {
            eval_sum(op, axis, None, residual.view()?, along, self.view_mut(name)?, out.view_mut(name)?)?;
            self
        } else {
            let mut sum = self.like(name)?;
            let (src, other) = (Some(self.view()?), residual.view()?);
            eval_sum(op, axis, src, other, along, sum.view_mut(name)?, out.view_mut(name)?)?;
            sum
        };
        added.note(&mut sum, |grad, flow| {
            flow.give(0, grad.clone())?;
            flow.give(1, grad)
        });
        let tape = Tape::of(name, [&sum].into_iter().chain(weight).chain(bias));
        let (input, weight) = (tape.keep(&sum, true), weight.and_then(|w| tape.keep(w, tape.wants(0))));
        let op = if op == Norm::AddLayer { Norm::Layer } else { Norm::Rms };
        tape.note(&mut out, move |grad, flow| {
            let Some(input) = input.map(Kept::take).transpose()? else { return Ok(()) };
            give_affine(op, &grad, &input, eps, places, flow)?;
            if flow.wants(0) {
                let weight = weight.map(Kept::take).transpose()?;
                flow.give(0, grad.norm_backward(op, axis, &input, weight.as_ref(), eps)?)?;
            }
            Ok(())
        });
        Ok((out, sum))
    }

    /// New memory for a result of the same shape and dtype.
    pub(super) fn like(&self, name: &'static str) -> Result<Tensor> {
        Tensor::allocate(*self.shape(), self.dtype(), self.device(), Site::new(name, Kind::Activations))
    }
}

/// What there is for each element of a row, as it was given or contiguous.
pub(super) struct Affine<T> {
    pub(super) weight: Option<T>,
    pub(super) bias: Option<T>,
    pub(super) eps: f32,
}

/// Gives the weight and the bias of a norm their gradients, in their own dtype.
fn give_affine(
    op: Norm,
    grad: &Tensor,
    input: &Tensor,
    eps: f32,
    [weight, bias]: [Option<(usize, DType)>; 2],
    flow: &mut Flow<'_, '_>,
) -> Result<()> {
    let wanted = |place: Option<(usize, DType)>| place.filter(|&(at, _)| flow.wants(at));
    let (weight, bias) = (wanted(weight), wanted(bias));
    let Some((_, dtype)) = weight.or(bias) else { return Ok(()) };
    let (of_weight, of_bias) = grad.norm_weight_backward(op, input, eps, dtype)?;
    if let Some((at, _)) = weight {
        flow.give(at, of_weight)?;
    }
    match bias.zip(of_bias) {
        Some(((at, _), of_bias)) => flow.give(at, of_bias),
        None => Ok(()),
    }
}

impl<'a> Affine<&'a Tensor> {
    /// The operands in the order of the tape.
    fn operands(&self, x: &'a Tensor) -> Vec<&'a Tensor> {
        [x].into_iter().chain(self.weight).chain(self.bias).collect()
    }

    /// Where the weight and the bias stand among operands of which `before` come first, and their dtypes.
    fn places(&self, before: usize) -> [Option<(usize, DType)>; 2] {
        let behind = before + usize::from(self.weight.is_some());
        [self.weight.map(|w| (before, w.dtype())), self.bias.map(|b| (behind, b.dtype()))]
    }

    /// Contiguous, if it is right for rows of `x`.
    pub(super) fn checked(self, op: &str, x: &Tensor) -> Result<Affine<Tensor>> {
        let n = &x.shape()[x.rank() - 1..];
        for (what, tensor) in [("weight", self.weight), ("bias", self.bias)] {
            let Some(tensor) = tensor else { continue };
            x.same_device(tensor, op)?;
            if tensor.shape()[..] != *n {
                let (x, shape) = (x.shape(), tensor.shape());
                return Err(Error::shape(format!("{op}: {x} and the {what} {shape}: it must be {n:?}")));
            }
            if tensor.dtype() != x.dtype() && (tensor.dtype() != DType::F32 || x.dtype() == DType::F64) {
                let (x, dtype) = (x.dtype(), tensor.dtype());
                return Err(Error::dtype(format!("{op}: {x} and the {what} {dtype} differ; cast one")));
            }
        }
        if let (Some(weight), Some(bias)) = (self.weight, self.bias) {
            weight.same_dtype(bias, op)?;
        }
        let contiguous = |tensor: Option<&Tensor>| tensor.map(|t| t.clone().contiguous()).transpose();
        Ok(Affine { weight: contiguous(self.weight)?, bias: contiguous(self.bias)?, eps: self.eps })
    }
}

impl Affine<Tensor> {
    pub(super) fn along(&self) -> Result<Along<'_>> {
        let [weight, bias] = [&self.weight, &self.bias].map(|x| x.as_ref().map(Tensor::view).transpose());
        Ok(Along { weight: weight?, bias: bias?, eps: self.eps })
    }
}

/// The axis, if the op takes the tensor.
pub(super) fn check(op: &str, x: &Tensor, axis: Option<usize>) -> Result<usize> {
    if !x.dtype().is_float() {
        return Err(Error::dtype(format!("{op}: does not take {}", x.dtype())));
    }
    let Some(axis) = axis.or(x.rank().checked_sub(1)) else {
        return Err(Error::shape(format!("{op}: the input is a scalar, it needs an axis")));
    };
    x.layout().axis(op, axis)?;
    Ok(axis)
}

/// Where the device is chosen. Without `src`, over `dst` itself.
fn eval(op: Norm, axis: usize, src: Option<View<'_>>, along: Along<'_>, dst: ViewMut<'_>) -> Result<()> {
    match dst.storage.device().kind() {
        DeviceKind::Cpu => cpu::norm::norm(op, axis, src, along, dst),
        DeviceKind::Cuda { gpu, .. } => {
            let target = dst.operand()?;
            let source = src.map_or(Ok(target), |src| src.operand())?;
            let stream = gpu.stream(dst.storage.writer())?;
            launch::norm::norm(&stream, op, axis, source, None, operands(along)?, target)
        }
        DeviceKind::Plan(_) => Ok(()),
    }
}

/// Where the device is chosen, for ops of a sum. Without `src`, it is what stands in `sum`.
fn eval_sum(
    op: Norm,
    axis: usize,
    src: Option<View<'_>>,
    other: View<'_>,
    along: Along<'_>,
    sum: ViewMut<'_>,
    dst: ViewMut<'_>,
) -> Result<()> {
    match dst.storage.device().kind() {
        DeviceKind::Cpu => {
            let ViewMut { storage, layout, dtype } = sum;
            cpu::binary::binary(Binary::Add, src, other, ViewMut { storage: &mut *storage, layout, dtype })?;
            cpu::norm::norm(op, axis, Some(View { storage, layout, dtype }), along, dst)
        }
        DeviceKind::Cuda { gpu, .. } => {
            let (target, total) = (dst.operand()?, sum.operand()?);
            let source = src.map_or(Ok(total), |src| src.operand())?;
            let residual = launch::norm::Residual { other: other.operand()?, sum: total };
            let stream = gpu.stream(dst.storage.writer())?;
            launch::norm::norm(&stream, op, axis, source, Some(residual), operands(along)?, target)
        }
        DeviceKind::Plan(_) => Ok(()),
    }
}

pub(super) fn operands(along: Along<'_>) -> Result<launch::norm::Affine<'_>> {
    let [weight, bias] = [along.weight, along.bias].map(|x| x.map(|view| view.operand()).transpose());
    Ok(launch::norm::Affine { weight: weight?, bias: bias?, eps: along.eps })
}
