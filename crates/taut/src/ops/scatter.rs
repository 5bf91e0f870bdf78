//! Sums of elements and slices at positions that a tensor of indices names.

use super::{
    copy,
    gather::{check, spread},
};
use crate::{
    Tensor, cpu,
    device::{DeviceKind, SpecRef},
    grad::{Kept, Tape},
    tensor::View,
};
use taut_core::{DType, Error, Index, Layout, Result};
use taut_cuda::launch;
use taut_memory::{Kind, Site};

impl Tensor {
    /// `self` with each element of `src` added at its index along `axis`: `self[i][index[i][j]] += src[i][j]` for `axis` 1
    /// of 2. `index`, of i64, and `src` have one shape, whose other axes may be shorter than those of `self`. Numbers;
    /// floats add in f32 or wider, in an order that is the same in every run, and round once; integers wrap.
    ///
    /// Writes over `self` when no one else holds it and it is contiguous. Backward keeps the index: 8 bytes for each of its
    /// elements, and nothing more while someone else holds it.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let index = Tensor::from_slice(&[2i64, 0, 2], [3], &Device::cpu())?;
    /// let src = Tensor::from_slice(&[1.0f32, 2.0, 4.0], [3], &Device::cpu())?;
    /// let sums = Tensor::zeros([3], DType::F32, &Device::cpu())?.scatter_add(0, &index, &src)?;
    /// assert_eq!(sums.to_vec::<f32>()?, [2.0, 0.0, 5.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if the shapes do not fit, if an axis has 2^32 - 1 elements or more, and if an
    /// index is negative or not below the extent of the axis: at once on the CPU, on CUDA by the next call that blocks.
    /// [`DType`](crate::ErrorKind::DType) for bool, if `src` has another dtype, or the index is not i64;
    /// [`Device`](crate::ErrorKind::Device) if the devices differ.
    pub fn scatter_add(self, axis: usize, index: &Tensor, src: &Tensor) -> Result<Tensor> {
        add(Index::ScatterAdd, self, axis, index, *index.layout(), src)
    }

    /// `self` with the slices of `src` added at the indices along `axis`: `[v, n]` by `[m]` and `[m, n]` on axis 0
    /// `-> [v, n]`, the gradient of an embedding. The index is i64 and has one axis; all else as in
    /// [`scatter_add`](Self::scatter_add).
    ///
    /// Backward keeps the index: 8 bytes for each of its elements, and nothing more while someone else holds it.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let words = Tensor::from_slice(&[2i64, 0, 2], [3], &Device::cpu())?;
    /// let grad = Tensor::full([3, 2], 1.0, DType::F32, &Device::cpu())?;
    /// let table = Tensor::zeros([3, 2], DType::F32, &Device::cpu())?.index_add(0, &words, &grad)?;
    /// assert_eq!(table.to_vec::<f32>()?, [1.0, 1.0, 0.0, 0.0, 2.0, 2.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`scatter_add`](Self::scatter_add).
    pub fn index_add(self, axis: usize, index: &Tensor, src: &Tensor) -> Result<Tensor> {
        let op = Index::IndexAdd;
        let layout = spread(op, axis, index, self.layout())?;
        add(op, self, axis, index, layout, src)
    }
}

/// `out` with the elements of `src` added at `index`, seen through `layout`. Where the device is chosen, once for the
/// family.
fn add(
    op: Index,
    mut out: Tensor,
    axis: usize,
    index: &Tensor,
    layout: Layout,
    src: &Tensor,
) -> Result<Tensor> {
    let name = op.name();
    check(op, &out, index)?;
    out.same_device(src, name)?;
    out.same_dtype(src, name)?;
    if out.dtype() == DType::Bool {
        return Err(Error::dtype(format!("{name}: does not take bool")));
    }
    op.along(out.layout(), axis, layout.shape())?;
    if layout.shape() != src.shape() {
        let (wanted, given) = (layout.shape(), src.shape());
        return Err(Error::shape(format!(
            "{name}: the source is {given}, with this index it must be {wanted}"
        )));
    }
    let longest = launch::sort::LONGEST;
    if out.shape()[axis] > longest || layout.shape()[axis] > longest {
        let (to, from) = (out.shape(), layout.shape());
        return Err(Error::shape(format!(
            "{name}: {to} and {from}: more than {longest} elements on axis {axis}"
        )));
    }
    let device = out.device().clone();
    if let DeviceKind::Cpu = device.kind() {
        cpu::gather::check(op, axis, out.layout(), index.view()?)?;
    }
    let tape = Tape::new(name, &[&out, src]);
    let positions = tape.keep(index, tape.wants(1));
    // What is added to, where that is not what is written.
    let (from, mut out) = match (out.is_contiguous(), out.is_reusable()) {
        (true, true) => (None, out),
        (true, false) => {
            let site = Site::new(name, Kind::Activations);
            let new = Tensor::allocate(*out.shape(), out.dtype(), &device, site)?;
            (Some(out.detach()), new)
        }
        (false, _) => (None, out.detach().copy()?),
    };
    match device.spec_ref() {
        SpecRef::Cpu => {
            let bytes = cpu::scatter::workspace_bytes(out.layout(), out.dtype());
            let mut workspace = device.workspace(bytes, name)?;
            if let Some(from) = &from {
                copy::eval(from.view()?, out.view_mut(name)?)?;
            }
            let (index, src, dst) = (index.view()?.through(&layout), src.view()?, out.view_mut(name)?);
            if !device.is_plan() {
                cpu::scatter::scatter_add(op, axis, index, src, dst, &mut workspace)?;
            }
        }
        SpecRef::Cuda(_) => {
            let choice = launch::scatter::choose(&layout, out.dtype(), axis, out.shape()[axis]);
            let workspace = device.workspace(choice.workspace_bytes, name)?;
            let from = from.as_ref().map(Tensor::view).transpose()?;
            let (index, src, dst) = (index.view()?.through(&layout), src.view()?, out.view_mut(name)?);
            if let DeviceKind::Cuda { gpu, .. } = device.kind() {
                let stream = gpu.stream(dst.storage.writer())?;
                let from = from.as_ref().map(View::operand).transpose()?;
                let (index, src, dst) = (index.operand()?, src.operand()?, dst.operand()?);
                let workspace = workspace.address();
                launch::scatter::scatter_add(&stream, op, &choice, index, src, from, dst, workspace)?;
            }
        }
    }
    tape.note(&mut out, move |grad, flow| {
        if let Some(positions) = positions.map(Kept::take).transpose()? {
            flow.give(
                1,
                match op {
                    Index::IndexAdd => grad.clone().index_select(axis, &positions)?,
                    _ => grad.clone().gather(axis, &positions)?,
                },
            )?;
        }
        flow.give(0, grad)
    });
    Ok(out)
}
