//! Views: other layouts over the same storage. None copies, but [`Tensor::reshape`] where it must.

use crate::Tensor;
use std::ops::Range;
use taut_core::{Result, Shape};

impl Tensor {
    /// The part with `range` on `axis`: no copy.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let x = Tensor::arange(0.0, 6.0, 1.0, DType::I64, &Device::cpu())?.reshape([2, 3])?;
    /// assert_eq!(x.slice(1, 1..3)?.to_vec::<i64>()?, [1, 2, 4, 5]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if there is no such axis, or the range is not within it.
    pub fn slice(self, axis: usize, range: Range<usize>) -> Result<Tensor> {
        let layout = self.layout().sliced(axis, range)?;
        Ok(self.viewed(layout))
    }

    /// The axes `a` and `b` exchanged: no copy.
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if there is no such axis.
    pub fn transpose(self, a: usize, b: usize) -> Result<Tensor> {
        let layout = self.layout().transposed(a, b)?;
        Ok(self.viewed(layout))
    }

    /// The last two axes exchanged: no copy. `[.., m, n] -> [.., n, m]`.
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if there are fewer than two axes.
    pub fn t(self) -> Result<Tensor> {
        let rank = self.rank();
        self.layout().axis("t", 1)?;
        self.transpose(rank - 2, rank - 1)
    }

    /// The same elements in the same order under another shape. Copies only where no strides can say it: a transposed
    /// matrix that is flattened, for example.
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if the number of elements differs or overflows.
    pub fn reshape(self, shape: impl AsRef<[usize]>) -> Result<Tensor> {
        let shape = Shape::new(shape.as_ref())?;
        match self.layout().reshaped(shape)? {
            Some(layout) => Ok(self.viewed(layout)),
            None => self.contiguous()?.reshape(shape),
        }
    }

    /// Repeated along new leading axes and axes of extent 1: no copy, stride 0.
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if this shape does not broadcast to `shape`.
    pub fn broadcast_to(self, shape: impl AsRef<[usize]>) -> Result<Tensor> {
        let layout = self.layout().broadcast_to(Shape::new(shape.as_ref())?)?;
        Ok(self.viewed(layout))
    }
}
