//! The group `multi`: what a step of training does to all tensors of a model at once, beside the speed of a device copy in the
//! same run.

use crate::{Bench, figures::Figure, page::Section, throughput, timer::Timer};
use taut::{
    DType, Device, Result, Tensor, multi,
    optim::{AdamW, CODE_BLOCK, Control, Lion, Moment, Sgd, Step, adamw_, lion_, sgd_},
};

/// The name of the group.
pub const GROUP: &str = "multi";

/// Tensors of a list.
const TENSORS: usize = 300;

/// How one element of a parameter is kept.
#[derive(Clone, Copy)]
struct Kept {
    dtype: DType,
    /// Whether a parameter of 16 bits has its master beside it.
    planes: bool,
    codes: bool,
}

const F32: Kept = Kept { dtype: DType::F32, planes: false, codes: false };
const PLANES: Kept = Kept { dtype: DType::BF16, planes: true, codes: false };

/// What is timed.
type Call = Box<dyn FnMut() -> Result<()>>;

/// Of lists with tensors of these sizes.
type Make = fn(&[usize], &Device) -> Result<Call>;

/// Names, the bytes that are moved for each element, and what makes the call.
const ROWS: [(&str, f64, Make); 15] = [
    ("scale_ f32", 8.0, |sizes, device| scale(DType::F32, sizes, device)),
    ("scale_ bf16", 4.0, |sizes, device| scale(DType::BF16, sizes, device)),
    ("axpy_ f32", 12.0, |sizes, device| axpy(DType::F32, sizes, device)),
    ("axpy_ f32 += bf16", 10.0, |sizes, device| axpy(DType::BF16, sizes, device)),
    ("zero_ f32", 4.0, zero),
    ("cast_ bf16 from f32", 6.0, cast),
    ("norm f32", 4.0, |sizes, device| norm(DType::F32, sizes, device)),
    ("norm bf16", 2.0, |sizes, device| norm(DType::BF16, sizes, device)),
    ("sgd_ f32, momentum", 20.0, |sizes, device| {
        let rule = |steps: &mut [Step<'_>], control: &Control<'_>| {
            sgd_(steps, &Sgd { momentum: 0.9, ..Sgd::default() }, control)
        };
        optimizer(F32, 1, rule, sizes, device)
    }),
    ("lion_ f32", 20.0, |sizes, device| {
        optimizer(F32, 1, |steps, control| lion_(steps, &Lion::default(), control), sizes, device)
    }),
    ("adamw_ f32", 28.0, |sizes, device| adamw(F32, sizes, device)),
    ("adamw_ bf16, planes", 26.0, |sizes, device| adamw(PLANES, sizes, device)),
    ("adamw_ f16, planes", 26.0, |sizes, device| adamw(Kept { dtype: DType::F16, ..PLANES }, sizes, device)),
    ("adamw_ f32, codes", 16.0 + LARGEST, |sizes, device| adamw(Kept { codes: true, ..F32 }, sizes, device)),
    ("adamw_ bf16, planes, codes", 14.0 + LARGEST, |sizes, device| {
        adamw(Kept { codes: true, ..PLANES }, sizes, device)
    }),
];

/// What stands beside the codes of two moments, in and out.
const LARGEST: f64 = 16.0 / CODE_BLOCK as f64;

/// Measures every row, one list after the other.
///
/// # Errors
///
/// Those of what is measured.
pub fn measure(bench: &mut Bench) -> Result<()> {
    let device = bench.device.fresh()?;
    let numel = match (device.is_cuda(), bench.quick) {
        (true, _) => 1 << 30,
        (false, false) => 1 << 24,
        (false, true) => 1 << 21,
    };
    let mut rows = ROWS.to_vec();
    if !bench.ops.is_empty() {
        rows.retain(|(name, ..)| bench.ops.iter().any(|part| name.contains(part)));
    }
    let repetitions = if bench.quick && !device.is_cuda() { 3 } else { 11 };
    bench.group(GROUP, rows.len() + 1, |bench, progress| {
        let [limit, seconds] = throughput::copy_limit(GROUP, &device, numel.min(1 << 28), repetitions)?;
        let copy = limit.median;
        bench.add([limit, seconds]);
        progress.advance(1);
        let sizes = sizes(numel);
        let total: usize = sizes.iter().sum();
        let timer = Timer::new(&device)?;
        for (name, bytes, make) in rows {
            progress.step(name);
            let mut call = make(&sizes, &device)?;
            let mut seconds = Vec::new();
            for _ in 0..=repetitions {
                seconds.push(timer.time(&mut call)?.as_secs_f64());
            }
            // The first loads the kernel.
            let seconds = seconds.split_off(1);
            let speeds = seconds.iter().map(|time| 1e-9 * bytes * total as f64 / time).collect();
            let names = |metric| [GROUP, name, bench.device_name(), metric];
            let speed = Figure::new(names("speed"), "GB/s", speeds).limit(copy);
            let figures = [speed, Figure::new(names("time"), "s", seconds)];
            bench.add(figures);
            progress.advance(1);
        }
        Ok(())
    })
}

/// As those of a transformer: as many vectors as matrices, which have nearly all elements.
fn sizes(numel: usize) -> Vec<usize> {
    let (vectors, matrices) = (TENSORS / 2, TENSORS - TENSORS / 2);
    let vector = (numel / 1000 / vectors).max(1);
    let matrix = (numel - vector * vectors) / matrices;
    (0..TENSORS).map(|i| if i % 2 == 0 { matrix } else { vector }).collect()
}

fn list(dtype: DType, sizes: &[usize], seed: u64, device: &Device) -> Result<Vec<Tensor>> {
    let make = |(seed, &n): (u64, &usize)| Tensor::normal([n], 0.0, 1.0, seed, dtype, device);
    (seed..).zip(sizes).map(make).collect()
}

fn scale(dtype: DType, sizes: &[usize], device: &Device) -> Result<Call> {
    let mut x = list(dtype, sizes, 1, device)?;
    Ok(Box::new(move || multi::scale_(&mut x.iter_mut().collect::<Vec<_>>(), 1.0)))
}

fn axpy(dtype: DType, sizes: &[usize], device: &Device) -> Result<Call> {
    let (mut y, x) = (list(DType::F32, sizes, 1, device)?, list(dtype, sizes, 1000, device)?);
    Ok(Box::new(move || {
        multi::axpy_(&mut y.iter_mut().collect::<Vec<_>>(), 0.5, &x.iter().collect::<Vec<_>>())
    }))
}

fn zero(sizes: &[usize], device: &Device) -> Result<Call> {
    let mut x = list(DType::F32, sizes, 1, device)?;
    Ok(Box::new(move || multi::zero_(&mut x.iter_mut().collect::<Vec<_>>())))
}

fn cast(sizes: &[usize], device: &Device) -> Result<Call> {
    let (mut y, x) = (list(DType::BF16, sizes, 1, device)?, list(DType::F32, sizes, 1000, device)?);
    Ok(Box::new(move || multi::cast_(&mut y.iter_mut().collect::<Vec<_>>(), &x.iter().collect::<Vec<_>>())))
}

fn norm(dtype: DType, sizes: &[usize], device: &Device) -> Result<Call> {
    let x = list(dtype, sizes, 1, device)?;
    Ok(Box::new(move || multi::norm(&x.iter().collect::<Vec<_>>()).map(drop)))
}

fn adamw(kept: Kept, sizes: &[usize], device: &Device) -> Result<Call> {
    optimizer(kept, 2, |steps, control| adamw_(steps, &AdamW::default(), control), sizes, device)
}

type Rule = fn(&mut [Step<'_>], &Control<'_>) -> Result<()>;

/// What stands on the device as it would in training: learning rate, count, norm.
fn optimizer(kept: Kept, moments: usize, rule: Rule, sizes: &[usize], device: &Device) -> Result<Call> {
    let zeros = |len: fn(usize) -> usize, dtype| {
        sizes.iter().map(|&n| Tensor::zeros([len(n)], dtype, device)).collect::<Result<Vec<_>>>()
    };
    let mut params = list(kept.dtype, sizes, 1, device)?;
    let grads = list(kept.dtype, sizes, 1000, device)?;
    let mut low = if kept.planes { zeros(|n| 2 * n, DType::U8)? } else { Vec::new() };
    let dtype = if kept.codes { DType::U8 } else { DType::F32 };
    let mut states = (0..moments).map(|_| zeros(|n| n, dtype)).collect::<Result<Vec<_>>>()?;
    let beside = if kept.codes { moments } else { 0 };
    let mut largest =
        (0..beside).map(|_| zeros(|n| n.div_ceil(CODE_BLOCK), DType::F32)).collect::<Result<Vec<_>>>()?;
    let number = |value| Tensor::full([0usize; 0], value, DType::F32, device);
    let (lr, step, norm) = (number(1e-4)?, number(10.0)?, number(1.0)?);
    Ok(Box::new(move || {
        let mut steps: Vec<Step<'_>> =
            params.iter_mut().zip(&grads).map(|(param, grad)| Step::new(param, grad)).collect();
        steps.iter_mut().zip(&mut low).for_each(|(step, low)| step.master = Some(low));
        let mut largest = largest.iter_mut();
        for (i, states) in states.iter_mut().enumerate() {
            let mut largest = largest.next().map(|largest| largest.iter_mut());
            for (step, state) in steps.iter_mut().zip(states) {
                let largest = largest.as_mut().and_then(Iterator::next);
                let moment = match largest {
                    Some(largest) => Moment::Codes { codes: state, largest },
                    None => Moment::Full(state),
                };
                *(if i == 0 { &mut step.first } else { &mut step.second }) = Some(moment);
            }
        }
        rule(&mut steps, &Control { norm: Some(&norm), max_norm: 1.0, ..Control::new(&lr, &step) })
    }))
}

/// This group's part of the page.
pub fn section(bench: &Bench) -> Section {
    let intro = "All tensors of a model at once: 300 of them, half vectors and half matrices, 2^30 elements on a card. Bytes \
        count once in and once out, beside the speed of a device copy in the same run.";
    Section::new(GROUP, "Lists of tensors", intro).with_figures(&bench.report)
}
