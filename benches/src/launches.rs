//! What an op of few elements costs on a card, beside the driver's own call and a graph of kernels that do nothing.

use crate::{figures::Figure, throughput::GROUP, timer::Timer};
use std::time::Instant;
use taut::{DType, Device, Graphed, Layout, Result, Shape, Tensor, memory};
use taut_cuda::{Operand, probe};

/// Launches in a loop; shorter than the driver's queue, which would make the host wait.
const LAUNCHES: u32 = 500;

/// The rows of the group `throughput` about launches; none where there is no card.
pub(crate) fn measure(device: &Device) -> Result<Vec<Figure>> {
    let mut figures = launches(device)?;
    figures.extend(graphs(device)?);
    Ok(figures)
}

/// The host time of a launch: bare, through the thin launcher, through a family's launcher, and as an op.
fn launches(device: &Device) -> Result<Vec<Figure>> {
    let Some(gpu) = device.gpu() else { return Ok(Vec::new()) };
    let stream = gpu.stream(memory::StreamId::COMPUTE)?;
    let site = memory::Site::new("launch_cost", memory::Kind::Workspace);
    let block = device.pool().allocate(4096, stream.id(), site)?;
    let layout = Layout::contiguous(Shape::new(&[1024])?);
    let dst = Operand::new(&block, &layout, DType::F32)?;
    let mut x = Tensor::zeros([1024], DType::F16, device)?;
    let (mut bare, mut thin, mut launcher, mut op) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    // Alternating, and the first round warms up.
    for round in 0..41 {
        let cost = probe::launch_cost(&stream, dst, LAUNCHES)?;
        let start = Instant::now();
        for _ in 0..LAUNCHES {
            x.relu_()?;
        }
        let relu = start.elapsed() / LAUNCHES;
        device.synchronize()?;
        if round > 0 {
            bare.push(cost.bare.as_secs_f64());
            thin.push(cost.thin.as_secs_f64());
            launcher.push(cost.launcher.as_secs_f64());
            op.push(relu.as_secs_f64());
        }
    }
    let figure = |work, times| Figure::new([GROUP, work, "cuda", "time"], "s", times);
    let bare = figure("launch: bare cuLaunchKernel", bare);
    let limit = bare.median;
    Ok(vec![
        bare,
        figure("launch: Stream::launch", thin).limit(limit),
        figure("launch: fill, the whole launcher", launcher).limit(limit),
        figure("op: relu_, 1,024 elements", op).limit(limit),
    ])
}

/// The device time of an op in a graph that is replayed, beside a kernel that does nothing, and one that does no more than
/// to read and to write as many elements, in graphs of as many.
fn graphs(device: &Device) -> Result<Vec<Figure>> {
    let Some(gpu) = device.gpu() else { return Ok(Vec::new()) };
    let stream = gpu.stream(memory::StreamId::COMPUTE)?;
    let site = memory::Site::new("empty_graph", memory::Kind::Workspace);
    let block = device.pool().allocate(4096, stream.id(), site)?;
    let layout = Layout::contiguous(Shape::new(&[1024])?);
    let empty = probe::empty_graph(gpu, Operand::new(&block, &layout, DType::F32)?, LAUNCHES)?;
    let copying = probe::copying_graph(gpu, Operand::new(&block, &layout, DType::F16)?, LAUNCHES)?;
    let chain = |x: &[Tensor]| {
        let ops = (0..LAUNCHES).try_fold(x[0].clone(), |x, _| x.add_scalar(1.0))?;
        Ok(vec![ops])
    };
    let x = Tensor::zeros([1024], DType::F16, device)?;
    let mut graph = Graphed::new(vec![x], chain)?;
    let timer = Timer::new(device)?;
    let mut times = [const { Vec::new() }; 3];
    for round in 0..21 {
        let each = [
            timer.time(|| empty.launch(&stream))?,
            timer.time(|| copying.launch(&stream))?,
            timer.time(|| graph.again().map(drop))?,
        ];
        for (times, time) in times.iter_mut().zip(each) {
            if round > 0 {
                times.push(time.as_secs_f64() / f64::from(LAUNCHES));
            }
        }
    }
    let [bare, copies, ops] = times;
    let figure = |work, times| Figure::new([GROUP, work, "cuda", "time"], "s", times);
    let bare = figure("graph: an empty kernel", bare);
    let limit = bare.median;
    Ok(vec![
        bare,
        figure("graph: a bare copy of 1,024 elements", copies).limit(limit),
        figure("graph: add_scalar, 1,024 elements", ops).limit(limit),
    ])
}
