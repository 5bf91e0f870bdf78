//! Bias, activation, dropout and residual in one pass.

use super::check_distinct;
use crate::{
    Tensor, cpu,
    device::DeviceKind,
    grad::{Kept, Tape},
    tensor::{View, ViewMut},
};
use taut_core::{Activation, Dropout, Error, Kept as Keeps, Mask, Result, Unary};
use taut_cuda::launch;
use taut_memory::{Kind, Site};

/// What [`Tensor::fused`] does to `x`, in this order; what is absent costs nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fused<'a> {
    /// `[n]`, added along the last axis.
    pub bias: Option<&'a Tensor>,
    /// Applied to the sum.
    pub activation: Activation,
    /// What is dropped of that: there the residual stays as it is.
    pub dropout: Option<Dropout>,
    /// Of the shape of `x`, added last.
    pub residual: Option<&'a Tensor>,
}

impl Tensor {
    /// Every element 0 with probability `drop_prob`, and otherwise times `1 / (1 - drop_prob)`, so that the mean stays.
    /// The probability is rounded to a multiple of 2^-16. `[..] -> [..]`, floats; what is dropped is 0 even if it was NaN.
    ///
    /// Element `e`, counted row-major, is decided by 16 bits, half-word `e % 8` of block `e / 8` of Philox 4x32-10: the same
    /// seed drops the same elements in every dtype and view, on every device. Nothing but the seed is kept.
    ///
    /// Reuses the memory of `self` when no one else holds it. Backward keeps the seed: 8 bytes.
    ///
    /// Source: Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR 2014.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let x = Tensor::full([1000], 3.0, DType::F32, &Device::cpu())?.dropout(0.25, 7)?;
    /// assert!(x.to_vec::<f32>()?.iter().all(|&x| x == 0.0 || x == 4.0));
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DType`](crate::ErrorKind::DType) for integers and bool, [`Value`](crate::ErrorKind::Value) if `drop_prob` is not
    /// in `[0, 1]`.
    pub fn dropout(self, drop_prob: f32, seed: u64) -> Result<Tensor> {
        self.pass("dropout", Fused { dropout: Some(Dropout { drop_prob, seed }), ..Fused::default() })
    }

    /// [`dropout`](Self::dropout), always in place.
    ///
    /// # Errors
    ///
    /// [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else holds this storage, or if the view itself
    /// shows an element twice; as [`dropout`](Self::dropout). Nothing is changed then.
    pub fn dropout_(&mut self, drop_prob: f32, seed: u64) -> Result<()> {
        self.pass_("dropout_", Fused { dropout: Some(Dropout { drop_prob, seed }), ..Fused::default() })
    }

    /// `residual + dropout(activation(x + bias))` in one pass, each part optional: `[.., n] + [n]`, and the residual of
    /// the shape of `x`, `-> [.., n]`. Floats, all of one dtype; computed in f32 (f64 for f64) and rounded once. Dropout as
    /// [`dropout`](Self::dropout) does it.
    ///
    /// Reuses the memory of `self` when no one else holds it. Backward keeps what the parts ask for. Activations: the
    /// input, beside the bias; dropout: the seed, 8 bytes; bias and residual: nothing.
    ///
    /// ```
    /// use taut::{Activation, Device, Dropout, Fused, Tensor};
    /// let x = Tensor::from_slice(&[-3.0f32, 1.0], [1, 2], &Device::cpu())?;
    /// let bias = Tensor::from_slice(&[1.0f32, 1.0], [2], &Device::cpu())?;
    /// let parts = Fused {
    ///     bias: Some(&bias),
    ///     activation: Activation::Relu,
    ///     dropout: Some(Dropout { drop_prob: 0.0, seed: 7 }),
    ///     residual: Some(&x.copy()?),
    /// };
    /// assert_eq!(x.fused(parts)?.to_vec::<f32>()?, [-3.0, 3.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if the bias is not `[n]` or the residual has another shape;
    /// [`DType`](crate::ErrorKind::DType) for integers, bool or different dtypes; [`Device`](crate::ErrorKind::Device) if
    /// the devices differ; [`Value`](crate::ErrorKind::Value) if the probability is not in `[0, 1]`.
    pub fn fused(self, parts: Fused<'_>) -> Result<Tensor> {
        self.pass("fused", parts)
    }

    /// [`fused`](Self::fused), always in place.
    ///
    /// # Errors
    ///
    /// [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else holds this storage, or if the view itself
    /// shows an element twice; as [`fused`](Self::fused). Nothing is changed then.
    pub fn fused_(&mut self, parts: Fused<'_>) -> Result<()> {
        self.pass_("fused_", parts)
    }

    fn pass(mut self, op: &'static str, parts: Fused<'_>) -> Result<Tensor> {
        let mask = check(op, &self, &parts)?;
        let Fused { bias, activation, residual, .. } = parts;
        if (bias.is_none(), activation, mask, residual.is_none()) == (true, Activation::Identity, None, true)
        {
            return Ok(self);
        }
        let note = Note::new(&parts, &self, Tape::of(op, parts.operands(&self)));
        let mut out = if self.is_reusable() {
            eval(&parts, mask, None, self.view_mut(op)?)?;
            self
        } else {
            let site = Site::new(op, Kind::Activations);
            let mut out = Tensor::allocate(*self.shape(), self.dtype(), self.device(), site)?;
            eval(&parts, mask, Some(self.view()?), out.view_mut(op)?)?;
            out
        };
        note.of(&mut out);
        Ok(out)
    }

    fn pass_(&mut self, op: &'static str, parts: Fused<'_>) -> Result<()> {
        let mask = check(op, self, &parts)?;
        check_distinct(self, op)?;
        let tape = Tape::in_place(op.trim_end_matches('_'), self, parts.operands(self).skip(1))?;
        if tape.is_on() && parts.activation != Activation::Identity {
            return Err(Error::grad(format!(
                "{op}: its backward needs what it would write over; use `fused`"
            )));
        }
        let note = Note::new(&parts, self, tape);
        eval(&parts, mask, None, self.view_mut(op)?)?;
        note.of(self);
        Ok(())
    }
}

impl<'a> Fused<'a> {
    /// The operands in the order of the tape: `x`, the bias, the residual.
    fn operands(&self, x: &'a Tensor) -> impl Iterator<Item = &'a Tensor> + Clone {
        std::iter::once(x).chain(self.bias).chain(self.residual)
    }
}

/// What is noted of the pass.
struct Note {
    tape: Tape,
    activation: Activation,
    dropout: Option<Dropout>,
    /// What the activation got: the input, before the bias.
    input: Option<Kept>,
    bias: Option<Kept>,
    /// Of the bias and the residual among the operands, if they are there.
    places: [Option<usize>; 2],
}

impl Note {
    fn new(parts: &Fused<'_>, x: &Tensor, tape: Tape) -> Note {
        let bends = parts.activation != Activation::Identity;
        let bias_at = parts.bias.map(|_| 1);
        let places = [bias_at, parts.residual.map(|_| 1 + usize::from(bias_at.is_some()))];
        let bent = bends && (tape.wants(0) || bias_at.is_some_and(|at| tape.wants(at)));
        let (input, bias) = (tape.keep(x, bent), parts.bias.and_then(|bias| tape.keep(bias, bent)));
        Note { tape, activation: parts.activation, dropout: parts.dropout, input, bias, places }
    }

    fn of(self, out: &mut Tensor) {
        let Note { tape, activation, dropout, input, bias, places: [bias_at, residual_at] } = self;
        tape.note(out, move |mut grad, flow| {
            if let Some(at) = residual_at {
                flow.give(at, grad.clone())?;
            }
            if let Some(Dropout { drop_prob, seed }) = dropout {
                grad = grad.dropout(drop_prob, seed)?;
            }
            if let (Some(input), Some(op)) = (input, activation.unary()) {
                let input = input.take()?;
                let input =
                    bias.map_or_else(|| Ok(input.clone()), |bias| input.clone().add(&bias.take()?))?;
                grad = activation_backward(grad, op, input)?;
            }
            if let Some(at) = bias_at.filter(|&at| flow.wants(at)) {
                let lead: Vec<usize> = (0..grad.rank() - 1).collect();
                let sum = if lead.is_empty() { grad.clone() } else { grad.clone().sum(&lead)? };
                flow.give(at, sum)?;
            }
            flow.give(0, grad)
        });
    }
}

/// The gradient before an activation, of what that got.
pub(super) fn activation_backward(grad: Tensor, op: Unary, input: Tensor) -> Result<Tensor> {
    let kept = match op.kept() {
        Some(Keeps::Output) => input.unary(op)?,
        _ => input,
    };
    grad.unary_backward(op, &kept)
}

/// Refuses what does not fit together. The mask is `None` where nothing is dropped.
fn check(op: &str, x: &Tensor, parts: &Fused<'_>) -> Result<Option<Mask>> {
    if !x.dtype().is_float() {
        return Err(Error::dtype(format!("{op}: does not take {}; cast to a float", x.dtype())));
    }
    let shape = x.shape();
    for other in parts.bias.into_iter().chain(parts.residual) {
        x.same_device(other, op)?;
        x.same_dtype(other, op)?;
    }
    if let Some(bias) = parts.bias
        && (bias.rank() != 1 || shape.last() != bias.shape().first())
    {
        return Err(Error::shape(format!("{op}: {shape} and bias {}: it must be [n]", bias.shape())));
    }
    if let Some(residual) = parts.residual
        && residual.shape() != shape
    {
        return Err(Error::shape(format!("{op}: {shape} and residual {} differ", residual.shape())));
    }
    let mask = parts.dropout.map(|dropout| dropout.mask(op)).transpose()?;
    Ok(mask.filter(|mask| mask.threshold > 0))
}

/// Where the device is chosen, once for the family. Without `src`, over `dst` itself.
fn eval(parts: &Fused<'_>, mask: Option<Mask>, src: Option<View<'_>>, dst: ViewMut<'_>) -> Result<()> {
    let (shape, activation) = (*dst.layout.shape(), parts.activation);
    let layout = parts.bias.map(|bias| bias.layout().broadcast_to(shape)).transpose()?;
    let bias = parts.bias.map(Tensor::view).transpose()?;
    let bias = bias.zip(layout.as_ref()).map(|(bias, layout)| bias.through(layout));
    let residual = parts.residual.map(Tensor::view).transpose()?;
    match dst.storage.device().kind() {
        DeviceKind::Cpu => {
            let fused = cpu::fused::Fused { bias, activation, mask, residual };
            cpu::fused::fused(&fused, src, dst)
        }
        DeviceKind::Cuda { gpu, .. } => {
            let target = dst.operand()?;
            let source = src.map_or(Ok(target), |src| src.operand())?;
            let bias = bias.map(|bias| bias.operand()).transpose()?;
            let residual = residual.map(|residual| residual.operand()).transpose()?;
            let fused = launch::fused::Fused { bias, activation, mask, residual };
            launch::fused::fused(&*gpu.stream(dst.storage.writer())?, fused, source, target)
        }
        DeviceKind::Plan(_) => Ok(()),
    }
}
