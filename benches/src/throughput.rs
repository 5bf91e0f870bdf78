//! The group `throughput`: every op of the registry at a size that fills the device, beside the limit measured in the
//! same run.

use crate::{Bench, figures::Figure, launches, page::Section, progress::Progress, timer::Timer};
use std::time::Duration;
use taut::{DType, Device, Result, Tensor};
use taut_tests::{Fill, Op, Operand, Use, check_once, ops};

/// The name of the group.
pub const GROUP: &str = "throughput";

/// One row: an op on a dtype, over its operand or not.
struct Case<'a> {
    op: &'a Op,
    dtype: DType,
    in_place: bool,
}

impl Case<'_> {
    /// `sum f16, columns`, and behind it whether the operand is given for good.
    fn name(&self) -> String {
        let (method, rest) = self.op.name.split_once(',').unwrap_or((&self.op.name, ""));
        let comma = if rest.is_empty() { "" } else { "," };
        let in_place = if self.in_place { ", in place" } else { "" };
        format!("{method} {}{comma}{rest}{in_place}", self.dtype)
    }
}

/// What `--ops` calls the rows about launches.
const LAUNCH: &str = "launch";

/// Measures every op, in one process with its limit.
pub fn measure(bench: &mut Bench) -> Result<()> {
    let device = bench.device.fresh()?;
    let numel = match (device.is_cuda(), bench.quick) {
        (true, _) => 1 << 28,
        (false, false) => 1 << 24,
        (false, true) => 1 << 20,
    };
    let asked = bench.ops.clone();
    let is_asked = |name: &str| asked.is_empty() || asked.iter().any(|asked| asked == name);
    let mut ops = ops::all();
    ops.retain(|op| is_asked(op.method()));
    let cases: Vec<Case<'_>> = ops.iter().flat_map(|op| rows(op, bench.quick)).collect();
    let repetitions = if bench.quick && !device.is_cuda() { 3 } else { 11 };
    bench.group(GROUP, cases.len() + 1, |bench, progress| {
        let [limit, seconds] = copy_limit(GROUP, &device, numel, repetitions)?;
        let copy = limit.median;
        bench.add([limit, seconds]);
        progress.advance(1);
        for case in &cases {
            check_once(&device, case.op, case.dtype)?;
            let Some(subject) = case.op.usual(numel, case.dtype) else { continue };
            bench.add(time(case, &subject, &device, repetitions, copy, progress)?);
            progress.advance(1);
        }
        if is_asked(LAUNCH) {
            progress.step(LAUNCH);
            bench.add(launches::measure(&device)?);
        }
        Ok(())
    })
}

/// The rows of an op: the floats that it takes, or the first of the other dtypes.
fn rows(op: &Op, quick: bool) -> Vec<Case<'_>> {
    let floats: &[DType] = if quick { &[DType::F32] } else { &[DType::F16, DType::BF16, DType::F32] };
    let mut dtypes: Vec<DType> = floats.iter().copied().filter(|&dtype| op.takes(dtype)).collect();
    if dtypes.is_empty() {
        dtypes.extend(DType::CUDA.into_iter().find(|&dtype| op.takes(dtype)));
    }
    let ways: &[bool] = if op.in_place { &[true, false] } else { &[false] };
    dtypes.iter().flat_map(|&dtype| ways.iter().map(move |&in_place| Case { op, dtype, in_place })).collect()
}

/// How often an op runs in one timed region on a card, each time on other memory: the start of a kernel and its last
/// blocks, some microseconds, would else count as its own.
const BATCH: usize = 8;

/// How long the timed regions of a row take together on a card, if three of them do not take longer: the group has a thousand
/// rows, and some of them take a hundred times as long as others.
const ENOUGH: Duration = Duration::from_millis(100);

fn batch(device: &Device) -> usize {
    if device.is_cuda() { BATCH } else { 1 }
}

/// The speed of a device copy: the limit of everything that is bound by memory.
pub(crate) fn copy_limit(
    group: &str,
    device: &Device,
    numel: usize,
    repetitions: usize,
) -> Result<[Figure; 2]> {
    let make = |seed| Tensor::normal([numel], 0.0, 1.0, seed, DType::F16, device);
    let src = (0..batch(device) as u64).map(make).collect::<Result<Vec<_>>>()?;
    let mut dst = (100..100 + batch(device) as u64).map(make).collect::<Result<Vec<_>>>()?;
    let timer = Timer::new(device)?;
    let mut seconds = Vec::new();
    for _ in 0..=repetitions {
        let elapsed = timer.time(|| dst.iter_mut().zip(&src).try_for_each(|(dst, src)| dst.copy_(src)))?;
        seconds.push(elapsed.as_secs_f64() / batch(device) as f64);
    }
    let seconds = seconds.split_off(1);
    let speeds = seconds.iter().map(|time| 4e-9 * numel as f64 / time).collect();
    let names = |metric| [group, "device copy", name(device), metric];
    Ok([Figure::new(names("speed"), "GB/s", speeds), Figure::new(names("time"), "s", seconds)])
}

fn name(device: &Device) -> &'static str {
    if device.is_cuda() { "cuda" } else { "cpu" }
}

/// Random values that no cache holds, made where they are used.
fn make(operand: &Operand, seed: u64, device: &Device) -> Result<Tensor> {
    let Operand { shape, dtype, fill } = operand;
    match *fill {
        Fill::Below(n) => Tensor::uniform(shape, 0.0, n as f32, seed, DType::F32, device)?.cast(*dtype),
        _ if dtype.is_float() => Tensor::normal(shape, 0.0, 1.0, seed, *dtype, device),
        _ if *dtype == DType::Bool => {
            Tensor::uniform(shape, -1.0, 1.0, seed, DType::F32, device)?.relu()?.cast(DType::Bool)
        }
        _ => Tensor::uniform(shape, 0.0, 256.0, seed, DType::F32, device)?.cast(*dtype),
    }
}

fn time(
    case: &Case<'_>,
    subject: &Use,
    device: &Device,
    repetitions: usize,
    copy: f64,
    progress: &Progress,
) -> Result<[Figure; 2]> {
    let row = case.name();
    progress.step(&row);
    let timer = Timer::new(device)?;
    let (mut times, mut bytes): (Vec<Duration>, usize) = (Vec::new(), 0);
    let seeded: Vec<(u64, &Operand)> = (1..).zip(&subject.operands).collect();
    let make = |of: &[(u64, &Operand)]| -> Result<Vec<Vec<Tensor>>> {
        let set = |_| of.iter().map(|&(seed, operand)| make(operand, seed, device)).collect();
        (0..batch(device)).map(set).collect()
    };
    // Those that the op may write over are made anew each time.
    let (given, kept) = seeded.split_at(usize::from(case.in_place));
    let kept = make(kept)?;
    let mut most = repetitions;
    while times.len() <= most {
        let operands: Vec<Vec<Tensor>> =
            make(given)?.into_iter().zip(&kept).map(|(given, kept)| [given, kept.clone()].concat()).collect();
        let mut outputs = Vec::with_capacity(operands.len());
        let elapsed = timer.time(|| {
            operands.into_iter().try_for_each(|operands| {
                outputs.push((subject.call)(operands)?);
                Ok(())
            })
        })?;
        times.push(elapsed / batch(device) as u32);
        if device.is_cuda() && times.len() == 2 {
            most = enough(elapsed).min(repetitions);
        }
        let written: usize = outputs[0].iter().map(|x| x.numel() * x.dtype().size()).sum();
        bytes = subject.bytes.unwrap_or(written + subject.operands.iter().map(Operand::bytes).sum::<usize>());
    }
    // The first fills the pool and loads the kernel.
    let seconds: Vec<f64> = times[1..].iter().map(Duration::as_secs_f64).collect();
    let rates = |scale: f64| seconds.iter().map(|time| scale / time).collect();
    let names = |metric| [GROUP, &row, name(device), metric];
    let speed = match subject.flops {
        None => Figure::new(names("speed"), "GB/s", rates(1e-9 * bytes as f64)).limit(copy),
        Some(flops) => Figure::new(names("rate"), "TFLOP/s", rates(1e-12 * flops)),
    };
    Ok([speed, Figure::new(names("time"), "s", seconds)])
}

/// How many timed regions of this length are enough.
fn enough(elapsed: Duration) -> usize {
    ENOUGH.as_nanos().checked_div(elapsed.as_nanos()).map_or(usize::MAX, |count| count.max(3) as usize)
}

/// This group's part of the page.
pub fn section(bench: &Bench) -> Section {
    let intro = "Each op on random data that no cache holds, beside the speed of a device copy in the same run. Bytes count once in \
        and once out; what is written over is made anew for each repetition, outside of the time. Below, what an op on few \
        elements takes: on the host beside a bare loop of the driver's call, and on the device in a graph that is replayed \
        beside a graph of as many empty kernels.";
    Section::new(GROUP, "Throughput", intro).with_figures(&bench.report)
}
