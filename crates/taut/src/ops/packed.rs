//! Sums and means over packed sequences.

use crate::{
    Sequences, Tensor, cpu,
    device::{DeviceKind, SpecRef},
    grad::refuse,
};
use taut_core::{Error, Packed, Result, Shape};
use taut_cuda::launch::{self, packed::Lengths};
use taut_memory::{Kind, Site};

impl Tensor {
    /// The mean of the rows of each sequence: `[tokens, ..rest] -> [count, ..rest]`. Of the vectors of tokens it makes those of
    /// sentences. Floats; sums are f32 or wider, and the mean is rounded once, so that it does not overflow where the sum of
    /// f16 would. The mean of an empty sequence is NaN; NaN stays in its sequence and column.
    ///
    /// Any strides are read where they lie; rows that are contiguous, begin on 16 bytes and are a multiple of them are fast.
    /// On CUDA sequences that are long beside the others are cut into slices, whose sums stand in a workspace of about 3 % of
    /// an f16 operand at most. The same bits in every run: the order of additions is a fact of shapes, strides and lengths.
    ///
    /// Backward keeps the bounds of the sequences: 4 bytes for each, and 4 more.
    ///
    /// ```
    /// use taut::{Device, Sequences, Tensor};
    /// let device = Device::cpu();
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 6.0, 7.0, 7.0], [3, 2], &device)?;
    /// // A sentence of two tokens, and one of one.
    /// let means = x.mean_packed(&Sequences::new(&[2, 1], &device)?)?;
    /// assert_eq!(means.to_vec::<f32>()?, [2.0, 4.0, 7.0, 7.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if there is no axis, or the first is not as long as the sequences together;
    /// [`DType`](crate::ErrorKind::DType) for integers and bool; [`Device`](crate::ErrorKind::Device) if the sequences are on
    /// another device.
    pub fn mean_packed(self, sequences: &Sequences) -> Result<Tensor> {
        self.packed(Packed::Mean, sequences)
    }

    /// The sum of the rows of each sequence, as [`mean_packed`](Self::mean_packed). That of an empty one is 0.
    ///
    /// Backward keeps the bounds of the sequences: 4 bytes for each, and 4 more.
    ///
    /// ```
    /// use taut::{Device, Sequences, Tensor};
    /// let device = Device::cpu();
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0], [3], &device)?;
    /// let sums = x.sum_packed(&Sequences::new(&[2, 0, 1], &device)?)?;
    /// assert_eq!(sums.to_vec::<f32>()?, [3.0, 0.0, 3.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`mean_packed`](Self::mean_packed).
    pub fn sum_packed(self, sequences: &Sequences) -> Result<Tensor> {
        self.packed(Packed::Sum, sequences)
    }

    fn packed(self, op: Packed, sequences: &Sequences) -> Result<Tensor> {
        let (name, device) = (op.name(), self.device().clone());
        self.same_device(sequences.bounds(), name)?;
        refuse(name, &[&self])?;
        if !self.dtype().is_float() {
            return Err(Error::dtype(format!("{name}: does not take {}", self.dtype())));
        }
        let lengths =
            Lengths { count: sequences.count(), longest: sequences.longest(), tokens: sequences.tokens() };
        let rest = match self.shape().split_first() {
            Some((&rows, rest)) if rows == lengths.tokens => rest,
            _ => {
                let shape = self.shape();
                return Err(Error::shape(format!(
                    "{name}: {shape} must be [tokens, ..]: the sequences have {} tokens",
                    lengths.tokens
                )));
            }
        };
        let shape = Shape::new(&[&[lengths.count], rest].concat())?;
        let mut out = Tensor::allocate(shape, self.dtype(), &device, Site::new(name, Kind::Activations))?;
        if out.numel() == 0 {
            return Ok(out);
        }
        let (src, bounds) = (self.view()?, sequences.bounds().view()?);
        match device.spec_ref() {
            SpecRef::Cpu => {
                let dst = out.view_mut(name)?;
                if !device.is_plan() {
                    cpu::packed::packed(op, src, bounds, dst)?;
                }
            }
            SpecRef::Cuda(_) => {
                let choice = launch::packed::choose(self.layout(), self.dtype(), lengths);
                let workspace = device.workspace(choice.workspace_bytes, name)?;
                let dst = out.view_mut(name)?;
                if let DeviceKind::Cuda { gpu, .. } = device.kind() {
                    let stream = gpu.stream(dst.storage.writer())?;
                    let operands = [src.operand()?, bounds.operand()?, dst.operand()?];
                    launch::packed::packed(&stream, op, &choice, operands, &workspace)?;
                }
            }
        }
        Ok(out)
    }
}
