//! A linear layer with its cross entropy, of which the logits never exist as a whole.

use super::{matmul, multi};
use crate::{
    Tensor,
    grad::{Kept, Tape, no_grad},
};
use taut_core::{Activation, DType, Error, ErrorKind, Result};
use taut_memory::{Kind, Site};

const NAME: &str = "linear_cross_entropy";

/// What of the logits exists at once, unless a row is longer: of 50,304 classes in 16 bits, those of 1,792 rows. With each part
/// the weight's gradient is read and written once more.
const LOGITS_BYTES: usize = 176 << 20;

/// Rows that fill the tiles of a product.
const TILE: usize = 128;

impl Tensor {
    /// The mean cross entropy of the logits `x w^T` of rows: `[rows, k] x [classes, k] x [rows] -> []`, f32 (f64 for f64),
    /// over the rows whose target is not `ignore`; 0 if there is none. `targets` are i64; `smoothing` is spread over all
    /// classes, as [`cross_entropy`](Self::cross_entropy) says. `weight` may be that of an embedding.
    ///
    /// Logits are made for some rows at a time, at most 176 MiB of them, turned into their gradients where they lie, and
    /// those at once into the gradients of `x` and of the weight: backward only scales these. So of the logits, which are
    /// `rows * classes` elements, nothing is kept. Backward keeps the gradients themselves: that of `x` over `x` if nobody else
    /// holds it, and that of the weight, in f32 for 16-bit weights, so that its sums are not rounded in between.
    ///
    /// Source: Wijmans et al., "Cut your losses in large-vocabulary language models", 2024; Hsu et al., "Liger kernel", 2024.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let device = Device::cpu();
    /// let x = Tensor::normal([32, 16], 0.0, 1.0, 1, DType::F32, &device)?.require_grad()?;
    /// let w = Tensor::normal([1000, 16], 0.0, 0.1, 2, DType::F32, &device)?.require_grad()?;
    /// let targets = Tensor::arange(0.0, 32.0, 1.0, DType::I64, &device)?;
    /// let loss = x.clone().linear_cross_entropy(&w, &targets, 0.0, None)?;
    /// assert!((loss.item::<f32>()? - 1000f32.ln()).abs() < 0.5);
    /// loss.backward()?;
    /// assert!(x.grad().is_some() && w.grad().is_some());
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`linear`](Self::linear) and [`cross_entropy`](Self::cross_entropy); [`Shape`](crate::ErrorKind::Shape) unless `self`
    /// is a matrix.
    pub fn linear_cross_entropy(
        self,
        weight: &Tensor,
        targets: &Tensor,
        smoothing: f32,
        ignore: Option<i64>,
    ) -> Result<Tensor> {
        let (&[rows, _], &[classes, _]) = (&self.shape()[..], &weight.shape()[..]) else {
            let (x, w) = (self.shape(), weight.shape());
            return Err(Error::shape(format!("{NAME}: {x} by {w}: must be [rows, k] by [classes, k]")));
        };
        if targets.shape()[..] != [rows] || targets.dtype() != DType::I64 {
            let (shape, dtype) = (targets.shape(), targets.dtype());
            return Err(Error::shape(format!(
                "{NAME}: the targets are {dtype} {shape}, must be i64 [{rows}]"
            )));
        }
        if classes == 0 && rows > 0 {
            return Err(Error::new(ErrorKind::Value, format!("{NAME}: there is no class")));
        }
        let tape = Tape::new(NAME, &[&self, weight]);
        let parts = Parts { targets, smoothing, ignore, rows, step: step(rows, classes, self.dtype()) };
        let wants = [tape.wants(0), tape.wants(1)];
        let (mut loss, of_x, of_weight) = no_grad(|| parts.run(self.detach(), weight, wants))?;
        let (of_x, of_weight) = (of_x.map(|x| tape.keep(&x, true)), of_weight.map(|x| tape.keep(&x, true)));
        let dtype = weight.dtype();
        tape.note(&mut loss, move |grad, flow| {
            for (i, kept) in [of_x.flatten(), of_weight.flatten()].into_iter().enumerate() {
                let Some(found) = kept.map(Kept::take).transpose()? else { continue };
                if found.dtype() == dtype {
                    let grad = grad.clone().cast(dtype)?;
                    flow.give(i, found.mul(&grad)?)?;
                } else {
                    let site = Site::new(NAME, Kind::Gradients);
                    let mut scaled = Tensor::allocate(*found.shape(), dtype, found.device(), site)?;
                    multi::scaled_(&mut [&mut scaled], &grad, &[&found])?;
                    flow.give(i, scaled)?;
                }
            }
            Ok(())
        });
        Ok(loss)
    }
}

/// Rows whose logits exist at once.
fn step(rows: usize, classes: usize, dtype: DType) -> usize {
    let most = (LOGITS_BYTES / dtype.size()).checked_div(classes).unwrap_or(rows).max(1);
    let most = if most > TILE { most / TILE * TILE } else { most };
    // Of equal length, as far as that goes.
    let step = rows.div_ceil(rows.div_ceil(most).max(1)).max(1);
    if step > TILE { step.next_multiple_of(TILE) } else { step }
}

struct Parts<'a> {
    targets: &'a Tensor,
    smoothing: f32,
    ignore: Option<i64>,
    rows: usize,
    step: usize,
}

impl Parts<'_> {
    /// The loss, and the gradients of `x` and of the weight as far as they are wanted.
    fn run(
        &self,
        mut x: Tensor,
        weight: &Tensor,
        [of_x, of_weight]: [bool; 2],
    ) -> Result<(Tensor, Option<Tensor>, Option<Tensor>)> {
        let (dtype, device) = (x.dtype(), x.device().clone());
        let wide = if dtype == DType::F64 { dtype } else { DType::F32 };
        let scale = self.scale(wide)?;
        let mut losses = Vec::new();
        let mut grad_x = match of_x {
            true if x.is_contiguous() && x.is_reusable() => None,
            true => Some(Tensor::allocate(*x.shape(), dtype, &device, Site::new(NAME, Kind::Activations))?),
            false => None,
        };
        // The first part writes it; without rows it is 0.
        let site = Site::new(NAME, Kind::Gradients);
        let mut grad_weight = match of_weight {
            true if self.rows == 0 => {
                Some(Tensor::filled(NAME, weight.shape(), 0.0, wide, &device)?.with_kind(Kind::Gradients)?)
            }
            true => Some(Tensor::allocate(*weight.shape(), wide, &device, site)?),
            false => None,
        };
        for start in (0..self.rows).step_by(self.step) {
            let range = start..self.rows.min(start + self.step);
            let part = x.clone().slice(0, range.clone())?;
            let targets = self.targets.clone().slice(0, range.clone())?;
            let logits = part.clone().linear_with(weight, None, Activation::Identity)?;
            if !of_x && !of_weight {
                losses.push(logits.cross_entropy(&targets, self.smoothing, self.ignore)?);
                continue;
            }
            let (part_losses, grad) =
                logits.cross_entropy_with_grad(&targets, self.smoothing, self.ignore, &scale)?;
            losses.push(part_losses);
            if let Some(sum) = &mut grad_weight {
                let grad = grad.clone().t()?;
                match start {
                    0 => matmul::multiply_to(NAME, &grad, &part, sum.view_mut(NAME)?)?,
                    _ => sum.addmm_(&grad, &part)?,
                }
            }
            drop(part);
            if of_x {
                // Over the rows themselves: they have been used.
                let to = grad_x.as_mut().unwrap_or(&mut x);
                let layout = to.layout().sliced(0, range)?;
                matmul::multiply_to(NAME, &grad, weight, to.view_mut(NAME)?.through(&layout))?;
            }
        }
        let loss = match losses.is_empty() {
            true => Tensor::filled(NAME, &[], 0.0, wide, &device)?,
            false => Tensor::cat(&losses, 0)?.sum(&[])?.mul(&scale)?,
        };
        Ok((loss, of_x.then(|| grad_x.unwrap_or(x)), grad_weight))
    }

    /// 1 over the number of rows that count, one number of `dtype`.
    fn scale(&self, dtype: DType) -> Result<Tensor> {
        let device = self.targets.device();
        let Some(ignore) = self.ignore else {
            return Tensor::filled(NAME, &[], 1.0 / self.rows.max(1) as f64, dtype, device);
        };
        let counted = self.targets.clone().ne_scalar(ignore as f64)?.cast(dtype)?.sum(&[])?;
        let one = Tensor::filled(NAME, &[], 1.0, dtype, device)?;
        counted.maximum(&one)?.reciprocal()
    }
}
