//! Sorts along an axis, and what is made of them.

use crate::{
    Device, Tensor,
    cpu::{self, sort::Order},
    device::{DeviceKind, SpecRef},
    grad::{Kept, Tape},
};
use taut_core::{DType, Error, Layout, Result, Shape};
use taut_cuda::launch::{self, sort::LONGEST};
use taut_memory::{Kind, Site};

impl Tensor {
    /// The elements along `axis` in order, and the positions where they were, i64: both of the shape of `self`. Stable;
    /// every dtype; NaN is the largest, and 0 and -0 are equal.
    ///
    /// Backward keeps the positions: 8 bytes an element, and nothing more while someone else holds them.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[2.0f32, f32::NAN, -1.0, 2.0], [4], &Device::cpu())?;
    /// let (values, positions) = x.sort(0, true)?;
    /// assert_eq!(positions.to_vec::<i64>()?, [1, 0, 3, 2]);
    /// assert_eq!(values.to_vec::<f32>()?[1..], [2.0, 2.0, -1.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if the axis does not exist, or has 2^32 - 1 elements or more.
    pub fn sort(self, axis: usize, descending: bool) -> Result<(Tensor, Tensor)> {
        let k = extent("sort", self.shape(), axis)?;
        values_and_positions("sort", &self, Order { axis, k, descending })
    }

    /// The positions of the elements along `axis` in order, i64: the second result of [`sort`](Self::sort).
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[30i64, 10, 20], [3], &Device::cpu())?;
    /// assert_eq!(x.argsort(0, false)?.to_vec::<i64>()?, [1, 2, 0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`sort`](Self::sort).
    pub fn argsort(self, axis: usize, descending: bool) -> Result<Tensor> {
        let k = extent("argsort", self.shape(), axis)?;
        let mut positions = blank("argsort", &self, axis, k, DType::I64)?;
        order("argsort", &self, None, Some(&mut positions), Order { axis, k, descending })?;
        Ok(positions)
    }

    /// The elements along `axis` in the order of `keys`, a tensor of the same shape and any dtype. Stable; keys compare as
    /// in [`sort`](Self::sort).
    ///
    /// Backward keeps the positions: 8 bytes an element.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let words = Tensor::from_slice(b"cab", [3], &Device::cpu())?;
    /// let keys = Tensor::from_slice(&[0.3f32, 0.1, 0.2], [3], &Device::cpu())?;
    /// assert_eq!(words.sort_by_key(&keys, 0, false)?.to_vec::<u8>()?, *b"abc");
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`sort`](Self::sort); [`Shape`](crate::ErrorKind::Shape) if the shapes differ,
    /// [`Device`](crate::ErrorKind::Device) if the devices differ.
    pub fn sort_by_key(self, keys: &Tensor, axis: usize, descending: bool) -> Result<Tensor> {
        let name = "sort_by_key";
        let k = extent(name, self.shape(), axis)?;
        self.same_device(keys, name)?;
        if self.shape() != keys.shape() {
            return Err(Error::shape(format!("{name}: {} and keys {} differ", self.shape(), keys.shape())));
        }
        let tape = Tape::new(name, &[&self]);
        let mut values = blank(name, &self, axis, k, self.dtype())?;
        let positions = tape.is_on().then(|| blank(name, &self, axis, k, DType::I64));
        let mut positions = positions.transpose()?;
        let by = Order { axis, k, descending };
        order(name, keys, Some((&self, &mut values)), positions.as_mut(), by)?;
        note(tape, positions.as_ref(), axis, *self.shape(), &mut values);
        Ok(values)
    }

    /// The `k` largest elements along `axis`, largest first, or the `k` smallest, smallest first, and the positions where
    /// they were, i64: `[.., n, ..] -> [.., k, ..]`. Of equals the first ones; every dtype; NaN is the largest.
    ///
    /// Backward keeps the positions: 8 bytes an element of the result, and nothing more while someone else holds them.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[3.0f32, 9.0, 7.0, 9.0], [4], &Device::cpu())?;
    /// let (values, positions) = x.topk(3, 0, true)?;
    /// assert_eq!(values.to_vec::<f32>()?, [9.0, 9.0, 7.0]);
    /// assert_eq!(positions.to_vec::<i64>()?, [1, 3, 2]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`sort`](Self::sort); [`Shape`](crate::ErrorKind::Shape) if the axis has fewer than `k` elements.
    pub fn topk(self, k: usize, axis: usize, largest: bool) -> Result<(Tensor, Tensor)> {
        let n = extent("topk", self.shape(), axis)?;
        if k > n {
            return Err(Error::shape(format!("topk: axis {axis} of {} has no {k} elements", self.shape())));
        }
        values_and_positions("topk", &self, Order { axis, k, descending: largest })
    }

    /// The numbers from 0 to `n - 1` in an order that depends on the seed alone, i64 `[n]`: the positions, in order, of `n`
    /// words of Philox 4x32-10. The same seed gives the same bits on every device.
    ///
    /// Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let order = Tensor::permutation(1000, 7, &Device::cpu())?.sort(0, false)?.0;
    /// assert!(order.to_vec::<i64>()?.into_iter().eq(0..1000));
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if `n` is 2^32 - 1 or more; [`OutOfMemory`](crate::ErrorKind::OutOfMemory) if the
    /// memory or the budget is exhausted.
    pub fn permutation(n: usize, seed: u64, device: &Device) -> Result<Tensor> {
        let name = "permutation";
        let shape = Shape::new(&[n])?;
        extent(name, &shape, 0)?;
        let site = |kind| Site::new(name, kind);
        let mut words = Tensor::allocate(shape, DType::U32, device, site(Kind::Workspace))?;
        let mut positions = Tensor::allocate(shape, DType::I64, device, site(Kind::Activations))?;
        let dst = words.view_mut(name)?;
        match device.kind() {
            DeviceKind::Cpu => cpu::random::words(seed, dst)?,
            DeviceKind::Cuda { gpu, .. } => {
                launch::random::words(&*gpu.stream(dst.storage.writer())?, seed, dst.operand()?)?;
            }
            DeviceKind::Plan(_) => {}
        }
        order(name, &words, None, Some(&mut positions), Order { axis: 0, k: n, descending: false })?;
        Ok(positions)
    }
}

/// The number of elements on an axis, if they can be sorted.
fn extent(name: &str, shape: &Shape, axis: usize) -> Result<usize> {
    let n = Layout::contiguous(*shape).axis(name, axis)?;
    if n > LONGEST {
        return Err(Error::shape(format!("{name}: axis {axis} of {shape} has more than {LONGEST} elements")));
    }
    Ok(n)
}

/// New memory for what a sort of `x` gives: `k` elements on the axis.
fn blank(name: &'static str, x: &Tensor, axis: usize, k: usize, dtype: DType) -> Result<Tensor> {
    let mut dims = x.shape().to_vec();
    dims[axis] = k;
    Tensor::allocate(Shape::new(&dims)?, dtype, x.device(), Site::new(name, Kind::Activations))
}

fn values_and_positions(name: &'static str, x: &Tensor, by: Order) -> Result<(Tensor, Tensor)> {
    let mut values = blank(name, x, by.axis, by.k, x.dtype())?;
    let mut positions = blank(name, x, by.axis, by.k, DType::I64)?;
    order(name, x, Some((x, &mut values)), Some(&mut positions), by)?;
    note(Tape::new(name, &[x]), Some(&positions), by.axis, *x.shape(), &mut values);
    Ok((values, positions))
}

/// Notes `values` as what stood at `positions` of a tensor of `shape`.
fn note(tape: Tape, positions: Option<&Tensor>, axis: usize, shape: Shape, values: &mut Tensor) {
    let positions = positions.and_then(|positions| tape.keep(positions, true));
    tape.note(values, move |grad, flow| {
        let Some(positions) = positions.map(Kept::take).transpose()? else { return Ok(()) };
        let zeros = Tensor::zeros(shape, grad.dtype(), grad.device())?;
        flow.give(0, zeros.scatter_add(axis, &positions, &grad)?)
    });
}

/// Sorts `keys`; `values`, from where and to where, move along. Where the device is chosen, once for the family.
fn order(
    name: &'static str,
    keys: &Tensor,
    mut values: Option<(&Tensor, &mut Tensor)>,
    mut positions: Option<&mut Tensor>,
    by: Order,
) -> Result<()> {
    let device = keys.device().clone();
    let bytes = match device.spec_ref() {
        SpecRef::Cpu => cpu::sort::workspace_bytes(keys.layout(), keys.dtype(), by, positions.is_some()),
        SpecRef::Cuda(_) => launch::sort::choose(keys.layout(), keys.dtype(), by.axis, by.k).workspace_bytes,
    };
    let mut workspace = device.workspace(bytes, name)?;
    let values = values.as_mut().map(|(src, dst)| Ok((src.view()?, dst.view_mut(name)?))).transpose()?;
    let positions = positions.as_mut().map(|positions| positions.view_mut(name)).transpose()?;
    let keys = keys.view()?;
    match device.kind() {
        DeviceKind::Cpu => cpu::sort::sort(by, keys, values, positions, &mut workspace),
        DeviceKind::Cuda { gpu, .. } => {
            let choice = launch::sort::choose(keys.layout, keys.dtype, by.axis, by.k);
            let outputs = launch::sort::Outputs {
                values: values.as_ref().map(|(src, dst)| Ok((src.operand()?, dst.operand()?))).transpose()?,
                indices: positions.as_ref().map(|positions| positions.operand()).transpose()?,
                descending: by.descending,
            };
            let stream = gpu.stream(device.current())?;
            launch::sort::sort(&stream, &choice, keys.operand()?, outputs, workspace.address())
        }
        DeviceKind::Plan(_) => Ok(()),
    }
}
