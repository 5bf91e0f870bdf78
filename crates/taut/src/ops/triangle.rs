//! Triangles of matrices.

use super::check_distinct;
use crate::{
    Device, Tensor, cpu,
    device::DeviceKind,
    grad::Tape,
    tensor::{View, ViewMut},
};
use taut_core::{DType, Result, Triangle};
use taut_cuda::launch;
use taut_memory::{Kind, Site};

impl Tensor {
    /// The diagonal and what is below it, 0 elsewhere, in the last two axes: element `[.., i, j]` stays where
    /// `j - i <= diagonal`. 0 is the main diagonal, 1 the one above it; it may lie outside of the matrix. `[.., m, n] ->
    /// [.., m, n]`, any dtype; NaN becomes 0 like all else.
    ///
    /// Reuses the memory of `self` when no one else holds it. Backward keeps nothing: 0 bytes.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let x = Tensor::full([2, 3], 7.0, DType::I64, &Device::cpu())?;
    /// assert_eq!(x.tril(0)?.to_vec::<i64>()?, [7, 0, 0, 7, 7, 0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if there are less than two axes.
    pub fn tril(self, diagonal: i64) -> Result<Tensor> {
        self.triangle(Triangle::Lower, diagonal)
    }

    /// The diagonal and what is above it, 0 elsewhere: element `[.., i, j]` stays where `j - i >= diagonal`. Otherwise as
    /// [`tril`](Self::tril).
    ///
    /// Backward keeps nothing: 0 bytes.
    ///
    /// # Errors
    ///
    /// As [`tril`](Self::tril).
    pub fn triu(self, diagonal: i64) -> Result<Tensor> {
        self.triangle(Triangle::Upper, diagonal)
    }

    /// [`tril`](Self::tril), always in place.
    ///
    /// # Errors
    ///
    /// [`Shared`](crate::ErrorKind::Shared), naming the holder, if anyone else holds this storage, or if the view itself
    /// shows an element twice; as [`tril`](Self::tril).
    pub fn tril_(&mut self, diagonal: i64) -> Result<()> {
        self.triangle_(Triangle::Lower, diagonal)
    }

    /// [`triu`](Self::triu), always in place.
    ///
    /// # Errors
    ///
    /// As [`tril_`](Self::tril_).
    pub fn triu_(&mut self, diagonal: i64) -> Result<()> {
        self.triangle_(Triangle::Upper, diagonal)
    }

    /// True where [`tril`](Self::tril) keeps: `[n, m]` of bool. A causal mask is that of diagonal 0.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let mask = Tensor::tril_mask(2, 3, 1, &Device::cpu())?;
    /// assert_eq!(mask.to_vec::<bool>()?, [true, true, false, true, true, true]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`zeros`](Self::zeros).
    pub fn tril_mask(n: usize, m: usize, diagonal: i64, device: &Device) -> Result<Tensor> {
        Tensor::full([n, m], 1.0, DType::Bool, device)?.tril(diagonal)
    }

    fn triangle(mut self, keep: Triangle, diagonal: i64) -> Result<Tensor> {
        let op = keep.name();
        self.layout().axis(op, 1)?;
        let tape = Tape::new(op, &[&self]);
        let mut out = if self.is_reusable() {
            eval_triangle(keep, diagonal, None, self.view_mut(op)?)?;
            self
        } else {
            let site = Site::new(op, Kind::Activations);
            let mut out = Tensor::allocate(*self.shape(), self.dtype(), self.device(), site)?;
            eval_triangle(keep, diagonal, Some(self.view()?), out.view_mut(op)?)?;
            out
        };
        note(keep, diagonal, tape, &mut out);
        Ok(out)
    }

    fn triangle_(&mut self, keep: Triangle, diagonal: i64) -> Result<()> {
        let op = format!("{}_", keep.name());
        self.layout().axis(&op, 1)?;
        check_distinct(self, &op)?;
        let tape = Tape::in_place(keep.name(), self, std::iter::empty())?;
        eval_triangle(keep, diagonal, None, self.view_mut(&op)?)?;
        note(keep, diagonal, tape, self);
        Ok(())
    }
}

fn note(keep: Triangle, diagonal: i64, tape: Tape, out: &mut Tensor) {
    tape.note(out, move |grad, flow| flow.give(0, grad.triangle(keep, diagonal)?));
}

/// Where the device is chosen, once for the family. Without `src`, over `dst` itself.
fn eval_triangle(keep: Triangle, diagonal: i64, src: Option<View<'_>>, dst: ViewMut<'_>) -> Result<()> {
    match dst.storage.device().kind() {
        DeviceKind::Cpu => cpu::triangle::triangle(keep, diagonal, src, dst),
        DeviceKind::Cuda { gpu, .. } => {
            let target = dst.operand()?;
            let source = src.map_or(Ok(target), |src| src.operand())?;
            launch::triangle::triangle(&*gpu.stream(dst.storage.writer())?, keep, diagonal, source, target)
        }
        DeviceKind::Plan(_) => Ok(()),
    }
}
