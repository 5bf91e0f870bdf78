//! Elements and slices at positions that a tensor of indices names.

use crate::{
    Tensor, cpu,
    device::DeviceKind,
    grad::{Kept, Tape},
};
use taut_core::{DType, Error, Index, Layout, Result, Shape};
use taut_cuda::launch;
use taut_memory::{Kind, Site};

impl Tensor {
    /// The element at each index along `axis`: `out[i][j] = self[i][index[i][j]]` for `axis` 1 of 2. The result has the
    /// shape of `index`, whose other axes may be shorter than those of `self`. Every dtype; the index is i64.
    ///
    /// Backward keeps the index: 8 bytes for each of its elements, and nothing more while someone else holds it.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], [2, 2], &Device::cpu())?;
    /// let index = Tensor::from_slice(&[1i64, 0], [2, 1], &Device::cpu())?;
    /// assert_eq!(x.gather(1, &index)?.to_vec::<f32>()?, [2.0, 3.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if the shapes do not fit, and if an index is negative or not below the extent of
    /// the axis: at once on the CPU, on CUDA by the next call that blocks. [`DType`](crate::ErrorKind::DType) if the index
    /// is not i64; [`Device`](crate::ErrorKind::Device) if the devices differ.
    pub fn gather(self, axis: usize, index: &Tensor) -> Result<Tensor> {
        take(Index::Gather, self, axis, index, *index.layout())
    }

    /// The slices at the indices along `axis`: `[v, n]` by `[m]` on axis 0 `-> [m, n]`, the lookup of an embedding. Every
    /// dtype; the index is i64 and has one axis.
    ///
    /// Backward keeps the index: 8 bytes for each of its elements, and nothing more while someone else holds it.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let table = Tensor::from_slice(&[0.0f32, 0.1, 1.0, 1.1, 2.0, 2.1], [3, 2], &Device::cpu())?;
    /// let words = Tensor::from_slice(&[2i64, 0, 2], [3], &Device::cpu())?;
    /// let rows = table.index_select(0, &words)?;
    /// assert_eq!(rows.to_vec::<f32>()?, [2.0, 2.1, 0.0, 0.1, 2.0, 2.1]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`gather`](Self::gather).
    pub fn index_select(self, axis: usize, index: &Tensor) -> Result<Tensor> {
        let op = Index::IndexSelect;
        let layout = spread(op, axis, index, self.layout())?;
        take(op, self, axis, index, layout)
    }
}

/// The layout of an index of one axis as one of all axes of a tensor, on which it repeats but for `axis`.
pub(super) fn spread(op: Index, axis: usize, index: &Tensor, layout: &Layout) -> Result<Layout> {
    layout.axis(op.name(), axis)?;
    let &[m] = &index.shape()[..] else {
        let (name, shape) = (op.name(), layout.shape());
        return Err(Error::shape(format!(
            "{name}: {shape} by {}: the index must have one axis",
            index.shape()
        )));
    };
    let mut dims = layout.shape().to_vec();
    dims[axis] = m;
    let shape = Shape::new(&dims)?;
    dims.iter_mut().enumerate().filter(|(i, _)| *i != axis).for_each(|(_, dim)| *dim = 1);
    // Axes of extent 1 need no copy.
    let line = index.layout().reshaped(Shape::new(&dims)?)?.unwrap_or(*index.layout());
    line.broadcast_to(shape)
}

/// Refuses an index of another device or dtype.
pub(super) fn check(op: Index, x: &Tensor, index: &Tensor) -> Result<()> {
    x.same_device(index, op.name())?;
    if index.dtype() != DType::I64 {
        return Err(Error::dtype(format!("{}: the index is {}, not i64", op.name(), index.dtype())));
    }
    Ok(())
}

/// The elements of `src` at `index`, seen through `layout`. Where the device is chosen, once for the family.
fn take(op: Index, src: Tensor, axis: usize, index: &Tensor, layout: Layout) -> Result<Tensor> {
    check(op, &src, index)?;
    op.along(src.layout(), axis, layout.shape())?;
    let device = src.device().clone();
    if let DeviceKind::Cpu = device.kind() {
        cpu::gather::check(op, axis, src.layout(), index.view()?)?;
    }
    let site = Site::new(op.name(), Kind::Activations);
    let mut out = Tensor::allocate(*layout.shape(), src.dtype(), &device, site)?;
    let index_of = index;
    let (from, index, dst) = (src.view()?, index.view()?.through(&layout), out.view_mut(op.name())?);
    match device.kind() {
        DeviceKind::Cpu => cpu::gather::gather(op, axis, from, index, dst)?,
        DeviceKind::Cuda { gpu, .. } => {
            let stream = gpu.stream(dst.storage.writer())?;
            launch::gather::gather(&stream, op, axis, from.operand()?, index.operand()?, dst.operand()?)?;
        }
        DeviceKind::Plan(_) => {}
    }
    let tape = Tape::new(op.name(), &[&src]);
    let (positions, shape) = (tape.keep(index_of, true), *src.shape());
    tape.note(&mut out, move |grad, flow| {
        let Some(positions) = positions.map(Kept::take).transpose()? else { return Ok(()) };
        flow.fold(0, |sum| {
            let sum = sum.map_or_else(|| Tensor::zeros(shape, grad.dtype(), grad.device()), Ok)?;
            match op {
                Index::IndexSelect => sum.index_add(axis, &positions, &grad),
                _ => sum.scatter_add(axis, &positions, &grad),
            }
        })
    });
    Ok(out)
}
