//! Steps of optimizers over all parameters of a model, in place, in one launch for each combination of dtypes.
//!
//! A [`Step`] names a parameter, its gradient and the states that the optimizer keeps of it; [`Control`] what changes from step
//! to step, which may stand on the device, so that nothing waits for it: a norm that is not finite, or a flag, makes the
//! whole step a no-op there. States begin as zeros.
//!
//! Beside 16-bit parameters a master can be kept, which takes up what they are too coarse for: what makes each the f32 that it
//! is rounded from, 16 bits, as `u8`, two for each element, which begin as zeros. A parameter takes 4 bytes in all.
//!
//! - Beside bf16 `l`, the lower half of the f32. The parameter is the f32 rounded to the nearest, halves away from 0. As bits,
//!   with `h` of the parameter, the f32 is `(h - (l >> 15)) << 16 | l`, exactly.
//! - Beside f16 `r`, a signed number of units of 2^-15 of the parameter's ulp: the f32 is `w + r 2^(e - 40)`, with `e` the
//!   exponent of the parameter `w` as its bits say it, but at least 1. That is exact for all that f16 holds from 2^-15 on, and
//!   to the nearest multiple of 2^-39 below. The parameter is the f32 rounded to the nearest, ties to even; what is infinite
//!   in f16 stays so.
//!
//! Moments are f32, or take a quarter of that: codes of 8 bits with one f32 for each [`CODE_BLOCK`] of them, the largest
//! magnitude there (Dettmers, Lewis, Shleifer and Zettlemoyer, "8-bit optimizers via block-wise quantization", 2021). They are
//! decoded, updated and coded again in one pass; a step uses them before they are. A code is the nearest level, at most half
//! a level off; but a second moment that is not 0 never becomes 0. Where an element is not finite, its block becomes NaN; a block
//! without a magnitude of 2^-126 becomes 0.
//!
//! Computed in f32 (f64 for f64, whose moments are f64 too).

use super::number::{Number, Seen};
pub use crate::step::{Control, Moment, Step};
use crate::{
    Device, Tensor, cpu,
    device::DeviceKind,
    tensor::{View, ViewMut},
};
pub use taut_core::{AdamW, CODE_BLOCK, Lion, Rule, Sgd, level, signed_level};
use taut_core::{DType, Error, Result};
use taut_cuda::launch::optimizer as launch;

/// A step of stochastic gradient descent: [`Sgd`]. With momentum it keeps the first moment.
///
/// ```
/// use taut::{DType, Device, Tensor, optim::{Control, Sgd, Step, sgd_}};
/// let device = Device::cpu();
/// let mut weight = Tensor::full([3], 1.0, DType::F32, &device)?;
/// let grad = Tensor::full([3], 0.5, DType::F32, &device)?;
/// sgd_(&mut [Step::new(&mut weight, &grad)], &Sgd::default(), &Control::new(0.5, 1.0))?;
/// assert_eq!(weight.to_vec::<f32>()?, [0.75; 3]);
/// # Ok::<(), taut::Error>(())
/// ```
///
/// # Errors
///
/// [`Shape`](crate::ErrorKind::Shape) if a tensor is not contiguous or has not as many elements as it must;
/// [`DType`](crate::ErrorKind::DType) if it is not of a dtype that [`Step`] names; [`Value`](crate::ErrorKind::Value) if a
/// moment is missing or not kept by the optimizer; [`Device`](crate::ErrorKind::Device) if tensors are on several devices;
/// [`Shared`](crate::ErrorKind::Shared) if anyone else holds the storage of one that is changed. Messages name the index of the
/// parameter, and nothing is changed then.
pub fn sgd_(steps: &mut [Step<'_>], sgd: &Sgd, control: &Control<'_>) -> Result<()> {
    step_(Rule::Sgd(*sgd), steps, control)
}

/// A step of AdamW: [`AdamW`]. It keeps both moments.
///
/// Errs by some ulps of f32 of what is added up: roots and quotients are rounded to within an ulp.
///
/// ```
/// use taut::{DType, Device, Tensor, optim::{AdamW, CODE_BLOCK, Control, Moment, Step, adamw_}};
/// let device = Device::cpu();
/// let mut weight = Tensor::full([1000], 1.0, DType::BF16, &device)?;
/// let grad = Tensor::full([1000], 0.25, DType::BF16, &device)?;
/// // 2 bytes of weight, 2 of what it is rounded from, 2 of moments.
/// let mut low = Tensor::zeros([2000], DType::U8, &device)?;
/// let codes = || Tensor::zeros([1000], DType::U8, &device);
/// let largest = || Tensor::zeros([1000usize.div_ceil(CODE_BLOCK)], DType::F32, &device);
/// let (mut m, mut m_largest, mut v, mut v_largest) = (codes()?, largest()?, codes()?, largest()?);
/// for step in 1..=10 {
///     let step_of = Step::new(&mut weight, &grad)
///         .with_master(&mut low)
///         .with_first(Moment::Codes { codes: &mut m, largest: &mut m_largest })
///         .with_second(Moment::Codes { codes: &mut v, largest: &mut v_largest });
///     adamw_(&mut [step_of], &AdamW::default(), &Control::new(1e-3, step as f32))?;
/// }
/// // Ten steps of about 0.001, each too small for bf16.
/// let weights = weight.cast(DType::F32)?.to_vec::<f32>()?;
/// assert!(weights.iter().all(|&w| (w - 0.99).abs() < 0.004));
/// # Ok::<(), taut::Error>(())
/// ```
///
/// # Errors
///
/// As [`sgd_`].
pub fn adamw_(steps: &mut [Step<'_>], adamw: &AdamW, control: &Control<'_>) -> Result<()> {
    step_(Rule::AdamW(*adamw), steps, control)
}

/// A step of Lion: [`Lion`]. It keeps the first moment.
///
/// ```
/// use taut::{DType, Device, Tensor, optim::{Control, Lion, Moment, Step, lion_}};
/// let device = Device::cpu();
/// let mut weight = Tensor::full([3], 1.0, DType::F32, &device)?;
/// let grad = Tensor::full([3], -7.0, DType::F32, &device)?;
/// let mut moment = Tensor::zeros([3], DType::F32, &device)?;
/// let step = Step::new(&mut weight, &grad).with_first(Moment::Full(&mut moment));
/// lion_(&mut [step], &Lion::default(), &Control::new(0.25, 1.0))?;
/// assert_eq!(weight.to_vec::<f32>()?, [1.25; 3]);
/// # Ok::<(), taut::Error>(())
/// ```
///
/// # Errors
///
/// As [`sgd_`].
pub fn lion_(steps: &mut [Step<'_>], lion: &Lion, control: &Control<'_>) -> Result<()> {
    step_(Rule::Lion(*lion), steps, control)
}

/// Adds 1 to `count`, one f32, in place, unless a step with this `norm` and `skip` is a no-op: so [`Control::step`] counts the
/// steps that were done. To be called before the step.
///
/// ```
/// use taut::{DType, Device, Tensor, optim::advance_};
/// let number = |value| Tensor::full([0usize; 0], value, DType::F32, &Device::cpu());
/// let mut count = number(0.0)?;
/// advance_(&mut count, Some(&number(3.5)?), None)?;
/// advance_(&mut count, Some(&number(f64::INFINITY)?), None)?;
/// assert_eq!(count.item::<f32>()?, 1.0);
/// # Ok::<(), taut::Error>(())
/// ```
///
/// # Errors
///
/// [`Shape`](crate::ErrorKind::Shape), [`DType`](crate::ErrorKind::DType) and [`Device`](crate::ErrorKind::Device) if they are not
/// one f32 each on one device, [`Shared`](crate::ErrorKind::Shared) if anyone else holds the storage of `count`.
pub fn advance_(count: &mut Tensor, norm: Option<&Tensor>, skip: Option<&Tensor>) -> Result<()> {
    const OP: &str = "advance_";
    let device = count.device().clone();
    Number::Device(count).check(OP, "the count", &device)?;
    let [norm, skip] = [norm, skip].map(or_zero);
    norm.check(OP, "the norm", &device)?;
    skip.check(OP, "the flag", &device)?;
    let mut count = count.view_mut(OP)?;
    let (norm, skip) = (norm.see()?, skip.see()?);
    match device.kind() {
        DeviceKind::Cpu => {
            if !skips(norm.value()?, skip.value()?) {
                count.flat::<f32>()?[0] += 1.0;
            }
            Ok(())
        }
        DeviceKind::Cuda { gpu, .. } => {
            let stream = gpu.stream(device.current())?;
            launch::advance(&stream, count.operand()?, norm.number()?, skip.number()?)
        }
        DeviceKind::Plan(_) => Ok(()),
    }
}

/// What is not there says that nothing is wrong.
fn or_zero(number: Option<&Tensor>) -> Number<'_> {
    number.map_or(Number::Host(0.0), Number::Device)
}

fn skips(norm: f32, skip: f32) -> bool {
    skip != 0.0 || !norm.is_finite()
}

/// A step of any optimizer.
///
/// # Errors
///
/// As [`sgd_`].
pub fn step_(rule: Rule, steps: &mut [Step<'_>], control: &Control<'_>) -> Result<()> {
    let name = rule.name();
    let Some(device) = steps.first().map(|step| step.param.device().clone()) else { return Ok(()) };
    for (i, step) in steps.iter().enumerate() {
        check(rule, i, step, &device)?;
    }
    let [norm, skip] = [control.norm, control.skip].map(or_zero);
    let numbers = [control.lr, control.step, control.grad_scale, norm, skip];
    let called = ["the learning rate", "the number of the step", "the scale", "the norm", "the flag"];
    numbers.iter().zip(called).try_for_each(|(number, what)| number.check(name, what, &device))?;
    let views = steps.iter_mut().enumerate().map(|(i, step)| views(name, i, step));
    let views = views.collect::<Result<Vec<_>>>()?;
    let seen = numbers.iter().map(|number| number.see()).collect::<Result<Vec<_>>>()?;
    let [lr, step, scale, norm, skip] = <[Seen<'_>; 5]>::try_from(seen)
        .map_err(|_| Error::device(format!("{name}: not as many numbers as there are")))?;
    match device.kind() {
        DeviceKind::Cpu => {
            if skips(norm.value()?, skip.value()?) {
                return Ok(());
            }
            let (scale, norm) = (scale.value()?, norm.value()?);
            let size = norm * scale.abs();
            let scale = if size > control.max_norm { scale * (control.max_norm / size) } else { scale };
            let now = cpu::optimizer::Now { lr: lr.value()?, step: step.value()?, scale };
            cpu::optimizer::step(rule, views, now)
        }
        DeviceKind::Cuda { gpu, .. } => {
            let control = launch::Control {
                lr: lr.number()?,
                step: step.number()?,
                grad_scale: scale.number()?,
                norm: norm.number()?,
                skip: skip.number()?,
                max_norm: control.max_norm,
            };
            let items = views.iter().map(item).collect::<Result<Vec<_>>>()?;
            launch::step(&*gpu.stream(device.current())?, rule, &items, &control)
        }
        DeviceKind::Plan(_) => Ok(()),
    }
}

/// Refuses what does not fit together.
fn check(rule: Rule, i: usize, step: &Step<'_>, device: &Device) -> Result<()> {
    let (name, param) = (rule.name(), &*step.param);
    let numel = param.numel();
    if !param.dtype().is_float() {
        return Err(Error::dtype(format!("{name}: parameter {i}: does not take {}", param.dtype())));
    }
    let fits = |what: &str, x: &Tensor, wanted: usize, dtypes: &[DType]| {
        if x.device() != device {
            let on = x.device();
            return Err(Error::device(format!("{name}: {what} {i}: it is on {on}, the first on {device}")));
        }
        if !x.is_contiguous() {
            return Err(Error::shape(format!("{name}: {what} {i}: {} is not contiguous", x.shape())));
        }
        if x.numel() != wanted {
            let (has, of) = (x.shape(), param.shape());
            return Err(Error::shape(format!(
                "{name}: {what} {i}: {has} for {of}, it must have {wanted} elements"
            )));
        }
        if !dtypes.contains(&x.dtype()) {
            let (has, dtypes) = (x.dtype(), dtypes.iter().map(|d| d.name()).collect::<Vec<_>>().join(" or "));
            return Err(Error::dtype(format!(
                "{name}: {what} {i}: {has} beside {}, it must be {dtypes}",
                param.dtype()
            )));
        }
        Ok(())
    };
    fits("parameter", param, numel, &DType::FLOATS)?;
    fits("gradient", step.grad, numel, &[param.dtype(), DType::F32])?;
    match (param.dtype(), step.master.as_deref()) {
        (_, None) => {}
        (DType::F16 | DType::BF16, Some(master)) => {
            fits("master", master, 2 * numel, &[DType::U8])?;
            if master.layout().offset() % 2 == 1 {
                return Err(Error::shape(format!("{name}: master {i}: it begins at an odd byte")));
            }
        }
        (dtype, Some(_)) => {
            return Err(Error::dtype(format!("{name}: master {i}: {dtype} has none")));
        }
    }
    let moments = [&step.first, &step.second];
    for (moment, (kept, what)) in moments.into_iter().zip([(0, "first moment"), (1, "second moment")]) {
        let is_kept = kept < rule.moments();
        match moment {
            None if !is_kept => {}
            None => return Err(value(format!("{name}: {what} {i}: there is none"))),
            Some(_) if !is_kept => return Err(value(format!("{name}: {what} {i}: it keeps none"))),
            Some(Moment::Full(full)) => {
                let dtype = if param.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
                fits(what, full, numel, &[dtype])?;
            }
            Some(Moment::Codes { .. }) if param.dtype() == DType::F64 => {
                return Err(Error::dtype(format!("{name}: {what} {i}: f64 takes no codes")));
            }
            Some(Moment::Codes { codes, largest }) => {
                fits(what, codes, numel, &[DType::U8])?;
                fits(what, largest, numel.div_ceil(CODE_BLOCK), &[DType::F32])?;
            }
        }
    }
    let in_codes = moments.map(|moment| matches!(moment, Some(Moment::Codes { .. })));
    if rule.moments() == 2 && in_codes[0] != in_codes[1] {
        return Err(value(format!("{name}: parameter {i}: one moment is in codes, the other is not")));
    }
    Ok(())
}

fn value(message: String) -> Error {
    Error::new(taut_core::ErrorKind::Value, message)
}

/// The tensors of a step, for writing and reading.
fn views<'a>(name: &str, i: usize, step: &'a mut Step<'_>) -> Result<cpu::optimizer::Item<'a>> {
    let write = |x: &'a mut Tensor, what: &str| x.view_mut_of(name, &format!("{what} {i}"));
    let moment = |moment: &'a mut Moment<'_>, what: &str| -> Result<cpu::optimizer::Moment<'a>> {
        Ok(match moment {
            Moment::Full(full) => cpu::optimizer::Moment::Full(write(full, what)?),
            Moment::Codes { codes, largest } => {
                cpu::optimizer::Moment::Codes(write(codes, what)?, write(largest, what)?)
            }
        })
    };
    let (first, second) = (&mut step.first, &mut step.second);
    let first = first.as_mut().map(|x| moment(x, "first moment")).transpose()?;
    let second = second.as_mut().map(|x| moment(x, "second moment")).transpose()?;
    let master = step.master.as_deref_mut().map(|x| write(x, "master")).transpose()?;
    Ok(cpu::optimizer::Item {
        param: write(step.param, "parameter")?,
        master,
        grad: step.grad.view()?,
        first,
        second,
    })
}

/// What a launcher sees of it.
fn item<'a>(views: &'a cpu::optimizer::Item<'_>) -> Result<launch::Item<'a>> {
    let operand = |x: &'a ViewMut<'_>| x.operand();
    let moment = |moment: &'a cpu::optimizer::Moment<'_>| -> Result<launch::Moment<'a>> {
        Ok(match moment {
            cpu::optimizer::Moment::Full(full) => launch::Moment::Full(operand(full)?),
            cpu::optimizer::Moment::Codes(codes, largest) => {
                launch::Moment::Codes(operand(codes)?, operand(largest)?)
            }
        })
    };
    let moments = views.first.iter().chain(&views.second).map(moment);
    let grad: &View<'_> = &views.grad;
    Ok(launch::Item {
        param: operand(&views.param)?,
        master: views.master.as_ref().map(operand).transpose()?,
        grad: grad.operand()?,
        moments: moments.collect::<Result<_>>()?,
    })
}
