//! Ops that arrange: they move elements, change none, and fill up with constants.
//!
//! Joining, padding, rolling and repeating are copies into slices of a new tensor.

use super::copy;
use crate::{Tensor, cpu, create, device::DeviceKind, grad::Tape, tensor::View};
use std::borrow::Borrow;
use taut_core::{Error, Layout, MAX_RANK, Result, Shape};
use taut_cuda::launch;
use taut_memory::{Kind, Site};

impl Tensor {
    /// The tensors one after the other along `axis`: `[a, c]` and `[b, c]` at 0 `-> [a + b, c]`. Any dtype, the same for
    /// all; parts may be empty.
    ///
    /// They are taken by reference, all of them: the result is larger than each, so that none could be written over.
    /// Backward keeps nothing: 0 bytes.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let x = Tensor::arange(0.0, 4.0, 1.0, DType::I64, &Device::cpu())?.reshape([2, 2])?;
    /// let y = Tensor::cat(&[&x, &x.clone().slice(1, 0..1)?], 1)?;
    /// assert_eq!(y.to_vec::<i64>()?, [0, 1, 0, 2, 3, 2]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if there is nothing to join, no such axis, or the shapes differ elsewhere;
    /// [`DType`](crate::ErrorKind::DType) and [`Device`](crate::ErrorKind::Device) if dtypes or devices differ.
    pub fn cat(tensors: &[impl Borrow<Tensor>], axis: usize) -> Result<Tensor> {
        let first = check_parts("cat", tensors)?;
        first.layout().axis("cat", axis)?;
        let mut dims = first.shape().to_vec();
        dims[axis] = 0;
        for tensor in tensors.iter().map(Borrow::borrow) {
            let (a, b) = (first.shape(), tensor.shape());
            let fits = a.len() == b.len() && (0..a.len()).all(|i| i == axis || a[i] == b[i]);
            if !fits {
                return Err(Error::shape(format!("cat: {a} and {b} differ beside axis {axis}")));
            }
            dims[axis] = dims[axis].saturating_add(b[axis]);
        }
        let mut out = created("cat", Shape::new(&dims)?, first)?;
        let mut start = 0;
        for tensor in tensors.iter().map(Borrow::borrow) {
            let end = start + tensor.shape()[axis];
            let part = out.layout().sliced(axis, start..end)?;
            put("cat", tensor.view()?, &mut out, &part)?;
            start = end;
        }
        let parts = tensors.iter().map(Borrow::borrow);
        let lengths: Vec<usize> = parts.clone().map(|tensor| tensor.shape()[axis]).collect();
        Tape::of("cat", parts).note(&mut out, move |grad, flow| {
            let mut start = 0;
            lengths.into_iter().enumerate().try_for_each(|(i, length)| {
                start += length;
                flow.give(i, grad.clone().slice(axis, start - length..start)?)
            })
        });
        Ok(out)
    }

    /// The tensors, all of one shape, side by side along a new axis: `n` of `[a, b]` at 1 `-> [a, n, b]`. Otherwise as
    /// [`cat`](Self::cat).
    ///
    /// Backward keeps nothing: 0 bytes.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let [a, b] = [[1i64, 2], [3, 4]].map(|row| Tensor::from_slice(&row, [2], &Device::cpu()));
    /// assert_eq!(Tensor::stack(&[a?, b?], 1)?.to_vec::<i64>()?, [1, 3, 2, 4]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`cat`](Self::cat); [`Shape`](crate::ErrorKind::Shape) if the shapes differ anywhere, or `axis` is above their
    /// rank.
    pub fn stack(tensors: &[impl Borrow<Tensor>], axis: usize) -> Result<Tensor> {
        let first = check_parts("stack", tensors)?;
        let mut dims = first.shape().to_vec();
        if axis > dims.len() || dims.len() == MAX_RANK {
            return Err(Error::shape(format!("stack: {} can have no axis {axis} more", first.shape())));
        }
        for tensor in tensors.iter().map(Borrow::borrow) {
            if tensor.shape() != first.shape() {
                return Err(Error::shape(format!("stack: {} and {} differ", first.shape(), tensor.shape())));
            }
        }
        dims.insert(axis, tensors.len());
        let mut out = created("stack", Shape::new(&dims)?, first)?;
        let last = axis + 1 == dims.len();
        let rest = if last && interleave(tensors, &mut out)? { &[] } else { tensors };
        for (i, tensor) in rest.iter().map(Borrow::borrow).enumerate() {
            let part = out.layout().sliced(axis, i..i + 1)?;
            put("stack", tensor.clone().unsqueeze(axis)?.view()?, &mut out, &part)?;
        }
        let count = tensors.len();
        Tape::of("stack", tensors.iter().map(Borrow::borrow)).note(&mut out, move |grad, flow| {
            (0..count).try_for_each(|i| flow.give(i, grad.clone().slice(axis, i..i + 1)?.squeeze(axis)?))
        });
        Ok(out)
    }

    /// With `value` around it, so many elements before and after on each axis: `[2, 3]` by `[(1, 0), (2, 2)]`
    /// `-> [3, 7]`. Any dtype; `value` is converted as [`full`](Self::full) does it. `self` where nothing is added.
    ///
    /// Backward keeps nothing: 0 bytes.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1i64, 2], [2], &Device::cpu())?;
    /// assert_eq!(x.pad(&[(1, 2)], -1.0)?.to_vec::<i64>()?, [-1, 1, 2, -1, -1]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if `padding` has not a pair for each axis, or the number of elements overflows.
    pub fn pad(self, padding: &[(usize, usize)], value: f64) -> Result<Tensor> {
        if padding.len() != self.rank() {
            let (shape, pairs) = (self.shape(), padding.len());
            return Err(Error::shape(format!("pad: {shape} with {pairs} pairs: it takes one for each axis")));
        }
        if padding.iter().all(|&pair| pair == (0, 0)) {
            return Ok(self);
        }
        let ends = self.shape().iter().zip(padding);
        let dims = ends.map(|(&dim, &(before, after))| dim.saturating_add(before).saturating_add(after));
        let shape = Shape::new(&dims.collect::<Vec<_>>())?;
        let mut out = created("pad", shape, &self)?;
        let bits = cpu::fill::bits(value, self.dtype());
        // Slabs before and after on each axis, between those of the axes before it; what is left is for `self`.
        let mut inside = *out.layout();
        for (axis, &(before, after)) in padding.iter().enumerate() {
            let (end, dim) = (before + self.shape()[axis], shape[axis]);
            for slab in [0..before, dim - after..dim] {
                let slab = inside.sliced(axis, slab)?;
                if slab.numel() > 0 {
                    create::fill(bits, out.view_mut("pad")?.through(&slab))?;
                }
            }
            inside = inside.sliced(axis, before..end)?;
        }
        put("pad", self.view()?, &mut out, &inside)?;
        let (padding, dims) = (padding.to_vec(), *self.shape());
        Tape::new("pad", &[&self]).note(&mut out, move |grad, flow| {
            let mut axes = padding.iter().zip(&dims[..]).enumerate();
            let inside = axes
                .try_fold(grad, |grad, (axis, (&(before, _), &dim))| grad.slice(axis, before..before + dim));
            flow.give(0, inside?)
        });
        Ok(out)
    }

    /// Moved on by `shifts` along `axes`, what leaves at the end coming in at the start: element `i` goes to
    /// `i + shift`, modulo the extent. Shifts may be negative or larger than the extent. `[..] -> [..]`, any dtype; `self`
    /// where nothing moves.
    ///
    /// Backward keeps nothing: 0 bytes.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let x = Tensor::arange(0.0, 5.0, 1.0, DType::I64, &Device::cpu())?;
    /// assert_eq!(x.roll(&[2], &[0])?.to_vec::<i64>()?, [3, 4, 0, 1, 2]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if an axis does not exist or stands twice, or there is not a shift for each.
    pub fn roll(self, shifts: &[i64], axes: &[usize]) -> Result<Tensor> {
        check_axes("roll", self.layout(), axes)?;
        if shifts.len() != axes.len() {
            return Err(Error::shape(format!(
                "roll: {shifts:?} by {axes:?}: it takes one shift for each axis"
            )));
        }
        let mut shift = [0; MAX_RANK];
        for (&axis, &by) in axes.iter().zip(shifts) {
            // An extent is below 2^63, and so is the remainder.
            shift[axis] = by.rem_euclid(self.shape()[axis].max(1) as i64) as usize;
        }
        if shift == [0; MAX_RANK] {
            return Ok(self);
        }
        let mut out = created("roll", *self.shape(), &self)?;
        // Each axis cuts every part in two: what moves on, and what comes in at the start.
        let mut parts = vec![(*self.layout(), *out.layout())];
        for axis in (0..self.rank()).filter(|&axis| shift[axis] > 0) {
            let (dim, by) = (self.shape()[axis], shift[axis]);
            let halves = |(src, dst): (Layout, Layout)| {
                let cut = |from, to| Ok((src.sliced(axis, from)?, dst.sliced(axis, to)?));
                [cut(0..dim - by, by..dim), cut(dim - by..dim, 0..by)]
            };
            parts = parts.into_iter().flat_map(halves).collect::<Result<_>>()?;
        }
        for (src, dst) in &parts {
            put("roll", self.view()?.through(src), &mut out, dst)?;
        }
        let (back, axes) = (shifts.iter().map(|by| by.wrapping_neg()).collect::<Vec<_>>(), axes.to_vec());
        Tape::new("roll", &[&self]).note(&mut out, move |grad, flow| flow.give(0, grad.roll(&back, &axes)?));
        Ok(out)
    }

    /// With the order turned round on `axes`. `[..] -> [..]`, any dtype; `self` where no axis is named.
    ///
    /// Backward keeps nothing: 0 bytes.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let x = Tensor::arange(0.0, 6.0, 1.0, DType::I64, &Device::cpu())?.reshape([2, 3])?;
    /// assert_eq!(x.flip(&[1])?.to_vec::<i64>()?, [2, 1, 0, 5, 4, 3]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if an axis does not exist or stands twice.
    pub fn flip(self, axes: &[usize]) -> Result<Tensor> {
        check_axes("flip", self.layout(), axes)?;
        if axes.is_empty() {
            return Ok(self);
        }
        let mut out = created("flip", *self.shape(), &self)?;
        let (src, dst) = (self.view()?, out.view_mut("flip")?);
        match dst.storage.device().kind() {
            DeviceKind::Cpu => cpu::arrange::flip(axes, src, dst)?,
            DeviceKind::Cuda { gpu, .. } => {
                let stream = gpu.stream(dst.storage.writer())?;
                launch::arrange::flip(&stream, axes, src.operand()?, dst.operand()?)?;
            }
            DeviceKind::Plan(_) => (),
        }
        let axes = axes.to_vec();
        Tape::new("flip", &[&self]).note(&mut out, move |grad, flow| flow.give(0, grad.flip(&axes)?));
        Ok(out)
    }

    /// So many times after itself along each axis: `[2, 3]` by `[4, 1, 2]` `-> [4, 2, 6]`; more counts than axes make new
    /// leading ones. Any dtype; `self` where nothing is repeated. Where a [broadcast](Self::broadcast_to) view will do, it
    /// takes no memory.
    ///
    /// Backward keeps nothing: 0 bytes.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1i64, 2], [2], &Device::cpu())?;
    /// assert_eq!(x.repeat(&[3])?.to_vec::<i64>()?, [1, 2, 1, 2, 1, 2]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if there are fewer counts than axes, or the number of elements overflows.
    pub fn repeat(self, counts: &[usize]) -> Result<Tensor> {
        let shape = *self.shape();
        let Some(lead) = counts.len().checked_sub(shape.rank()) else {
            return Err(Error::shape(format!(
                "repeat: {shape} by {counts:?}: it takes a count for each axis"
            )));
        };
        let old = [&vec![1; lead][..], &shape].concat();
        let dims: Vec<_> = old.iter().zip(counts).map(|(&dim, &count)| dim.saturating_mul(count)).collect();
        // A repeated axis is cut in two: the copies, and what is copied.
        let (mut cut, mut wide) = (Vec::new(), Vec::new());
        for (&dim, &count) in old.iter().zip(counts) {
            if dim > 1 && count != 1 {
                cut.push(1);
                wide.push(count);
            }
            cut.push(dim);
            wide.push(if dim == 1 { count } else { dim });
        }
        if cut.len() > MAX_RANK {
            return Err(Error::shape(format!(
                "repeat: {shape} by {counts:?}: axes and repeated axes are more than {MAX_RANK}"
            )));
        }
        let dims = Shape::new(&dims)?;
        if counts.iter().all(|&count| count == 1) {
            return self.reshape(dims);
        }
        let src = self.reshape(cut)?.broadcast_to(&wide)?;
        let mut out = created("repeat", dims, &src)?;
        put("repeat", src.view()?, &mut out, &Layout::contiguous(*src.shape()))?;
        let wide = *src.shape();
        Tape::new("repeat", &[&src]).note(&mut out, move |grad, flow| flow.give(0, grad.reshape(wide)?));
        Ok(out)
    }
}

/// New memory for what `op` makes of `like`.
fn created(op: &'static str, shape: Shape, like: &Tensor) -> Result<Tensor> {
    Tensor::allocate(shape, like.dtype(), like.device(), Site::new(op, Kind::Activations))
}

/// Stacks tensors along the last axis of `out` at once, where that is faster than one by one. Returns whether it did.
fn interleave(tensors: &[impl Borrow<Tensor>], out: &mut Tensor) -> Result<bool> {
    let device = out.device().clone();
    let DeviceKind::Cuda { gpu, .. } = device.kind() else { return Ok(false) };
    let views = tensors.iter().map(|tensor| tensor.borrow().view()).collect::<Result<Vec<_>>>()?;
    let dst = out.view_mut("stack")?;
    let stream = gpu.stream(dst.storage.writer())?;
    let srcs = views.iter().map(View::operand).collect::<Result<Vec<_>>>()?;
    launch::copy::stack(&stream, &srcs, dst.operand()?)
}

/// Copies `src` into the part of a new tensor that `layout` names.
fn put(op: &str, src: View<'_>, out: &mut Tensor, layout: &Layout) -> Result<()> {
    if layout.numel() == 0 {
        return Ok(());
    }
    copy::eval(src, out.view_mut(op)?.through(layout))
}

/// The first of the tensors, if there is one, and all are of its dtype and device.
fn check_parts<'a>(op: &str, tensors: &'a [impl Borrow<Tensor>]) -> Result<&'a Tensor> {
    let mut all = tensors.iter().map(Borrow::borrow);
    let first: &Tensor = all.next().ok_or_else(|| Error::shape(format!("{op}: of no tensors")))?;
    all.try_for_each(|tensor| {
        first.same_device(tensor, op)?;
        first.same_dtype(tensor, op)
    })?;
    Ok(first)
}

/// That the axes exist, and none stands twice.
fn check_axes(op: &str, layout: &Layout, axes: &[usize]) -> Result<()> {
    for (i, &axis) in axes.iter().enumerate() {
        layout.axis(op, axis)?;
        if axes[..i].contains(&axis) {
            return Err(Error::shape(format!("{op}: axis {axis} stands twice in {axes:?}")));
        }
    }
    Ok(())
}
