//! The same for every tensor of a list, in one launch for each combination of dtypes, however many tensors there are: what a
//! step of training does to all gradients or parameters.
//!
//! Tensors are contiguous, and may be views that begin anywhere. In place means that nobody else holds a storage. All is
//! checked before anything is written; errors name the index of the tensor. None of these functions waits for the device, or
//! takes memory on it but the result and workspace of [`norm`].

use super::number::Number;
use crate::{
    Device, Tensor, cpu,
    device::DeviceKind,
    tensor::{View, ViewMut},
};
use taut_core::{DType, Error, ErrorKind, Multi, Result, Shape};
use taut_cuda::launch::multi as launch;
use taut_memory::{Kind, Site};

/// Every tensor times `factor`, in place. Floats; computed in f32 (f64 for f64) and rounded once.
///
/// ```
/// use taut::{DType, Device, Tensor, multi};
/// let device = Device::cpu();
/// let mut a = Tensor::full([3], 2.0, DType::F32, &device)?;
/// let mut b = Tensor::full([2, 2], -1.0, DType::F16, &device)?;
/// multi::scale_(&mut [&mut a, &mut b], 0.5)?;
/// assert_eq!(a.to_vec::<f32>()?, [1.0; 3]);
///
/// // By what the device has computed, without waiting for it.
/// let factor = a.copy()?.sum(&[])?;
/// multi::scale_(&mut [&mut a], &factor)?;
/// assert_eq!(a.to_vec::<f32>()?, [3.0; 3]);
/// # Ok::<(), taut::Error>(())
/// ```
///
/// # Errors
///
/// [`Shape`](crate::ErrorKind::Shape) if a tensor is not contiguous, or a factor of the device is not one element;
/// [`DType`](crate::ErrorKind::DType) if a tensor is not a float, or that factor not f32;
/// [`Device`](crate::ErrorKind::Device) if they are on several devices; [`Shared`](crate::ErrorKind::Shared) if anyone else
/// holds the storage of a tensor. Nothing is changed then.
pub fn scale_<'a>(tensors: &mut [&mut Tensor], factor: impl Into<Number<'a>>) -> Result<()> {
    let (op, factor) = (Multi::Scale, factor.into());
    let Some(device) = device_of(tensors) else { return Ok(()) };
    for (i, x) in tensors.iter().enumerate() {
        check(op, i, x, x, &device)?;
    }
    factor.check(op.name(), "the factor", &device)?;
    let list = write(op, tensors)?;
    let factor = factor.see()?;
    match device.kind() {
        DeviceKind::Cpu => cpu::multi::scale(list, factor.value()?),
        DeviceKind::Cuda { gpu, .. } => {
            let operands = list.iter().map(ViewMut::operand).collect::<Result<Vec<_>>>()?;
            launch::scale(&*gpu.stream(device.current())?, &operands, factor.number()?)
        }
        DeviceKind::Plan(_) => Ok(()),
    }
}

/// `y += factor x` for every pair of tensors, in place: `y` has the dtype of `x`, or is f32 beside 16-bit floats, or f64.
/// Product and sum are rounded in f32 (f64 for f64), the result once more.
///
/// ```
/// use taut::{DType, Device, Tensor, multi};
/// let device = Device::cpu();
/// let mut sum = Tensor::full([3], 2.0, DType::F32, &device)?;
/// let grad = Tensor::full([3], 1.5, DType::BF16, &device)?;
/// multi::axpy_(&mut [&mut sum], -2.0, &[&grad])?;
/// assert_eq!(sum.to_vec::<f32>()?, [-1.0; 3]);
/// # Ok::<(), taut::Error>(())
/// ```
///
/// # Errors
///
/// As [`scale_`]; [`Shape`](crate::ErrorKind::Shape) if there are not as many `x` as `y` or a pair differs in its shapes,
/// [`DType`](crate::ErrorKind::DType) if it is not of such dtypes. Nothing is changed then.
pub fn axpy_<'a>(y: &mut [&mut Tensor], factor: impl Into<Number<'a>>, x: &[&Tensor]) -> Result<()> {
    let (op, factor) = (Multi::Axpy, factor.into());
    let Some(device) = check_pairs(op, y, x)? else { return Ok(()) };
    factor.check(op.name(), "the factor", &device)?;
    let (list, sources) = (write(op, y)?, read(x)?);
    let factor = factor.see()?;
    match device.kind() {
        DeviceKind::Cpu => cpu::multi::axpy(list, &sources, factor.value()?),
        DeviceKind::Cuda { gpu, .. } => {
            launch::axpy(&*gpu.stream(device.current())?, &operands(&list, &sources)?, factor.number()?)
        }
        DeviceKind::Plan(_) => Ok(()),
    }
}

/// Zeros in every tensor, in place. Any dtype.
///
/// ```
/// use taut::{DType, Device, Tensor, multi};
/// let mut a = Tensor::full([3], 2.0, DType::F32, &Device::cpu())?;
/// let mut b = Tensor::full([2], 7.0, DType::U8, &Device::cpu())?;
/// multi::zero_(&mut [&mut a, &mut b])?;
/// assert_eq!((a.to_vec::<f32>()?, b.to_vec::<u8>()?), (vec![0.0; 3], vec![0; 2]));
/// # Ok::<(), taut::Error>(())
/// ```
///
/// # Errors
///
/// As [`scale_`], but for dtypes. Nothing is changed then.
pub fn zero_(tensors: &mut [&mut Tensor]) -> Result<()> {
    let op = Multi::Zero;
    let Some(device) = device_of(tensors) else { return Ok(()) };
    for (i, x) in tensors.iter().enumerate() {
        check(op, i, x, x, &device)?;
    }
    let list = write(op, tensors)?;
    match device.kind() {
        DeviceKind::Cpu => cpu::multi::zero(list),
        DeviceKind::Cuda { gpu, .. } => {
            let operands = list.iter().map(ViewMut::operand).collect::<Result<Vec<_>>>()?;
            launch::zero(&*gpu.stream(device.current())?, &operands)
        }
        DeviceKind::Plan(_) => Ok(()),
    }
}

/// Overwrites every `y` with the values of its `x`, cast as [`Tensor::cast`] does it. Floats of any dtypes.
///
/// ```
/// use taut::{DType, Device, Tensor, bf16, multi};
/// let device = Device::cpu();
/// let master = Tensor::full([3], 1.0 + 1.0 / 1024.0, DType::F32, &device)?;
/// let mut weight = Tensor::zeros([3], DType::BF16, &device)?;
/// multi::cast_(&mut [&mut weight], &[&master])?;
/// assert_eq!(weight.to_vec::<bf16>()?, [bf16::ONE; 3]);
/// # Ok::<(), taut::Error>(())
/// ```
///
/// # Errors
///
/// As [`axpy_`], but for pairs of floats, which may be any. Nothing is changed then.
pub fn cast_(y: &mut [&mut Tensor], x: &[&Tensor]) -> Result<()> {
    scaled_(y, 1.0, x)
}

/// Overwrites every `y` with `factor x`, in one pass what [`scale_`] and [`cast_`] are in two: the product is rounded in f32
/// (f64 if `x` is f64), the result once more. A factor of 1 keeps all bits where the dtypes are the same.
///
/// ```
/// use taut::{DType, Device, Tensor, bf16, multi};
/// let device = Device::cpu();
/// let sum = Tensor::full([3], 8.0, DType::F32, &device)?;
/// let mut mean = Tensor::zeros([3], DType::BF16, &device)?;
/// multi::scaled_(&mut [&mut mean], 0.25, &[&sum])?;
/// assert_eq!(mean.to_vec::<bf16>()?, [bf16::from_f32(2.0); 3]);
/// # Ok::<(), taut::Error>(())
/// ```
///
/// # Errors
///
/// As [`cast_`], and those of [`scale_`] for the factor. Nothing is changed then.
pub fn scaled_<'a>(y: &mut [&mut Tensor], factor: impl Into<Number<'a>>, x: &[&Tensor]) -> Result<()> {
    let (op, factor) = (Multi::Cast, factor.into());
    let Some(device) = check_pairs(op, y, x)? else { return Ok(()) };
    factor.check(op.name(), "the factor", &device)?;
    let (list, sources) = (write(op, y)?, read(x)?);
    let factor = factor.see()?;
    match device.kind() {
        DeviceKind::Cpu => cpu::multi::cast(list, &sources, factor.value()?),
        DeviceKind::Cuda { gpu, .. } => {
            launch::cast(&*gpu.stream(device.current())?, &operands(&list, &sources)?, factor.number()?)
        }
        DeviceKind::Plan(_) => Ok(()),
    }
}

/// The Euclidean norm of all elements of all tensors together: `[]` of f32, which stays on the device. Floats. NaN and
/// infinities stay, so that it is finite if and only if all elements and the norm itself are: what tells that a step overflowed.
///
/// Right wherever it is representable, as [`Tensor::norm`] is. On the CPU sums are f64, and the norm is rounded once; on CUDA
/// they are f32, in chunks and in a fixed order, and the norm of up to 2^36 elements errs by less than 2^-18 of itself. The
/// same bits in every run. On CUDA it takes a workspace of 12 bytes for each 128 KiB, and for what is left of each tensor.
///
/// ```
/// use taut::{DType, Device, Tensor, multi};
/// let a = Tensor::full([9], 1.0, DType::F32, &Device::cpu())?;
/// let b = Tensor::full([4, 4], 1.0, DType::BF16, &Device::cpu())?;
/// assert_eq!(multi::norm(&[&a, &b])?.item::<f32>()?, 5.0);
/// # Ok::<(), taut::Error>(())
/// ```
///
/// # Errors
///
/// [`Value`](crate::ErrorKind::Value) if there are no tensors, [`Shape`](crate::ErrorKind::Shape) if one is not contiguous,
/// [`DType`](crate::ErrorKind::DType) if one is not a float, [`Device`](crate::ErrorKind::Device) if they are on several
/// devices.
pub fn norm(tensors: &[&Tensor]) -> Result<Tensor> {
    let (op, name) = (Multi::Norm, Multi::Norm.name());
    let Some(device) = tensors.first().map(|x| x.device().clone()) else {
        return Err(Error::new(ErrorKind::Value, format!("{name}: there are no tensors")));
    };
    for (i, x) in tensors.iter().enumerate() {
        check(op, i, x, x, &device)?;
    }
    let mut out = Tensor::allocate(Shape::SCALAR, DType::F32, &device, Site::new(name, Kind::Activations))?;
    let bytes = match device.spec_ref() {
        crate::device::SpecRef::Cpu => 0,
        crate::device::SpecRef::Cuda(_) => {
            launch::norm_workspace_bytes(tensors.iter().map(|x| (x.dtype(), x.numel())))
        }
    };
    let workspace = device.workspace(bytes, name)?;
    let (sources, dst) = (read(tensors)?, out.view_mut(name)?);
    match device.kind() {
        DeviceKind::Cpu => cpu::multi::norm(&sources, dst)?,
        DeviceKind::Cuda { gpu, .. } => {
            let operands = sources.iter().map(View::operand).collect::<Result<Vec<_>>>()?;
            launch::norm(&*gpu.stream(device.current())?, &operands, dst.operand()?, &workspace)?;
        }
        DeviceKind::Plan(_) => {}
    }
    Ok(out)
}

/// Where the tensors are; `None` if there are none.
fn device_of(tensors: &[&mut Tensor]) -> Option<Device> {
    tensors.first().map(|x| x.device().clone())
}

/// Refuses lists that do not pair up.
fn check_pairs(op: Multi, y: &[&mut Tensor], x: &[&Tensor]) -> Result<Option<Device>> {
    let name = op.name();
    if y.len() != x.len() {
        return Err(Error::shape(format!("{name}: {} tensors and {} to read", y.len(), x.len())));
    }
    let Some(device) = device_of(y) else { return Ok(None) };
    for (i, (y, x)) in y.iter().zip(x).enumerate() {
        check(op, i, y, x, &device)?;
        if y.shape() != x.shape() {
            return Err(Error::shape(format!("{name}: tensor {i}: {} and {} differ", y.shape(), x.shape())));
        }
    }
    Ok(Some(device))
}

/// Refuses what an op does not take, of a tensor and what is read beside it, which may be itself.
fn check(op: Multi, i: usize, own: &Tensor, other: &Tensor, device: &Device) -> Result<()> {
    let name = op.name();
    for x in [own, other] {
        if x.device() != device {
            return Err(Error::device(format!(
                "{name}: tensor {i}: it is on {}, the first on {device}",
                x.device()
            )));
        }
        if !x.is_contiguous() {
            return Err(Error::shape(format!("{name}: tensor {i}: {} is not contiguous", x.shape())));
        }
    }
    let (a, b) = (own.dtype(), other.dtype());
    if !op.takes(a, b) {
        let what =
            if a == b { format!("does not take {a}") } else { format!("does not take {b} beside {a}") };
        return Err(Error::dtype(format!("{name}: tensor {i}: {what}")));
    }
    Ok(())
}

/// All tensors for writing.
fn write<'a>(op: Multi, tensors: &'a mut [&mut Tensor]) -> Result<Vec<ViewMut<'a>>> {
    let list = tensors.iter_mut().enumerate();
    list.map(|(i, x)| x.view_mut_of(op.name(), &format!("tensor {i}"))).collect()
}

/// All tensors for reading.
fn read<'a>(tensors: &[&'a Tensor]) -> Result<Vec<View<'a>>> {
    tensors.iter().map(|x| x.view()).collect()
}

/// Pairs as launchers see them.
fn operands<'a>(list: &'a [ViewMut<'_>], sources: &[View<'a>]) -> Result<Vec<[taut_cuda::Operand<'a>; 2]>> {
    list.iter().zip(sources).map(|(dst, src)| Ok([dst.operand()?, src.operand()?])).collect()
}
