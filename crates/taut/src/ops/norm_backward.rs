//! The backward of norms of rows.

use super::norm::{Affine, check as check_norm, operands};
use crate::{
    Tensor,
    cpu::{self, norm::Along},
    device::{DeviceKind, SpecRef},
    grad::refuse,
    tensor::{View, ViewMut},
};
use taut_core::{DType, Error, Norm, Result, Shape};
use taut_cuda::launch;
use taut_memory::{Kind, Site};

impl Tensor {
    /// The gradient of `x`, of which the norm `op` was taken along `axis`, where `self` is that of its output. `weight` and
    /// `eps` are those of the norm; of an op of a sum, `x` is the sum. Shape `[..] -> [..]`, floats; computed in f32 (f64 for
    /// f64) and rounded once.
    ///
    /// Nothing but `x` has to be kept: its mean and scale are computed again, in the same kernel. With `n` elements in a row,
    /// `g` their gradients times the weight and `normal` what the norm makes of `x` by the factor `f`:
    ///
    /// - [`Norm::Layer`]: `f (g - mean(g) - normal mean(g normal))`,
    /// - [`Norm::Rms`]: `f (g - normal mean(g normal))`,
    /// - [`Norm::L2`]: `f (g - normal sum(g normal))`, or where the row is shorter than `eps`, `f g`.
    ///
    /// A row in which `x` or its gradient is not finite gets nothing that is. Reuses the memory of `self` when no one else
    /// holds it and it is contiguous; `x` is only read.
    ///
    /// ```
    /// use taut::{Device, Norm, Tensor};
    /// let new = |values: &[f32]| Tensor::from_slice(values, [2], &Device::cpu());
    /// let grad = new(&[1.0, 0.0])?.norm_backward(Norm::L2, 0, &new(&[0.0, 4.0])?, None, 1e-12)?;
    /// assert_eq!(grad.to_vec::<f32>()?, [0.25, 0.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if there is no such axis, if it is not the last for an op that is over that one, if
    /// the shapes differ, or the weight is not `[n]`; [`Grad`](crate::ErrorKind::Grad) for a weight of [`Norm::L2`], which
    /// has none; [`DType`](crate::ErrorKind::DType) for integers, bool and different dtypes, but for a weight of f32;
    /// [`Device`](crate::ErrorKind::Device) if the devices differ.
    pub fn norm_backward(
        mut self,
        op: Norm,
        axis: usize,
        x: &Tensor,
        weight: Option<&Tensor>,
        eps: f32,
    ) -> Result<Tensor> {
        let name = "norm_backward";
        refuse(name, &[&self, x])?;
        self.set_edge(None);
        check(name, op, axis, &self, x)?;
        if weight.is_some() {
            has_weight(name, op)?;
        }
        let affine = Affine { weight, bias: None, eps }.checked(name, x)?;
        let along = affine.along()?;
        if self.is_contiguous() && self.is_reusable() {
            eval(op, axis, None, x.view()?, along, self.view_mut(name)?)?;
            return Ok(self);
        }
        let mut out = self.like(name)?;
        eval(op, axis, Some(self.view()?), x.view()?, along, out.view_mut(name)?)?;
        Ok(out)
    }

    /// The gradients of the weight of a norm over the last axis, and of its bias if it has one, where `self` is that of the
    /// output: the sums over all rows of `self * normal`, where `normal` is what the norm makes of `x` before its weight,
    /// and of `self`. `[.., n] -> [n]` of `dtype`, which is f32 or that of `self`. [`Norm::Layer`] has a bias, [`Norm::Rms`]
    /// none; of an op of a sum, `x` is the sum.
    ///
    /// Nothing but `x` has to be kept: mean and scale are computed again. Sums are f32 (f64 on the CPU), in a fixed order: the
    /// same bits in every run. On CUDA rows are cut into slices, whose sums stand in a workspace, with 16 bytes for each row where
    /// rows are few, short or long.
    ///
    /// ```
    /// use taut::{DType, Device, Norm, Tensor};
    /// let new = |values: &[f32]| Tensor::from_slice(values, [2, 2], &Device::cpu());
    /// let (x, grad) = (new(&[1.0, 3.0, 8.0, 4.0])?, new(&[1.0, 2.0, 3.0, 4.0])?);
    /// let (weight, bias) = grad.norm_weight_backward(Norm::Layer, &x, 0.0, DType::F32)?;
    /// assert_eq!(weight.to_vec::<f32>()?, [2.0, -2.0]);
    /// assert_eq!(bias.map(|bias| bias.to_vec::<f32>()).transpose()?, Some(vec![4.0, 6.0]));
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if the shapes differ or there is no axis, [`Grad`](crate::ErrorKind::Grad) for
    /// [`Norm::L2`], which has no weight, [`DType`](crate::ErrorKind::DType) for integers, bool, different dtypes, and another
    /// `dtype`; [`Device`](crate::ErrorKind::Device) if the devices differ.
    pub fn norm_weight_backward(
        &self,
        op: Norm,
        x: &Tensor,
        eps: f32,
        dtype: DType,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let name = "norm_weight_backward";
        refuse(name, &[self, x])?;
        has_weight(name, op)?;
        check(name, op, self.rank().saturating_sub(1), self, x)?;
        if dtype != self.dtype() && (dtype != DType::F32 || self.dtype() == DType::F64) {
            let own = self.dtype();
            return Err(Error::dtype(format!("{name}: of gradients of {own} no sums of {dtype} are made")));
        }
        let device = self.device().clone();
        let shape = Shape::new(&self.shape()[self.rank() - 1..])?;
        let new = || Tensor::allocate(shape, dtype, &device, Site::new(name, Kind::Gradients));
        if self.numel() == 0 {
            // The sums of nothing.
            let zeros = || Tensor::filled(name, &shape, 0.0, dtype, &device);
            return Ok((zeros()?, is_biased(op).then(zeros).transpose()?));
        }
        let mut weight = new()?;
        let mut bias = is_biased(op).then(new).transpose()?;
        let (grad, input) = (self.view()?, x.view()?);
        match device.spec_ref() {
            SpecRef::Cpu => {
                let to = bias.as_mut().map(|bias| bias.view_mut(name)).transpose()?;
                let weight = weight.view_mut(name)?;
                if !device.is_plan() {
                    cpu::norm_weight_backward::norm_weight_backward(op, eps, grad, input, weight, to)?;
                }
            }
            SpecRef::Cuda(card) => {
                let dtype = self.dtype();
                let choice = launch::norm_weight_backward::choose(op, self.layout(), x.layout(), dtype, card);
                let workspace = device.workspace(choice.workspace_bytes, name)?;
                let to = bias.as_mut().map(|bias| bias.view_mut(name)).transpose()?;
                let weight = weight.view_mut(name)?;
                if let DeviceKind::Cuda { gpu, .. } = device.kind() {
                    let stream = gpu.stream(weight.storage.writer())?;
                    let bias = to.as_ref().map(|to| to.operand()).transpose()?;
                    let operands = [grad.operand()?, input.operand()?];
                    let weight = weight.operand()?;
                    launch::norm_weight_backward::norm_weight_backward(
                        &stream, &choice, eps, operands, weight, bias, &workspace,
                    )?;
                }
            }
        }
        Ok((weight, bias))
    }
}

fn is_biased(op: Norm) -> bool {
    op.of_rows() == Norm::Layer
}

fn has_weight(name: &str, op: Norm) -> Result<()> {
    if op == Norm::L2 {
        return Err(Error::new(taut_core::ErrorKind::Grad, format!("{name}: {} has no weight", op.name())));
    }
    Ok(())
}

fn check(name: &str, op: Norm, axis: usize, grad: &Tensor, x: &Tensor) -> Result<()> {
    check_norm(name, x, (op == Norm::L2).then_some(axis))?;
    x.layout().axis(name, axis)?;
    if op != Norm::L2 && axis + 1 != x.rank() {
        let shape = x.shape();
        return Err(Error::shape(format!(
            "{name}: {} is over the last axis of {shape}, not {axis}",
            op.name()
        )));
    }
    x.same_device(grad, name)?;
    grad.same_dtype(x, name)?;
    if grad.shape() != x.shape() {
        let (grad, x) = (grad.shape(), x.shape());
        return Err(Error::shape(format!("{name}: the gradient {grad} and the input {x} differ")));
    }
    Ok(())
}

/// Where the device is chosen. Without `grad`, it stands in `dst`.
fn eval(
    op: Norm,
    axis: usize,
    grad: Option<View<'_>>,
    input: View<'_>,
    along: Along<'_>,
    dst: ViewMut<'_>,
) -> Result<()> {
    match dst.storage.device().kind() {
        DeviceKind::Cpu => cpu::norm_backward::norm_backward(op, axis, grad, input, along, dst),
        DeviceKind::Cuda { gpu, .. } => {
            let target = dst.operand()?;
            let grad = grad.map_or(Ok(target), |grad| grad.operand())?;
            let affine = operands(along)?;
            let outer = launch::norm_backward::Outer { grad, input: input.operand()?, affine };
            let stream = gpu.stream(dst.storage.writer())?;
            launch::norm_backward::norm_backward(&stream, op, axis, outer, target)
        }
        DeviceKind::Plan(_) => Ok(()),
    }
}
