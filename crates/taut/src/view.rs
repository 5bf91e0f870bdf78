//! Views: other layouts over the same storage. None copies, but [`Tensor::reshape`] where it must.

use crate::{
    Tensor,
    grad::{Tape, sum_to},
};
use std::ops::Range;
use taut_core::{Error, Layout, MAX_RANK, Result, Shape};

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
        let (layout, whole) = (self.layout().sliced(axis, range.clone())?, *self.shape());
        Ok(self.seen("slice", layout, move |grad, sum| match sum {
            None => {
                let mut padding = vec![(0, 0); whole.len()];
                padding[axis] = (range.start, whole[axis] - range.end);
                grad.pad(&padding, 0.0)
            }
            Some(sum) => sum.add_at(axis, range, &grad),
        }))
    }

    /// The axes `a` and `b` exchanged: no copy.
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if there is no such axis.
    pub fn transpose(self, a: usize, b: usize) -> Result<Tensor> {
        let layout = self.layout().transposed(a, b)?;
        Ok(self.seen("transpose", layout, move |grad, sum| add(sum, grad.transpose(a, b)?)))
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
            Some(layout) => {
                let before = *self.shape();
                Ok(self.seen("reshape", layout, move |grad, sum| add(sum, grad.reshape(before)?)))
            }
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
        let before = *self.shape();
        Ok(self.seen("broadcast_to", layout, move |grad, sum| add(sum, sum_to(grad, before)?)))
    }

    /// The axes in the order that `axes` names: no copy. `[a, b, c]` by `[2, 0, 1]` `-> [c, a, b]`.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let x = Tensor::zeros([2, 3, 4], DType::F32, &Device::cpu())?;
    /// assert_eq!(x.permute(&[2, 0, 1])?.shape()[..], [4, 2, 3]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if `axes` does not name every axis once.
    pub fn permute(self, axes: &[usize]) -> Result<Tensor> {
        let layout = self.layout().permuted(axes)?;
        let mut back = vec![0; axes.len()];
        axes.iter().enumerate().for_each(|(to, &from)| back[from] = to);
        Ok(self.seen("permute", layout, move |grad, sum| add(sum, grad.permute(&back)?)))
    }

    /// With a new axis of extent 1 before axis `axis`, or at the end: no copy. `[a, b]` at 1 `-> [a, 1, b]`.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let x = Tensor::zeros([2, 3], DType::F32, &Device::cpu())?;
    /// assert_eq!(x.unsqueeze(2)?.shape()[..], [2, 3, 1]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if `axis` is above the rank, or that is the highest.
    pub fn unsqueeze(self, axis: usize) -> Result<Tensor> {
        let mut dims = self.shape().to_vec();
        if axis > dims.len() || dims.len() == MAX_RANK {
            return Err(Error::shape(format!("unsqueeze: {} can have no axis {axis} more", self.shape())));
        }
        dims.insert(axis, 1);
        self.reshape(dims)
    }

    /// Without `axis`, whose extent is 1: no copy. `[a, 1, b]` at 1 `-> [a, b]`.
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if there is no such axis, or its extent is not 1.
    pub fn squeeze(self, axis: usize) -> Result<Tensor> {
        let mut dims = self.shape().to_vec();
        if self.layout().axis("squeeze", axis)? != 1 {
            let shape = self.shape();
            return Err(Error::shape(format!("squeeze: axis {axis} of {shape} has not extent 1")));
        }
        dims.remove(axis);
        self.reshape(dims)
    }

    /// Parts of these sizes along `axis`, in order: no copy, they share the storage.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let x = Tensor::arange(0.0, 6.0, 1.0, DType::I64, &Device::cpu())?;
    /// let parts = x.split(0, &[1, 0, 5])?;
    /// assert_eq!(parts[2].to_vec::<i64>()?, [1, 2, 3, 4, 5]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if there is no such axis, or the sizes do not add up to it.
    pub fn split(self, axis: usize, sizes: &[usize]) -> Result<Vec<Tensor>> {
        let dim = self.layout().axis("split", axis)?;
        if sizes.iter().try_fold(0usize, |sum, &size| sum.checked_add(size)) != Some(dim) {
            let shape = self.shape();
            return Err(Error::shape(format!("split: {sizes:?} does not add up to axis {axis} of {shape}")));
        }
        let parts = sizes.iter().scan(0, |end, &size| {
            *end += size;
            Some(self.clone().slice(axis, *end - size..*end))
        });
        parts.collect()
    }

    /// `count` parts along `axis`, as even as can be, the first of them larger by one where it does not divide: no copy.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let x = Tensor::zeros([4, 7], DType::F32, &Device::cpu())?;
    /// let widths = x.chunk(1, 3)?.iter().map(|part| part.shape()[1]).collect::<Vec<_>>();
    /// assert_eq!(widths, [3, 2, 2]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if there is no such axis, or it is to be cut into no parts.
    pub fn chunk(self, axis: usize, count: usize) -> Result<Vec<Tensor>> {
        let dim = self.layout().axis("chunk", axis)?;
        if count == 0 {
            return Err(Error::shape(format!("chunk: axis {axis} of {} in no parts", self.shape())));
        }
        let size = |part| dim / count + usize::from(part < dim % count);
        self.split(axis, &(0..count).map(size).collect::<Vec<_>>())
    }

    /// The same storage seen through another layout; `add` makes the gradient of `self` of that of the view, and of what
    /// has arrived so far.
    fn seen(
        self,
        op: &'static str,
        layout: Layout,
        add: impl FnOnce(Tensor, Option<Tensor>) -> Result<Tensor> + Send + 'static,
    ) -> Tensor {
        if layout == *self.layout() {
            return self;
        }
        let tape = Tape::new(op, &[&self]);
        let mut out = self.viewed(layout);
        tape.note(&mut out, move |grad, flow| flow.fold(0, |sum| add(grad, sum)));
        out
    }
}

fn add(sum: Option<Tensor>, grad: Tensor) -> Result<Tensor> {
    sum.map_or_else(|| Ok(grad.clone()), |sum| sum.add(&grad))
}
