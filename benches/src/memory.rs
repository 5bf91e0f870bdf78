//! The group `memory`: what each technique saves, and what it costs in time.

use crate::{
    Bench, encoder,
    figures::Figure,
    flights::Flights,
    model::Size,
    page::{Plot, Section},
    timeline::{self, Recorded},
    work::{
        mlp::{self, Technique},
        ridge::{self, Data},
    },
};
use std::{
    path::Path,
    time::{Duration, Instant},
};
use taut::{DType, Device, Error, ErrorKind, HostStats, Result, Stats, Tensor, memory::Timeline};
use taut_nn::{Stored, Tokens, Weights, text::SentenceEncoder};
use taut_tests::inputs;

/// The name of the group.
pub const GROUP: &str = "memory";

/// What one run of a work took.
#[derive(Clone, Debug)]
pub struct Run {
    /// The pool's counts at the end of the first repetition, on a device of its own.
    pub stats: Stats,
    /// Host memory beside it then.
    pub host: HostStats,
    /// The time of each repetition but the first, which also fills the pool.
    pub times: Vec<Duration>,
    /// What the pool did until the end of the first repetition.
    pub timeline: Option<Timeline>,
}

/// How often a work is repeated, after the first time.
#[derive(Clone, Copy, Debug)]
pub struct Repeat {
    /// At first so long without being timed, until the clock of the device is one that it can hold.
    pub warm: Duration,
    /// Then so long,
    pub timed: Duration,
    /// and at least so often.
    pub least: usize,
}

impl From<usize> for Repeat {
    fn from(least: usize) -> Repeat {
        Repeat { warm: Duration::ZERO, timed: Duration::ZERO, least }
    }
}

impl Repeat {
    /// The times that `once` says.
    pub fn times(self, mut once: impl FnMut() -> Result<Duration>) -> Result<Vec<Duration>> {
        let start = Instant::now();
        while start.elapsed() < self.warm {
            once()?;
        }
        let (start, mut times) = (Instant::now(), Vec::new());
        while times.len() < self.least || start.elapsed() < self.timed {
            times.push(once()?);
        }
        Ok(times)
    }
}

/// Runs `work` on a device of its own and on a plan of it, and refuses a plan that is not right to the byte.
///
/// `work` makes its weights when it is called, and returns what repeats.
pub fn measure<F>(
    device: &Device,
    repeats: impl Into<Repeat>,
    work: impl Fn(&Device) -> Result<F>,
) -> Result<Run>
where
    F: Fn(&Device) -> Result<()>,
{
    measure_from(device, repeats, |device| {
        let repeat = work(device)?;
        Ok((|_: &Device| Ok(()), move |device: &Device, ()| repeat(device)))
    })
}

/// [`measure`] of a work whose repetitions begin with what it makes before its time starts.
pub fn measure_from<I, M, F>(
    device: &Device,
    repeats: impl Into<Repeat>,
    work: impl Fn(&Device) -> Result<(M, F)>,
) -> Result<Run>
where
    M: Fn(&Device) -> Result<I>,
    F: Fn(&Device, I) -> Result<()>,
{
    let real = device.fresh()?;
    real.pool().record(timeline::EVENTS)?;
    let (make, repeat) = work(&real)?;
    repeat(&real, make(&real)?)?;
    real.synchronize()?;
    let (stats, host, timeline) = (real.stats(), real.host_stats(), real.pool().take_timeline());
    let times = repeats.into().times(|| {
        let input = make(&real)?;
        real.synchronize()?;
        let start = Instant::now();
        repeat(&real, input)?;
        real.synchronize()?;
        Ok(start.elapsed())
    })?;

    let plan = Device::plan(real.spec());
    let (make, repeat) = work(&plan)?;
    repeat(&plan, make(&plan)?)?;
    same_peaks(&plan.stats(), &stats)?;
    same_host(&plan.host_stats(), &host)?;
    Ok(Run { stats, host, times, timeline })
}

/// Refuses a plan that is not right to the byte.
pub fn same_peaks(planned: &Stats, measured: &Stats) -> Result<()> {
    let peaks =
        |s: &Stats| [s.peak_tensor_bytes, s.peak_workspace_bytes, s.peak_live_bytes, s.peak_reserved_bytes];
    let (planned, measured) = (peaks(planned), peaks(measured));
    if planned == measured {
        return Ok(());
    }
    let what = "tensor, workspace, live and reserved bytes";
    Err(Error::device(format!("memory: {what} were planned as {planned:?} and measured as {measured:?}")))
}

/// [`same_peaks`] of the host memory beside a device.
pub fn same_host(planned: &HostStats, measured: &HostStats) -> Result<()> {
    let peaks = |s: &HostStats| [s.peak_live_bytes, s.reserved_bytes, s.allocations];
    let (planned, measured) = (peaks(planned), peaks(measured));
    if planned == measured {
        return Ok(());
    }
    let what = "live and reserved bytes on the host, and requests for them,";
    Err(Error::device(format!("memory: {what} were planned as {planned:?} and measured as {measured:?}")))
}

/// A run as figures of this group.
pub fn figures(group: &str, work: &str, device: &str, run: &Run) -> Vec<Figure> {
    let bytes = |metric, bytes: u64| Figure::new([group, work, device, metric], "bytes", vec![bytes as f64]);
    let mut figures = vec![
        bytes("tensor peak", run.stats.peak_tensor_bytes),
        bytes("workspace peak", run.stats.peak_workspace_bytes),
        bytes("reserved peak", run.stats.peak_reserved_bytes),
    ];
    figures.extend(run.stats.driver_bytes.map(|driver| bytes("driver", driver)));
    let times = run.times.iter().map(Duration::as_secs_f64).collect();
    figures.push(Figure::new([group, work, device, "time"], "s", times));
    figures
}

/// Takes up what a run gave: the figures, and the timeline if it is to be shown.
pub(crate) fn tell(bench: &mut Bench, group: &str, work: &str, run: Run) {
    let device = bench.device_name();
    bench.add(figures(group, work, device, &run));
    if bench.timeline {
        let recorded = |timeline| Recorded { work: work.to_owned(), device: device.to_owned(), timeline };
        bench.timelines.extend(run.timeline.map(recorded));
    }
}

/// Measures the network with every technique.
pub fn mlp(bench: &mut Bench) -> Result<()> {
    let config = match (bench.device.is_cuda(), bench.quick) {
        (true, _) => mlp::Config::CARD,
        (false, false) => mlp::Config::CPU,
        (false, true) => mlp::Config::QUICK,
    };
    let repetitions = if bench.quick { 1 } else { 3 };
    let name = format!("MLP {} x {}, batch {}", config.layers, config.width, config.batch);
    bench.group(GROUP, Technique::ALL.len(), |bench, progress| {
        for technique in Technique::ALL {
            let work = format!("{name}: {}", technique.name());
            progress.step(&work);
            let run = measure(&bench.device, repetitions, |device| {
                let work = mlp::Work::new(config, technique, device)?;
                Ok(move |device: &Device| work.run(device).map(drop))
            })?;
            tell(bench, GROUP, &work, run);
            progress.advance(1);
        }
        Ok(())
    })
}

/// Measures the real job with every technique.
///
/// # Errors
///
/// As [`Flights::read`] and [`measure`].
pub fn flights(bench: &mut Bench) -> Result<()> {
    let size = if bench.device.is_cuda() { Size::FULL } else { Size::QUICK };
    let flights = Flights::read(&bench.data.join(inputs::FLIGHTS))?;
    let train = flights.train.every(size.train_step);
    let data = Data { train: &train.features, target: &train.target, test: &flights.test.features };
    let name = format!("flights, {} x {} features", train.len(), size.config.features);
    bench.group(GROUP, Technique::ALL.len(), |bench, progress| {
        for technique in Technique::ALL {
            let work = format!("{name}: {}", technique.name());
            progress.step(&work);
            let run = measure(&bench.device, 1, |_| {
                Ok(|device: &Device| {
                    ridge::random_features(device, &data, &size.config, technique, &mut |_, _| {}).map(drop)
                })
            })?;
            tell(bench, GROUP, &work, run);
            progress.advance(1);
        }
        Ok(())
    })
}

/// How sentences go through the encoder: what a server can choose.
struct Serving {
    name: &'static str,
    dtype: DType,
    batch: usize,
    to_host: bool,
}

const SERVINGS: [Serving; 7] = [
    serving("f32, all at once", DType::F32, SENTENCES, false),
    serving("f32, batches of 256", DType::F32, 256, false),
    serving("f32, batches of 32", DType::F32, 32, false),
    serving("f32, batches of 1", DType::F32, 1, false),
    serving("f16, batches of 256", DType::F16, 256, false),
    serving("f16, batches of 32", DType::F16, 32, false),
    serving("f16, batches of 32, vectors to the host", DType::F16, 32, true),
];

const fn serving(name: &'static str, dtype: DType, batch: usize, to_host: bool) -> Serving {
    Serving { name, dtype, batch, to_host }
}

const SENTENCES: usize = 1024;
const TOKENS: usize = 64;

/// Measures inference with real weights, batch by batch, and what loading them takes of the host's memory.
///
/// # Errors
///
/// As [`SentenceEncoder::open`] and [`measure`].
pub fn encoder(bench: &mut Bench) -> Result<()> {
    let folder = encoder::folder(bench);
    let cut = if bench.device.is_cuda() { 1 } else { SENTENCES / if bench.quick { 32 } else { 256 } };
    let sentences = SENTENCES / cut;
    let words = encoder::words([sentences, TOKENS]);
    let name = format!("MiniLM, {sentences} x {TOKENS} tokens");
    bench.group(GROUP, SERVINGS.len() + 2, |bench, progress| {
        for Serving { name: how, dtype, batch, to_host } in SERVINGS {
            let work = format!("{name}: {how}");
            progress.step(&work);
            let words = &words;
            let run = measure(&bench.device, 1, |device| {
                let encoder = SentenceEncoder::open(&folder, encoder::LONGEST, dtype, device)?;
                device.pool().reset_peaks();
                Ok(move |device: &Device| {
                    let mut vectors = Vec::new();
                    for batch in words.chunks(batch) {
                        let out = encoder.bert().embed(&Tokens::new(batch, device)?)?;
                        vectors.push(if to_host { out.to(&device.host())? } else { out });
                    }
                    Ok(())
                })
            })?;
            tell(bench, GROUP, &work, run);
            progress.advance(1);
        }
        for (how, mapped) in [("mapped", true), ("read whole first", false)] {
            let work = format!("MiniLM's f32 weights as f16, {how}");
            progress.step(&work);
            let bytes =
                host_peak(|| load(&folder.join("model.safetensors"), mapped, &bench.device.fresh()?))?;
            let names = [GROUP, &work, bench.device_name(), "host peak"];
            bench.add(bytes.map(|bytes| Figure::new(names, "bytes", vec![bytes as f64])));
            progress.advance(1);
        }
        Ok(())
    })
}

fn unread(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Driver, format!("memory: model.safetensors: {error}"))
}

/// Loads every float of a file as f16.
fn load(path: &Path, mapped: bool, device: &Device) -> Result<()> {
    let whole = if mapped { Vec::new() } else { std::fs::read(path).map_err(unread)? };
    let weights = Weights::open(path)?;
    let entries = weights.entries().filter(|entry| entry.stored() == Stored::F32);
    let tensors = entries.map(|entry| match mapped {
        true => entry.load(DType::F16, device),
        false => Tensor::from_bytes(&whole[entry.range()], DType::F32, entry.shape(), DType::F16, device),
    });
    tensors.collect::<Result<Vec<_>>>()?;
    device.synchronize()
}

/// The most memory that this process holds while `f` runs, beyond what it held before. Only Linux says it.
fn host_peak(f: impl FnOnce() -> Result<()>) -> Result<Option<u64>> {
    let resident = |field: &str| {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
    };
    // Counts the peak from here on.
    let counted = std::fs::write("/proc/self/clear_refs", "5").is_ok();
    let before = resident("VmRSS:");
    f()?;
    let peak = resident("VmHWM:").zip(before).map(|(peak, before)| peak.saturating_sub(before));
    Ok(peak.filter(|_| counted))
}

/// This group's part of the page: the bars are stacked from what tensors, workspace and the pool's slack take.
pub fn section(bench: &Bench) -> Section {
    let intro = "The same work with one technique added at a time. Tensor bytes are the same number on every device; workspace \
        is what kernels take while they run; reserved is what the pool asked the driver for. Every row was planned without a \
        GPU and came out equal to the byte.\n\n\
        Below are rows of the pool itself. Traces are made ones, of programs of these kinds: what is reserved at most over what \
        was asked for at most, the calls to the driver when the same trace comes again, and the time to allocate a block and to \
        free it, with the sizes and lives of the trace.";
    let mut section = Section::new(GROUP, "Memory", intro);
    let all = bench.report.group(GROUP);
    let mut plots: Vec<Plot> = Vec::new();
    for tensor in all.iter().filter(|f| f.metric == "tensor peak") {
        let of = |metric: &str| {
            let same =
                all.iter().find(|f| f.work == tensor.work && f.device == tensor.device && f.metric == metric);
            same.map_or(0.0, |f| f.median)
        };
        let (title, label) = tensor.work.split_once(": ").unwrap_or(("", &tensor.work));
        let title = format!("{title}, {}", tensor.device);
        let slack = (of("reserved peak") - tensor.median - of("workspace peak")).max(0.0);
        if plots.last().is_none_or(|plot| plot.title != title) {
            plots.push(Plot::new(title, "bytes").parts(["tensors", "workspace", "slack of the pool"]));
        }
        if let Some(plot) = plots.last_mut() {
            plot.bar(label, &[tensor.median, of("workspace peak"), slack]);
        }
    }
    section.plots = plots;
    section.tables = crate::table::tables(&all);
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [`measure`] refuses a plan that is not right to the byte.
    #[test]
    fn every_technique_is_planned_to_the_byte_and_saves() {
        let config = mlp::Config { layers: 3, width: 48, batch: 40, segments: 4 };
        let peaks: Vec<u64> = Technique::ALL
            .into_iter()
            .map(|technique| {
                let run = measure(&Device::cpu(), 1, |device| {
                    let work = mlp::Work::new(config, technique, device)?;
                    Ok(move |device: &Device| work.run(device).map(drop))
                });
                run.unwrap().stats.peak_tensor_bytes
            })
            .collect();
        assert!(peaks.is_sorted_by(|a, b| a >= b), "{peaks:?}");
        assert!(peaks[0] > 2 * peaks[4], "{peaks:?}");
    }

    #[test]
    fn a_plan_that_differs_is_refused() {
        let error = measure(&Device::cpu(), 0, |_| {
            Ok(|device: &Device| {
                let numel = if device.is_plan() { 1000 } else { 1001 };
                taut::Tensor::zeros([numel], taut::DType::F32, device).map(drop)
            })
        });
        assert!(error.unwrap_err().to_string().contains("planned"));
    }
}
