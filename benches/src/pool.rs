//! What the pool itself costs, in the group `memory`: rows that need no tensor.

use crate::{Bench, figures::Figure, memory::GROUP, table::number, work::mlp};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use taut::{
    Budget, DType, Device, Error, ErrorKind, Kind, Result, Tensor,
    memory::{PhantomBacking, Pool, Site, StreamId},
};
use taut_replay::{
    Event, Family, Pass, Times, among, beside, events, made, pass, quantile, rate, times, together,
};

/// What asks for this part of the group alone.
pub const PART: &str = "pool";

/// Reserved over requested bytes that a trace should not exceed.
const MOST_RATIO: f64 = 1.01;

/// Smaller working sets are left out: pages are whole, and a few are partly used.
const LEAST_BYTES: u64 = 64 << 20;

/// What an allocation and its free should take at most: at the median, and at the 99th percentile.
const MOST_SECONDS: [f64; 2] = [100e-9, 1e-6];

/// What the first op should take of a card beyond the context.
const MOST_FIRST_BYTES: f64 = 6e6;

/// Live blocks among which the pool is measured: any of them is freed.
const AMONG: [usize; 3] = [10, 1_000, 100_000];

/// Live blocks beside which traces are replayed: the fewest, and the most.
const BESIDE: [usize; 2] = [10, 1_000_000];

/// What 32 MiB of new pages should take at most.
const MOST_GROWING_SECONDS: f64 = 1.5e-3;

/// How much longer an allocation and its free should take beside the most blocks than beside the fewest.
const MOST_GROWTH: f64 = 2.0;

const THREADS: usize = 8;

/// How long the pool works before it is measured.
const WARM_UP: Duration = Duration::from_secs(3);

/// Measures this part of the group.
///
/// # Errors
///
/// Those of the pools and of the device; [`Device`](ErrorKind::Device) if a budget that can not be enough is.
pub fn measure(bench: &mut Bench) -> Result<()> {
    let cuda = usize::from(bench.device.is_cuda());
    bench.group(GROUP, Family::ALL.len() + AMONG.len() + 4 + cuda, |bench, progress| {
        // First, while nothing else holds the card.
        if bench.device.is_cuda() {
            progress.step("the first op");
            let figure = first_op(&bench.device)?;
            bench.add(figure);
            progress.advance(1);
        }
        progress.step("warming up");
        warm_up(bench)?;
        for family in Family::ALL {
            progress.step(&format!("a made trace, {}", family.name()));
            let figures = traces(bench, family)?;
            bench.add(figures);
            progress.advance(1);
        }
        for live in AMONG {
            progress.step(&format!("{live} live blocks"));
            let times = among(&phantom(), live, &sizes(), if bench.quick { 20_000 } else { 200_000 })?;
            bench.add(pair_times(&format!("pool: beside {} blocks", number(live as f64)), "plan", &[times]));
            progress.advance(1);
        }
        progress.step("a trace beside many blocks");
        let figures = growth(bench)?;
        bench.add(figures);
        progress.advance(1);
        progress.step("new pages");
        let figure = growing(bench)?;
        bench.add([figure]);
        progress.advance(1);
        progress.step("threads");
        let figures = threads(bench)?;
        bench.add(figures);
        progress.advance(1);
        progress.step("out of memory");
        let left = after_out_of_memory(&bench.device)?;
        let names = [GROUP, "pool: out of memory in a forward pass", bench.device_name(), "bytes left"];
        bench.add([Figure::new(names, "bytes", left).limit(0.0)]);
        progress.advance(1);
        Ok(())
    })
}

/// Some work beforehand: the cores of some hosts take a second or two until they are as fast as they stay.
fn warm_up(bench: &Bench) -> Result<()> {
    let (pool, text, begin) = (phantom(), made(Family::ALL[0], 0), Instant::now());
    while begin.elapsed() < if bench.quick { Duration::from_millis(100) } else { WARM_UP } {
        pass(&pool, text.as_bytes())?;
    }
    Ok(())
}

/// Pages without end that do not exist.
fn phantom() -> Pool {
    Pool::new(Arc::new(PhantomBacking::new(1 << 46, 0)))
}

/// What made traces of one family reserve and cost: on phantom pages, and on those of the device where they fit.
fn traces(bench: &Bench, family: Family) -> Result<Vec<Figure>> {
    let seeds = if bench.quick { 0..1 } else { 0..3 };
    let (mut planned, mut real) = (Vec::new(), Vec::new());
    for text in seeds.map(|seed| made(family, seed)) {
        let replayed = Replayed::new(&phantom(), &text)?;
        let peak_bytes = replayed.first.peak_requested_bytes;
        let device = bench.device.fresh()?;
        if peak_bytes >= LEAST_BYTES && peak_bytes <= device.pool().capacity_bytes() / 2 {
            real.push(Replayed::new(device.pool(), &text)?);
        }
        planned.extend((peak_bytes >= LEAST_BYTES).then_some(replayed));
    }
    let work = format!("trace: {}", family.name());
    let both = [("plan", planned), (bench.device_name(), real)];
    Ok(both.iter().flat_map(|(device, replayed)| Replayed::figures(replayed, &work, device)).collect())
}

/// A trace that was replayed several times on one pool.
struct Replayed {
    first: Pass,
    again: Pass,
    times: Times,
    /// What the driver took for the trace beyond the reserved bytes, where there is one.
    beyond_bytes: Option<f64>,
}

impl Replayed {
    fn new(pool: &Pool, text: &str) -> Result<Replayed> {
        let before = pool.stats().driver_bytes;
        let (first, again) = (pass(pool, text.as_bytes())?, pass(pool, text.as_bytes())?);
        let stats = pool.stats();
        let times = times(pool, text.as_bytes(), 1)?;
        let taken = stats.driver_bytes.zip(before).map(|(after, before)| after as f64 - before as f64);
        let beyond_bytes = taken.map(|taken| taken - stats.reserved_bytes as f64);
        Ok(Replayed { first, again, times, beyond_bytes })
    }

    /// What is known of several traces; nothing of none.
    fn figures(replayed: &[Replayed], work: &str, device: &str) -> Vec<Figure> {
        if replayed.is_empty() {
            return Vec::new();
        }
        let figure = |metric, unit, of: fn(&Replayed) -> f64| {
            Figure::new([GROUP, work, device, metric], unit, replayed.iter().map(of).collect())
        };
        let calls = |of: &Replayed| (of.again.calls.commits + of.again.calls.decommits) as f64;
        let mut figures = vec![
            figure("reserved / requested", "", |of| of.first.ratio()).limit(MOST_RATIO),
            figure("calls again", "", calls).limit(0.0),
        ];
        let times: Vec<_> = replayed.iter().map(|of| of.times.clone()).collect();
        figures.extend(pair_times(work, device, &times));
        if replayed.iter().all(|of| of.beyond_bytes.is_some()) {
            let beyond = |of: &Replayed| of.beyond_bytes.unwrap_or(0.0);
            figures.push(figure("driver beyond reserved", "bytes", beyond).limit(0.0));
        }
        figures
    }
}

/// The time to allocate and free: at the median of runs of many, and at the 99th percentile of single ones.
fn pair_times(work: &str, device: &str, times: &[Times]) -> Vec<Figure> {
    let figure = |metric, most, nanoseconds: fn(&Times) -> u64| {
        let seconds = times.iter().map(|times| nanoseconds(times) as f64 / 1e9).collect();
        Figure::new([GROUP, work, device, metric], "s", seconds).limit(most)
    };
    let [median, tail] = MOST_SECONDS;
    vec![
        figure("alloc + free", median, |times| quantile(&times.in_runs, 0.5)),
        figure("alloc + free, p99", tail, |times| quantile(&times.alone, 0.99)),
    ]
}

/// The sizes of a made trace, small enough that as many blocks as are measured fit into any card.
fn sizes() -> Vec<u64> {
    let text = made(Family::Generation, 0);
    let sizes = events(text.as_bytes()).filter_map(|event| match event {
        Ok((_, Event::Allocate { bytes, .. })) => Some(bytes / 64),
        _ => None,
    });
    sizes.collect()
}

/// What a trace costs beside few blocks, and beside many.
fn growth(bench: &Bench) -> Result<Vec<Figure>> {
    let (text, sizes) = (made(Family::Serving, 0), sizes());
    let figures = |live: usize| -> Result<Vec<Figure>> {
        let times = |_| beside(&phantom(), live, &sizes, text.as_bytes(), 1);
        let times = (0..if bench.quick { 1 } else { 3 }).map(times).collect::<Result<Vec<_>>>()?;
        Ok(pair_times(&format!("pool: a trace beside {} blocks", number(live as f64)), "plan", &times))
    };
    let (few, many) = (figures(BESIDE[0])?, figures(BESIDE[1])?);
    let names = [GROUP, "pool: a trace beside many blocks and few", "plan", "alloc + free, ratio"];
    let growth = Figure::new(names, "", vec![many[0].median / few[0].median]).limit(MOST_GROWTH);
    Ok(few.into_iter().chain(many).chain([growth]).collect())
}

/// What it takes to grow by 32 MiB: blocks of that length, for which nothing is there, and which are kept.
fn growing(bench: &Bench) -> Result<Figure> {
    let device = bench.device.fresh()?;
    let pool = device.pool();
    let (mut blocks, mut times) = (Vec::new(), Vec::new());
    for _ in 0..if bench.quick { 8 } else { 32 } {
        let start = Instant::now();
        let block = pool.allocate(32 << 20, StreamId::COMPUTE, Site::new("grow", Kind::Activations))?;
        times.push(start.elapsed().as_secs_f64());
        blocks.push(block);
    }
    let names = [GROUP, "pool: new pages", bench.device_name(), "32 MiB"];
    Ok(Figure::new(names, "s", times).limit(MOST_GROWING_SECONDS))
}

/// How often blocks are taken and given back in a second, by one thread, and by several on the same pool; and how long it takes
/// one of those.
fn threads(bench: &Bench) -> Result<Vec<Figure>> {
    let (text, repeat) = (made(Family::Encoding, 0), if bench.quick { 10 } else { 50 });
    let pool = bench.device.fresh()?.pool().clone();
    let (fits, device) = (pool.capacity_bytes() >= 8 << 30, bench.device_name());
    let (pool, device) = if fits { (pool, device) } else { (phantom(), "plan") };
    let measured = |threads| rate(&pool, text.as_bytes(), threads, repeat);
    // In turn: a machine is not equally fast all the time.
    let rates: Vec<(f64, f64)> =
        (0..7).map(|_| Ok((measured(1)?, measured(THREADS)?))).collect::<Result<_>>()?;
    let (one, many): (Vec<f64>, Vec<f64>) = rates.into_iter().unzip();
    let figure = |metric: &str, unit, values| {
        Figure::new([GROUP, "pool: threads on one pool", device, metric], unit, values)
    };
    let one = figure("1 thread", "pairs/s", one);
    let many = figure(&format!("{THREADS} threads"), "pairs/s", many);
    let beside = figure(&format!("{THREADS} beside 1"), "", vec![many.median / one.median]);
    let times = together(&pool, text.as_bytes(), THREADS, if bench.quick { 2 } else { 6 })?;
    let tail = figure(&format!("{THREADS} threads, p99"), "s", vec![quantile(&times, 0.99) as f64 / 1e9]);
    Ok(vec![one, many, beside, tail.limit(MOST_SECONDS[1])])
}

/// What an op takes of a card, the first one since its context was made: pages, kernels, and whatever the driver adds.
fn first_op(device: &Device) -> Result<Vec<Figure>> {
    device.reset()?;
    let Some(gpu) = device.gpu() else { return Ok(Vec::new()) };
    // Opens the context, and nothing else.
    gpu.stream(StreamId::COMPUTE)?.synchronize()?;
    let bare = device.stats().driver_bytes;
    let x = Tensor::zeros([1024], DType::F32, device)?.relu()?;
    device.synchronize()?;
    let after = device.stats().driver_bytes;
    drop(x);
    let grown = after.zip(bare).map(|(after, bare)| after.saturating_sub(bare) as f64);
    let names = [GROUP, "pool: one small op", "cuda", "driver, beyond the context"];
    Ok(grown
        .map(|bytes| Figure::new(names, "bytes", vec![bytes]).limit(MOST_FIRST_BYTES))
        .into_iter()
        .collect())
}

/// The live bytes that a forward pass leaves behind when its budget was not enough, for budgets from the least that holds
/// the weights to just less than it needs.
fn after_out_of_memory(device: &Device) -> Result<Vec<f64>> {
    let config = mlp::Config { layers: 8, width: 512, batch: 1024, segments: 8 };
    let plan = Device::plan(device.spec());
    mlp::Work::new(config, mlp::Technique::Everything, &plan)?.run(&plan)?;
    let most = plan.stats().peak_reserved_bytes;

    let device = device.fresh()?;
    let work = mlp::Work::new(config, mlp::Technique::Everything, &device)?;
    let overhead_bytes = match device.spec() {
        taut::Spec::Cuda(card) => card.context_bytes,
        taut::Spec::Cpu { .. } => 0,
    };
    let (before, mut left) = (device.stats().live_bytes, Vec::new());
    for part in 0..8 {
        device.release()?;
        let least = device.stats().reserved_bytes;
        device.set_budget(Budget::Bytes(overhead_bytes + least + (most - least) / 9 * part))?;
        match work.run(&device) {
            Err(error) if error.kind() == ErrorKind::OutOfMemory => {}
            Err(error) => return Err(error),
            Ok(_) => return Err(Error::device(format!("memory: a budget of {part} ninths was enough"))),
        }
        device.synchronize()?;
        left.push(device.stats().live_bytes.abs_diff(before) as f64);
        device.set_budget(Budget::Unlimited)?;
    }
    Ok(left)
}
