//! The scale of a loss, which keeps gradients of f16 from vanishing.

use taut::{DType, Device, Kind, Result, Tensor};

/// Steps with finite gradients after which the scale is doubled.
const PATIENCE: f64 = 2000.0;

/// A scale that follows the gradients, on the device.
#[derive(Debug)]
pub(crate) struct LossScale {
    /// One f32.
    scale: Tensor,
    /// Steps since it changed, one f32.
    steps: Tensor,
}

impl LossScale {
    pub(crate) fn new(scale: f32, device: &Device) -> Result<LossScale> {
        let number =
            |value: f32| Tensor::full([], value.into(), DType::F32, device)?.with_kind(Kind::Optimizer);
        Ok(LossScale { scale: number(scale)?, steps: number(0.0)? })
    }

    /// `loss` times the scale, as f32: it may be more than 16 bits hold.
    pub(crate) fn apply(&self, loss: Tensor) -> Result<Tensor> {
        loss.cast(DType::F32)?.mul(&self.scale)
    }

    /// What gradients are multiplied by to be those of the loss as it was.
    pub(crate) fn inverse(&self) -> Result<Tensor> {
        self.scale.clone().reciprocal()
    }

    /// The scale after a step whose gradients had this norm.
    pub(crate) fn follow(&mut self, norm: &Tensor) -> Result<()> {
        // 0 times what is not finite is NaN.
        let is_finite = norm.clone().mul_scalar(0.0)?.eq_scalar(0.0)?;
        let steps = self.steps.clone().add_scalar(1.0)?;
        let is_patient = steps.clone().ge_scalar(PATIENCE)?;
        let grown = self.scale.clone().mul_scalar(2.0)?;
        let kept = grown.where_mask(&is_patient, &self.scale)?;
        let halved = self.scale.clone().mul_scalar(0.5)?;
        self.scale.copy_(&kept.where_mask(&is_finite, &halved)?)?;
        let steps = steps.masked_fill(&is_patient, 0.0)?.masked_fill(&is_finite.not()?, 0.0)?;
        self.steps.copy_(&steps)
    }

    /// What it keeps, by names.
    pub(crate) fn states(&self) -> Vec<(String, Tensor)> {
        vec![("loss_scale".into(), self.scale.clone()), ("loss_scale.steps".into(), self.steps.clone())]
    }

    /// Takes up what [`states`](Self::states) gave.
    pub(crate) fn restore(&mut self, put: &mut impl FnMut(String, &mut Tensor) -> Result<()>) -> Result<()> {
        put("loss_scale".into(), &mut self.scale)?;
        put("loss_scale.steps".into(), &mut self.steps)
    }
}
