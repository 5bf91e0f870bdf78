//! Choices between two tensors, element by element.

use crate::{
    Tensor, cpu,
    device::DeviceKind,
    grad::{Kept, Tape, sum_to},
    ops::{check_distinct, check_fits},
    tensor::{View, ViewMut},
};
use taut_core::{DType, Error, Result, Shape};
use taut_cuda::launch;
use taut_memory::{Kind, Site};

impl Tensor {
    /// `self` where `mask` is true, `other` elsewhere; all three broadcast at the last axes:
    /// `[.., n], [.., 1], [n] -> [.., n]`. Any dtype, and the bits stay as they are.
    ///
    /// Reuses the memory of `self` when no one else holds it and it has the shape of the result. Backward keeps the mask:
    /// its `numel` bytes.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0], [3], &Device::cpu())?;
    /// let mask = Tensor::from_slice(&[true, false, true], [3], &Device::cpu())?;
    /// let other = Tensor::from_slice(&[0.5f32], [1], &Device::cpu())?;
    /// assert_eq!(x.where_mask(&mask, &other)?.to_vec::<f32>()?, [1.0, 0.5, 3.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if the shapes do not broadcast, [`DType`](crate::ErrorKind::DType) if the mask
    /// is not bool or the dtypes of the others differ, [`Device`](crate::ErrorKind::Device) if the devices differ.
    pub fn where_mask(self, mask: &Tensor, other: &Tensor) -> Result<Tensor> {
        self.select("where_mask", mask, other, true)
    }

    /// [`where_mask`](Self::where_mask), always in place: the others broadcast to the shape of `self`.
    ///
    /// # Errors
    ///
    /// As [`where_mask`](Self::where_mask); [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else holds
    /// this storage. Nothing is changed then.
    pub fn where_mask_(&mut self, mask: &Tensor, other: &Tensor) -> Result<()> {
        self.select_("where_mask_", mask, other, true)
    }

    /// `value` where `mask` is true, `self` elsewhere; the two broadcast at the last axes: `[.., n], [n] -> [.., n]`. Any
    /// dtype, to which `value` is converted as [`cast`](Self::cast) converts an f64.
    ///
    /// Reuses the memory of `self` when no one else holds it and it has the shape of the result. Takes one element more
    /// for the time of the op. Backward keeps the mask: its `numel` bytes.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0], [3], &Device::cpu())?;
    /// let mask = Tensor::from_slice(&[true, false, true], [3], &Device::cpu())?;
    /// let y = x.masked_fill(&mask, f64::NEG_INFINITY)?;
    /// assert_eq!(y.to_vec::<f32>()?, [f32::NEG_INFINITY, 2.0, f32::NEG_INFINITY]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`where_mask`](Self::where_mask).
    pub fn masked_fill(self, mask: &Tensor, value: f64) -> Result<Tensor> {
        let value = Tensor::filled("masked_fill", &[], value, self.dtype(), self.device())?;
        self.select("masked_fill", mask, &value, false)
    }

    /// [`masked_fill`](Self::masked_fill), always in place: the mask broadcasts to the shape of `self`.
    ///
    /// # Errors
    ///
    /// As [`where_mask_`](Self::where_mask_).
    pub fn masked_fill_(&mut self, mask: &Tensor, value: f64) -> Result<()> {
        let value = Tensor::filled("masked_fill", &[], value, self.dtype(), self.device())?;
        self.select_("masked_fill_", mask, &value, false)
    }

    /// `self` where the mask is `kept`, `other` elsewhere.
    fn select(mut self, op: &'static str, mask: &Tensor, other: &Tensor, kept: bool) -> Result<Tensor> {
        check(&self, mask, other, op)?;
        let shape = self.shape().broadcast(mask.shape(), op)?.broadcast(other.shape(), op)?;
        let note = Note::new(&self, mask, other, kept, Tape::new(op, &[&self, other]));
        if shape == *self.shape() && self.is_reusable() {
            self.choose_(op, mask, other, kept)?;
            note.of(&mut self);
            return Ok(self);
        }
        let layouts = [&self, mask, other].map(|x| x.layout().broadcast_to(shape));
        let [own, masked, others] = layouts;
        let (own, masked, others) = (own?, masked?, others?);
        let site = Site::new(op, Kind::Activations);
        let mut out = Tensor::allocate(shape, self.dtype(), self.device(), site)?;
        let (own, others) = (self.view()?.through(&own), other.view()?.through(&others));
        let (a, b) = if kept { (own, others) } else { (others, own) };
        eval(mask.view()?.through(&masked), Some(a), Some(b), out.view_mut(op)?)?;
        note.of(&mut out);
        Ok(out)
    }

    fn select_(&mut self, op: &'static str, mask: &Tensor, other: &Tensor, kept: bool) -> Result<()> {
        check(self, mask, other, op)?;
        let tape = Tape::in_place(op.trim_end_matches('_'), self, std::iter::once(other))?;
        let note = Note::new(self, mask, other, kept, tape);
        self.choose_(op, mask, other, kept)?;
        note.of(self);
        Ok(())
    }

    fn choose_(&mut self, op: &str, mask: &Tensor, other: &Tensor, kept: bool) -> Result<()> {
        check_distinct(self, op)?;
        check_fits(self, mask, op)?;
        check_fits(self, other, op)?;
        let masked = mask.layout().broadcast_to(*self.shape())?;
        let others = other.layout().broadcast_to(*self.shape())?;
        // Asked for first: a shared storage is refused before anything else is touched.
        let target = self.view_mut(op)?;
        let others = Some(other.view()?.through(&others));
        let (a, b) = if kept { (None, others) } else { (others, None) };
        eval(mask.view()?.through(&masked), a, b, target)
    }
}

/// What is noted of a choice.
struct Note {
    tape: Tape,
    mask: Option<Kept>,
    /// Whether `self` is where the mask is true.
    kept: bool,
    shapes: [Shape; 2],
}

impl Note {
    fn new(x: &Tensor, mask: &Tensor, other: &Tensor, kept: bool, tape: Tape) -> Note {
        Note { mask: tape.keep(mask, true), tape, kept, shapes: [*x.shape(), *other.shape()] }
    }

    fn of(self, out: &mut Tensor) {
        let Note { tape, mask, kept, shapes: [own, other] } = self;
        tape.note(out, move |grad, flow| {
            let Some(mask) = mask.map(Kept::take).transpose()? else { return Ok(()) };
            let is_other = if kept { mask.clone().not()? } else { mask.clone() };
            if flow.wants(1) {
                let is_own = is_other.clone().not()?;
                flow.give(1, sum_to(grad.clone().masked_fill(&is_own, 0.0)?, other)?)?;
            }
            if flow.wants(0) {
                flow.give(0, sum_to(grad.masked_fill(&is_other, 0.0)?, own)?)?;
            }
            Ok(())
        });
    }
}

fn check(x: &Tensor, mask: &Tensor, other: &Tensor, op: &str) -> Result<()> {
    x.same_device(mask, op)?;
    x.same_device(other, op)?;
    x.same_dtype(other, op)?;
    if mask.dtype() != DType::Bool {
        return Err(Error::dtype(format!("{op}: the mask is {}, it must be bool", mask.dtype())));
    }
    Ok(())
}

/// Where the device is chosen, once for the family. One of `a` and `b` may be missing: `dst` is it.
fn eval(mask: View<'_>, a: Option<View<'_>>, b: Option<View<'_>>, dst: ViewMut<'_>) -> Result<()> {
    match dst.storage.device().kind() {
        DeviceKind::Cpu => cpu::select::select(mask, a, b, dst),
        DeviceKind::Cuda { gpu, .. } => {
            let target = dst.operand()?;
            let [a, b] = [a, b].map(|view| view.map_or(Ok(target), |view| view.operand()));
            launch::select::select(&*gpu.stream(dst.storage.writer())?, mask.operand()?, a?, b?, target)
        }
        DeviceKind::Plan(_) => Ok(()),
    }
}
