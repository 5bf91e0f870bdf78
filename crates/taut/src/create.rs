//! New tensors: from host values, constants, ranges, random numbers, or a block of memory.

use crate::{
    Device, Tensor, cpu,
    device::DeviceKind,
    storage::{Holder, Storage},
    tensor::ViewMut,
};
use taut_core::{DType, Element, Error, ErrorKind, Layout, Random, Result, Shape};
use taut_cuda::launch;
use taut_memory::{Block, Kind, Site, StreamId};

impl Tensor {
    /// A tensor of zeros.
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if the number of elements overflows, [`OutOfMemory`](crate::ErrorKind::OutOfMemory)
    /// if the memory or the budget is exhausted, [`DType`](crate::ErrorKind::DType) for f64 on CUDA.
    pub fn zeros(shape: impl AsRef<[usize]>, dtype: DType, device: &Device) -> Result<Tensor> {
        Tensor::filled("zeros", shape.as_ref(), 0.0, dtype, device)
    }

    /// A tensor with `value` everywhere, converted as [`cast`](Self::cast) converts an f64.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let x = Tensor::full([2, 2], 1.5, DType::F16, &Device::cpu())?;
    /// assert_eq!(x.cast(DType::F32)?.to_vec::<f32>()?, [1.5; 4]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`zeros`](Self::zeros).
    pub fn full(shape: impl AsRef<[usize]>, value: f64, dtype: DType, device: &Device) -> Result<Tensor> {
        Tensor::filled("full", shape.as_ref(), value, dtype, device)
    }

    /// [`full`](Self::full) for the op that asks.
    pub(crate) fn filled(
        op: &'static str,
        shape: &[usize],
        value: f64,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let bits = cpu::fill::bits(value, dtype);
        Tensor::generated(op, Shape::new(shape)?, dtype, device, |dst| fill(bits, dst))
    }

    /// `start, start + step, ..` up to but without `end`: rank 1. Computed in f64, converted once.
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if the length is not a number that can be counted: a step of 0 or away from
    /// `end`, a NaN. [`DType`](crate::ErrorKind::DType) for bool, and for f64 on CUDA.
    pub fn arange(start: f64, end: f64, step: f64, dtype: DType, device: &Device) -> Result<Tensor> {
        let length = ((end - start) / step).ceil();
        // 2^53: beyond it f64 can not count.
        if !(0.0..=9_007_199_254_740_992.0).contains(&length) {
            return Err(Error::shape(format!(
                "arange: no countable steps of {step} lead from {start} to {end}"
            )));
        }
        if dtype == DType::Bool {
            return Err(Error::dtype("arange: bool has no range"));
        }
        let shape = Shape::new(&[length as usize])?;
        Tensor::generated("arange", shape, dtype, device, |dst| match dst.storage.device().kind() {
            DeviceKind::Cpu => cpu::fill::arange(start, step, dst),
            DeviceKind::Cuda { gpu, .. } => {
                launch::fill::arange(&*gpu.stream(dst.storage.writer())?, start, step, dst.operand()?)
            }
            DeviceKind::Plan(_) => Ok(()),
        })
    }

    /// Uniform in `[low, high)`: Philox 4x32-10, 24 random bits an element. The same seed gives the same bits on every
    /// device.
    ///
    /// Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    ///
    /// # Errors
    ///
    /// As [`zeros`](Self::zeros); [`DType`](crate::ErrorKind::DType) for integers and bool.
    pub fn uniform(
        shape: impl AsRef<[usize]>,
        low: f32,
        high: f32,
        seed: u64,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        Tensor::random(shape.as_ref(), Random::Uniform { low, high }, seed, dtype, device)
    }

    /// Normal with this mean and standard deviation: Box-Muller over Philox 4x32-10. The same seed gives the same bits on
    /// every device.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let a = Tensor::normal([3], 0.0, 1.0, 7, DType::F32, &Device::cpu())?;
    /// let b = Tensor::normal([3], 0.0, 1.0, 7, DType::F32, &Device::cpu())?;
    /// assert_eq!(a.to_vec::<f32>()?, b.to_vec::<f32>()?);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`uniform`](Self::uniform).
    pub fn normal(
        shape: impl AsRef<[usize]>,
        mean: f32,
        std: f32,
        seed: u64,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        Tensor::random(shape.as_ref(), Random::Normal { mean, std }, seed, dtype, device)
    }

    /// 1 with probability `prob`, 0 otherwise: Philox 4x32-10, so that the probability is a multiple of 2^-24, rounded up.
    /// Floats, u8 and bool. The same seed gives the same zeros and ones in every dtype, on every device.
    ///
    /// ```
    /// use taut::{DType, Device, Tensor};
    /// let x = Tensor::bernoulli([1000], 0.25, 7, DType::Bool, &Device::cpu())?;
    /// assert!((150..350).contains(&x.sum(&[])?.item::<i64>()?));
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`zeros`](Self::zeros); [`Value`](crate::ErrorKind::Value) if `prob` is not in `[0, 1]`,
    /// [`DType`](crate::ErrorKind::DType) for i64 and u32.
    pub fn bernoulli(
        shape: impl AsRef<[usize]>,
        prob: f32,
        seed: u64,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        Tensor::random(shape.as_ref(), Random::Bernoulli { prob }, seed, dtype, device)
    }

    /// A tensor drawn from `distribution`.
    ///
    /// # Errors
    ///
    /// As [`uniform`](Self::uniform) and [`bernoulli`](Self::bernoulli).
    pub fn random(
        shape: &[usize],
        distribution: Random,
        seed: u64,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let op = distribution.name();
        if !distribution.takes(dtype) {
            return Err(Error::dtype(format!("{op}: {dtype} is not a float")));
        }
        if let Random::Bernoulli { prob } = distribution
            && !(0.0..=1.0).contains(&prob)
        {
            return Err(Error::new(ErrorKind::Value, format!("{op}: {prob} is no probability")));
        }
        Tensor::generated(op, Shape::new(shape)?, dtype, device, |dst| match dst.storage.device().kind() {
            DeviceKind::Cpu => cpu::random::random(distribution, seed, dst),
            DeviceKind::Cuda { gpu, .. } => launch::random::random(
                &*gpu.stream(dst.storage.writer())?,
                distribution,
                seed,
                dst.operand()?,
            ),
            DeviceKind::Plan(_) => Ok(()),
        })
    }

    /// New memory, written by `write`.
    fn generated(
        op: &'static str,
        shape: Shape,
        dtype: DType,
        device: &Device,
        write: impl FnOnce(ViewMut<'_>) -> Result<()>,
    ) -> Result<Tensor> {
        let mut out = Tensor::allocate(shape, dtype, device, Site::new(op, Kind::Activations))?;
        write(out.view_mut(op)?)?;
        Ok(out)
    }

    /// A tensor of the host values in `values`, row-major. On CUDA the copy goes through pinned memory and may still be
    /// under way when this returns.
    ///
    /// ```
    /// use taut::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1.0f32, -2.0, 3.0], [3], &Device::cpu())?;
    /// assert_eq!(x.relu()?.to_vec::<f32>()?, [1.0, 0.0, 3.0]);
    /// # Ok::<(), taut::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Shape`](crate::ErrorKind::Shape) if `shape` has another number of elements than `values`; as
    /// [`zeros`](Self::zeros).
    pub fn from_slice<T: Element>(
        values: &[T],
        shape: impl AsRef<[usize]>,
        device: &Device,
    ) -> Result<Tensor> {
        let shape = Shape::new(shape.as_ref())?;
        if shape.numel() != values.len() {
            let (wanted, given) = (shape.numel(), values.len());
            return Err(Error::shape(format!(
                "from_slice: {shape} has {wanted} elements, the slice has {given}"
            )));
        }
        let site = Site::new("from_slice", Kind::Input);
        let mut out = Tensor::allocate_on(StreamId::UPLOAD, shape, T::DTYPE, device, site)?;
        out.write_bytes(bytemuck::cast_slice(values))?;
        Ok(out)
    }

    /// A tensor over a block of this device's pool, with whatever the block holds.
    ///
    /// # Errors
    ///
    /// [`Device`](crate::ErrorKind::Device) if the block is of another pool, [`Shape`](crate::ErrorKind::Shape) if it
    /// is too small, [`DType`](crate::ErrorKind::DType) for f64 on CUDA and for bool, whose bytes may hold anything.
    pub fn from_block(
        block: Block,
        shape: impl AsRef<[usize]>,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let shape = Shape::new(shape.as_ref())?;
        device.takes(dtype, "from_block")?;
        if dtype == DType::Bool {
            return Err(Error::dtype("from_block: the bytes of a block need not be bools; take u8 and cast"));
        }
        if block.pool() != device.pool() {
            return Err(Error::device(format!("from_block: the block is not of the pool of {device}")));
        }
        let needed = (shape.numel() * dtype.size()) as u64;
        if block.bytes() < needed {
            let has = block.bytes();
            return Err(Error::shape(format!(
                "from_block: {shape} of {dtype} takes {needed} bytes, the block has {has}"
            )));
        }
        let writer = block.users().next().unwrap_or(device.current());
        let storage = Storage::new(device.clone(), block, writer);
        Ok(Tensor::from_parts(Holder::new(storage), Layout::contiguous(shape), dtype))
    }

    /// A tensor of zeros of the shape, dtype and device of `self`.
    ///
    /// # Errors
    ///
    /// As [`zeros`](Self::zeros).
    pub fn zeros_like(&self) -> Result<Tensor> {
        Tensor::zeros(self.shape(), self.dtype(), self.device())
    }
}

/// Every element of `dst` gets the low bits of `bits`.
pub(crate) fn fill(bits: u64, dst: ViewMut<'_>) -> Result<()> {
    match dst.storage.device().kind() {
        DeviceKind::Cpu => cpu::fill::fill(bits, dst),
        DeviceKind::Cuda { gpu, .. } => {
            launch::fill::fill(&*gpu.stream(dst.storage.writer())?, bits, dst.operand()?)
        }
        DeviceKind::Plan(_) => Ok(()),
    }
}
