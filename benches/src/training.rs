//! The group `training`: what each technique saves of a training step's memory, and what it costs in time.

use crate::{
    Bench,
    figures::Figure,
    memory::{self, Repeat, Run, same_host, same_peaks},
    page::{Plot, Section},
    timeline,
    work::{
        mlp::{self, Technique},
        training::{Config, Way, Work},
    },
};
use std::{
    rc::Rc,
    time::{Duration, Instant},
};
use taut::{DType, Device, Kind, Result, Tensor};

/// The name of the group.
pub const GROUP: &str = "training";

/// Steps before the first that is timed. The second one repeats the decisions of the pool.
const WARM: usize = 2;

/// Trains in every way.
pub fn measure(bench: &mut Bench) -> Result<()> {
    let config = match (bench.device.is_cuda(), bench.quick) {
        (true, _) => Config::CARD,
        (false, false) => Config::CPU,
        (false, true) => Config::QUICK,
    };
    let seconds = if bench.device.is_cuda() && !bench.quick { 1.0 } else { 0.1 };
    let long = Duration::from_secs_f64(seconds);
    let repeat = Repeat { warm: long, timed: long, least: if bench.quick { 2 } else { 5 } };
    let name = format!("MLP {} x {}, batch {}, AdamW", config.layers, config.width, config.batch);
    let tables = [("each", &Way::EACH[..]), ("stacked", &Way::STACKED[..])];
    let ways: Vec<(&str, Way)> =
        tables.iter().flat_map(|(table, ways)| ways.iter().map(move |way| (*table, *way))).collect();
    let wanted =
        |bench: &Bench, name: &str| bench.ops.is_empty() || bench.ops.iter().any(|part| name.contains(part));
    let ways: Vec<_> =
        ways.into_iter().filter(|(table, way)| wanted(bench, &row(&name, table, way))).collect();
    let peers: [(String, Peer); 2] = [inference(bench), head(bench)];
    let peers: Vec<_> = peers.into_iter().filter(|(work, _)| wanted(bench, work)).collect();
    bench.group(GROUP, ways.len() + peers.len(), |bench, progress| {
        let mut plain = None;
        for (table, way) in ways {
            let work = row(&name, table, &way);
            progress.step(&work);
            let run = run(&bench.device, config, way, repeat)?;
            let own = (run.stats.peak_tensor_bytes as f64, median(&run.times));
            if way == Way::EACH[0] {
                plain = Some(own);
            }
            let host = run.host.peak_live_bytes as f64;
            memory::tell(bench, GROUP, &work, run);
            bench.add([Figure::new([GROUP, &work, bench.device_name(), "host peak"], "bytes", vec![host])]);
            if let Some(plain) = plain {
                let device = bench.device_name();
                let share = |metric, own, plain: f64| {
                    Figure::new([GROUP, &work, device, metric], "%", vec![100.0 * own / plain])
                };
                bench.add([share("bytes of f32", own.0, plain.0), share("time of f32", own.1, plain.1)]);
            }
            progress.advance(1);
        }
        for (work, run) in peers {
            progress.step(&work);
            let run = run(&bench.device, repeat)?;
            memory::tell(bench, GROUP, &work, run);
            progress.advance(1);
        }
        Ok(())
    })
}

/// The name of a way's row.
fn row(config: &str, table: &str, way: &Way) -> String {
    format!("{config}, {table}: {}", way.name)
}

/// A work beside those of [`Way`], on a device.
type Peer = Box<dyn Fn(&Device, Repeat) -> Result<Run>>;

/// Inference without gradients, whose input is there when its time begins.
fn inference(bench: &Bench) -> (String, Peer) {
    let config = match (bench.device.is_cuda(), bench.quick) {
        (true, _) => mlp::Config::CARD,
        (false, false) => mlp::Config::CPU,
        (false, true) => mlp::Config::QUICK,
    };
    let work = format!("inference, MLP {} x {}, batch {}, f16", config.layers, config.width, config.batch);
    let run = move |device: &Device, repeat: Repeat| {
        memory::measure_from(device, repeat, |device| {
            let work = Rc::new(mlp::Work::new(config, Technique::Half, device)?);
            let made = Rc::clone(&work);
            Ok((move |device: &Device| made.input(0, device), move |_: &Device, x| work.forward(x).map(drop)))
        })
    };
    (work, Box::new(run))
}

fn median(times: &[Duration]) -> f64 {
    let mut times: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The last layer of a language model with its loss, forward and backward: of its logits only a part exists at a time.
fn head(bench: &Bench) -> (String, Peer) {
    let [rows, width, classes] = match (bench.device.is_cuda(), bench.quick) {
        (true, _) => [16_384, 768, 50_304],
        (false, false) => [512, 128, 8192],
        (false, true) => [256, 64, 2048],
    };
    let work = format!("linear {width} to {classes} with cross entropy, {rows} rows, bf16");
    let run = move |device: &Device, repeat: Repeat| {
        memory::measure(device, repeat, |device| {
            let normal = |shape: [usize; 2], std| Tensor::normal(shape, 0.0, std, 1, DType::BF16, device);
            let weight = normal([classes, width], 0.02)?.require_grad()?;
            let x = normal([rows, width], 1.0)?.with_kind(Kind::Input)?.require_grad()?;
            let targets = Tensor::arange(0.0, rows as f64, 1.0, DType::I64, device)?;
            Ok(move |_: &Device| {
                x.clone().linear_cross_entropy(&weight, &targets, 0.0, None)?.backward()?;
                x.zero_grad();
                weight.zero_grad();
                Ok(())
            })
        })
    };
    (work, Box::new(run))
}

/// Steps of one way: peaks of the first two, which are those that a plan foretold, and the times of the others.
fn run(device: &Device, config: Config, way: Way, repeat: Repeat) -> Result<Run> {
    let warm = |device: &Device| -> Result<Work> {
        let mut work = Work::new(config, way, device)?;
        (0..WARM).try_for_each(|_| work.step())?;
        Ok(work)
    };
    let real = device.fresh()?;
    real.pool().record(timeline::EVENTS)?;
    let mut work = warm(&real)?;
    real.synchronize()?;
    let (stats, host, timeline) = (real.stats(), real.host_stats(), real.pool().take_timeline());
    let plan = Device::plan(real.spec());
    warm(&plan)?;
    same_peaks(&plan.stats(), &stats)?;
    same_host(&plan.host_stats(), &host)?;
    let times = repeat.times(|| {
        let start = Instant::now();
        work.step()?;
        real.synchronize()?;
        Ok(start.elapsed())
    })?;
    Ok(Run { stats, host, times, timeline })
}

/// The group on the page.
pub fn section(bench: &Bench) -> Section {
    let intro = "A step of training, forward, backward and update, with one technique each, and then with one added at a time. \
        Every row was planned without a GPU and came out equal to the byte; the host peak is what waited in host memory. Below, \
        bytes and time beside those of the plain run, f32 with nothing saved.";
    let mut section = Section::new(GROUP, "Training", intro);
    let all = bench.report.group(GROUP);
    let mut plots: Vec<Plot> = Vec::new();
    for tensor in all.iter().filter(|figure| figure.metric == "tensor peak") {
        let (title, label) = tensor
            .work
            .split_once(": ")
            .unwrap_or(("Inference, and a last layer with its loss", &tensor.work));
        let title = format!("{title}, {}", tensor.device);
        if plots.last().is_none_or(|plot| plot.title != title) {
            plots.push(Plot::new(title, "bytes").parts(["tensors"]));
        }
        if let Some(plot) = plots.last_mut() {
            plot.bar(label, &[tensor.median]);
        }
    }
    section.plots = plots;
    section.tables = crate::table::tables(&all);
    section
}
