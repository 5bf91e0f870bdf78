//! The group `throughput`: every op at a size that fills the device, beside the limit measured in the same run.

use crate::{Bench, figures::Figure, page::Section, progress::Progress, timer::Timer};
use std::time::Duration;
use taut::{Activation, Binary, DType, Device, Random, Reduce, Result, Tensor, Unary};

/// The name of the group.
pub const GROUP: &str = "throughput";

/// One timed op: its name, the bytes or operations that it must at least move or do, and how it is run.
struct Case<'a> {
    name: String,
    cost: Cost,
    /// Makes the operands, outside of the time.
    prepare: Box<dyn Fn() -> Result<Vec<Tensor>> + 'a>,
    /// The op; what it returns is dropped after the time.
    run: Box<dyn Fn(Vec<Tensor>) -> Result<Tensor> + 'a>,
}

#[derive(Clone, Copy)]
enum Cost {
    /// Bytes read and written, each once.
    Bytes(usize),
    /// Floating-point operations.
    Flops(f64),
}

/// Measures every op, in one process with its limit.
pub fn measure(bench: &mut Bench) -> Result<()> {
    let device = bench.device.fresh()?;
    let numel = match (device.is_cuda(), bench.quick) {
        (true, _) => 1 << 28,
        (false, false) => 1 << 24,
        (false, true) => 1 << 22,
    };
    let edges = match (device.is_cuda(), bench.quick) {
        (true, _) => vec![1024, 4096, 8192],
        (false, false) => vec![512, 2048],
        (false, true) => vec![512],
    };
    let mut cases = memory_bound(&device, numel);
    cases.extend(edges.into_iter().flat_map(|edge| products(&device, edge)));
    let repetitions = if bench.quick && !device.is_cuda() { 3 } else { 11 };
    bench.group(GROUP, cases.len() + 1, |bench, progress| {
        let limit = copy_limit(&device, numel, repetitions)?;
        bench.add([limit.clone()]);
        progress.advance(1);
        for case in &cases {
            bench.add([time(case, &device, repetitions, limit.median, bench.device_name(), progress)?]);
            progress.advance(1);
        }
        Ok(())
    })
}

/// How often an op runs in one timed region on a card, each time on other memory: the start of a kernel and its last
/// blocks, some microseconds, would else count as its own.
const BATCH: usize = 8;

fn batch(device: &Device) -> usize {
    if device.is_cuda() { BATCH } else { 1 }
}

/// The speed of a device copy: the limit of everything that is bound by memory.
fn copy_limit(device: &Device, numel: usize, repetitions: usize) -> Result<Figure> {
    let make = |seed| Tensor::normal([numel], 0.0, 1.0, seed, DType::F16, device);
    let src = (0..batch(device) as u64).map(make).collect::<Result<Vec<_>>>()?;
    let mut dst = (100..100 + batch(device) as u64).map(make).collect::<Result<Vec<_>>>()?;
    let timer = Timer::new(device)?;
    let mut speeds = Vec::new();
    for _ in 0..=repetitions {
        let elapsed = timer.time(|| dst.iter_mut().zip(&src).try_for_each(|(dst, src)| dst.copy_(src)))?;
        speeds.push(4e-9 * (numel * batch(device)) as f64 / elapsed.as_secs_f64());
    }
    Ok(Figure::new([GROUP, "device copy", name(device), "speed"], "GB/s", speeds.split_off(1)))
}

fn name(device: &Device) -> &'static str {
    if device.is_cuda() { "cuda" } else { "cpu" }
}

fn time(
    case: &Case<'_>,
    device: &Device,
    repetitions: usize,
    copy: f64,
    device_name: &str,
    progress: &Progress,
) -> Result<Figure> {
    progress.step(&case.name);
    let timer = Timer::new(device)?;
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..=repetitions {
        let operands = (0..batch(device)).map(|_| (case.prepare)()).collect::<Result<Vec<_>>>()?;
        let mut outputs = Vec::with_capacity(operands.len());
        let elapsed = timer.time(|| {
            operands.into_iter().try_for_each(|operands| {
                outputs.push((case.run)(operands)?);
                Ok(())
            })
        })?;
        times.push(elapsed / batch(device) as u32);
    }
    // The first fills the pool and loads the kernel.
    let rates = |scale: f64| times[1..].iter().map(|t| scale / t.as_secs_f64()).collect();
    Ok(match case.cost {
        Cost::Bytes(bytes) => {
            Figure::new([GROUP, &case.name, device_name, "speed"], "GB/s", rates(1e-9 * bytes as f64))
                .limit(copy)
        }
        Cost::Flops(flops) => {
            Figure::new([GROUP, &case.name, device_name, "rate"], "TFLOP/s", rates(1e-12 * flops))
        }
    })
}

/// Every op that moves bytes, on `numel` elements.
fn memory_bound<'a>(device: &'a Device, numel: usize) -> Vec<Case<'a>> {
    let rows = numel / 4096;
    let normal = move |seed, dtype| Tensor::normal([rows, 4096], 0.0, 1.0, seed, dtype, device);
    let mut cases: Vec<Case<'_>> = Vec::new();
    let mut case = |name: String,
                    bytes: usize,
                    prepare: Box<dyn Fn() -> Result<Vec<Tensor>> + 'a>,
                    run: Box<dyn Fn(Vec<Tensor>) -> Result<Tensor> + 'a>| {
        cases.push(Case { name, cost: Cost::Bytes(bytes), prepare, run });
    };
    for dtype in [DType::F16, DType::BF16, DType::F32] {
        let size = dtype.size();
        for op in Unary::ALL {
            let name = format!("{} {dtype}", op.name());
            case(
                format!("{name}, in place"),
                2 * size * numel,
                Box::new(move || Ok(vec![normal(1, dtype)?])),
                Box::new(move |x| first(x)?.unary(op)),
            );
            case(
                name,
                2 * size * numel,
                Box::new(move || normal(1, dtype).map(|x| vec![x.clone(), x])),
                Box::new(move |x| x[0].clone().unary(op)),
            );
        }
        for op in Binary::ALL {
            case(
                format!("{} {dtype}, in place", op.name()),
                3 * size * numel,
                Box::new(move || Ok(vec![normal(1, dtype)?, normal(2, dtype)?])),
                Box::new(move |mut x| {
                    let b = first(x.split_off(1))?;
                    first(x)?.binary(op, &b)
                }),
            );
        }
        case(
            format!("add {dtype}, a row"),
            2 * size * numel,
            Box::new(move || {
                Ok(vec![normal(1, dtype)?, Tensor::normal([4096], 0.0, 1.0, 2, dtype, device)?])
            }),
            Box::new(move |mut x| {
                let row = first(x.split_off(1))?;
                first(x)?.add(&row)
            }),
        );
        for op in Reduce::ALL {
            let axes: [(&str, &[usize]); 3] = [("all", &[0, 1]), ("rows", &[1]), ("columns", &[0])];
            for (of, axes) in axes {
                case(
                    format!("{} {dtype}, {of}", op.name()),
                    size * numel,
                    Box::new(move || Ok(vec![normal(1, dtype)?])),
                    Box::new(move |x| first(x)?.reduce(op, axes)),
                );
            }
        }
        case(
            format!("transpose copy {dtype}"),
            2 * size * numel,
            Box::new(move || Ok(vec![normal(1, dtype)?.t()?])),
            Box::new(|x| first(x)?.contiguous()),
        );
        case(
            format!("full {dtype}"),
            size * numel,
            Box::new(|| Ok(Vec::new())),
            Box::new({
                let device = device.clone();
                move |_| Tensor::full([numel], 1.0, dtype, &device)
            }),
        );
        for distribution in Random::ALL {
            let device = device.clone();
            case(
                format!("{} {dtype}", distribution.name()),
                size * numel,
                Box::new(|| Ok(Vec::new())),
                Box::new(move |_| Tensor::random(&[numel], distribution, 1, dtype, &device)),
            );
        }
    }
    for (from, to) in [(DType::F16, DType::F32), (DType::F32, DType::F16), (DType::F32, DType::BF16)] {
        case(
            format!("cast {from} to {to}"),
            (from.size() + to.size()) * numel,
            Box::new(move || Ok(vec![normal(1, from)?])),
            Box::new(move |x| first(x)?.cast(to)),
        );
    }
    cases
}

/// Products of square matrices, plain, transposed and fused.
fn products(device: &Device, edge: usize) -> Vec<Case<'_>> {
    let flops = Cost::Flops(2.0 * (edge as f64).powi(3));
    let normal = move |seed, dtype| Tensor::normal([edge, edge], 0.0, 1.0, seed, dtype, device);
    let operands = move |dtype| -> Box<dyn Fn() -> Result<Vec<Tensor>> + '_> {
        Box::new(move || Ok(vec![normal(1, dtype)?, normal(2, dtype)?]))
    };
    let mut cases = Vec::new();
    for dtype in [DType::F16, DType::BF16, DType::F32] {
        cases.push(Case {
            name: format!("matmul {dtype}, {edge}"),
            cost: flops,
            prepare: operands(dtype),
            run: Box::new(|x| x[0].clone().matmul(&x[1])),
        });
        cases.push(Case {
            name: format!("linear + bias + ReLU {dtype}, {edge}"),
            cost: flops,
            prepare: Box::new(move || {
                let bias = Tensor::normal([edge], 0.0, 1.0, 3, dtype, device)?;
                Ok(vec![normal(1, dtype)?, normal(2, dtype)?, bias])
            }),
            run: Box::new(|x| x[0].clone().linear_with(&x[1], Some(&x[2]), Activation::Relu)),
        });
    }
    cases
}

fn first(tensors: Vec<Tensor>) -> Result<Tensor> {
    tensors.into_iter().next().ok_or_else(|| taut::Error::shape("bench: an operand is missing"))
}

/// This group's part of the page.
pub fn section(bench: &Bench) -> Section {
    let intro = "Each op on random data that no cache holds, beside the speed of a device copy in the same run. Bytes count once in \
        and once out; the operands are made anew for each repetition, outside of the time.";
    Section::new(GROUP, "Throughput", intro).with_figures(&bench.report)
}
