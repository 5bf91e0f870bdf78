//! The group `train`: a network learns from the real flights, epoch by epoch.

use crate::{
    Bench,
    figures::Figure,
    flights::{Flights, Rows, WIDTH},
    memory::same_peaks,
    page::{Plot, Section},
    timeline::{self, Recorded},
};
use bytemuck::cast_slice;
use std::time::Instant;
use taut::{
    Activation, DType, Device, Error, Kind, Result, Stats, Tensor,
    memory::Timeline,
    no_grad,
    optim::{AdamW, Rule},
};
use taut_nn::{Builder, Layer, Mlp, Module, Optimizer, States, epoch, gather_rows, loss, prefetch};
use taut_tests::inputs;

/// The name of the group.
pub const GROUP: &str = "train";

/// The size of the job.
#[derive(Clone, Copy, Debug)]
struct Size {
    /// Every so many rows are learnt from.
    train_step: usize,
    epochs: usize,
    /// The error on the test rows that must not be exceeded, in minutes.
    most_minutes: f64,
}

/// Ordinary least squares on these flights, without the schedule's column, errs by 15.32 minutes; with it by 13.3 to 14.6.
const FULL: Size = Size { train_step: 1, epochs: 12, most_minutes: 12.5 };
const QUICK: Size = Size { train_step: 4, epochs: 3, most_minutes: 14.0 };

/// Rows of a step.
const BATCH: usize = 512;
/// The largest learning rate: it falls to 0 along half a cosine.
const LR: f32 = 2e-3;
/// Batches that are gathered before they are asked for.
const AHEAD: usize = 2;
/// Of the weights and of the order of the rows.
const SEED: u64 = 2013;
/// Rows that are predicted at once.
const SEGMENT: usize = 8192;
/// Steps whose peaks are compared with those of a plan.
const PLANNED: usize = 4;

/// A network that learns.
struct Job<'a> {
    train: &'a Rows,
    network: Mlp,
    optimizer: Optimizer,
    device: Device,
}

impl<'a> Job<'a> {
    fn new(train: &'a Rows, device: &Device) -> Result<Job<'a>> {
        let builder = Builder::random(SEED, DType::F32, device);
        let network = Mlp::new(&builder, &[WIDTH, 256, 256, 1], Activation::Relu)?;
        network.train()?;
        let optimizer = Optimizer::new(Rule::AdamW(AdamW::default()), &network, States::Full)?;
        Ok(Job { train, network, optimizer, device: device.clone() })
    }

    /// Learns from the rows once, in an order of this epoch, and gives the mean loss. `lr` is asked with the number of the step.
    fn epoch(&mut self, number: u64, lr: impl Fn(usize) -> f32, mut watch: impl FnMut(usize)) -> Result<f32> {
        let (features, targets): (&[u8], &[u8]) =
            (cast_slice(&self.train.features), cast_slice(&self.train.target));
        let gather = |rows: Vec<usize>| {
            Ok((gather_rows(features, 2 * WIDTH, &rows)?, gather_rows(targets, 2, &rows)?))
        };
        let mut sum = Tensor::zeros([], DType::F32, &self.device)?;
        let mut steps = 0;
        let batches = epoch(self.train.len(), BATCH, SEED + number);
        prefetch(batches, AHEAD, gather, |(x, y)| {
            let x = Tensor::from_bytes(&x, DType::F16, [BATCH, WIDTH], DType::F32, &self.device)?;
            let y = Tensor::from_bytes(&y, DType::F16, [BATCH, 1], DType::F32, &self.device)?;
            self.step(x, &y, lr(steps), &mut sum)?;
            steps += 1;
            watch(BATCH);
            Ok(())
        })?;
        Ok(sum.item::<f32>()? / steps.max(1) as f32)
    }

    fn step(&mut self, x: Tensor, y: &Tensor, lr: f32, sum: &mut Tensor) -> Result<()> {
        let loss = loss::mean_squared(self.network.forward(x)?, y)?;
        no_grad(|| sum.add_(&loss))?;
        self.optimizer.backward(loss, lr)
    }

    fn predict(&self, rows: &Rows) -> Result<Vec<f32>> {
        let mut out = Vec::with_capacity(rows.len());
        for part in rows.features.chunks(SEGMENT * WIDTH) {
            let x = Tensor::from_slice(part, [part.len() / WIDTH, WIDTH], &self.device)?.cast(DType::F32)?;
            out.extend(no_grad(|| self.network.forward(x))?.to_vec::<f32>()?);
        }
        Ok(out)
    }
}

/// The peaks of some steps, which do not depend on values.
fn peaks(train: &Rows, device: &Device) -> Result<(Stats, Option<Timeline>)> {
    device.pool().record(timeline::EVENTS)?;
    let mut job = Job::new(train, device)?;
    let mut sum = Tensor::zeros([], DType::F32, device)?;
    for _ in 0..PLANNED {
        let x = Tensor::zeros([BATCH, WIDTH], DType::F32, device)?.with_kind(Kind::Input)?;
        let y = Tensor::zeros([BATCH, 1], DType::F32, device)?.with_kind(Kind::Input)?;
        job.step(x, &y, LR, &mut sum)?;
    }
    device.synchronize()?;
    Ok((device.stats(), device.pool().take_timeline()))
}

/// Learns from the flights, and says after each epoch how far the predictions for the test rows are off.
///
/// # Errors
///
/// Those of [`Flights::read`]; [`Device`](taut::ErrorKind::Device) if a plan differs, or the error at the end is too large.
pub fn measure(bench: &mut Bench) -> Result<()> {
    let size = if bench.quick { QUICK } else { FULL };
    let flights = Flights::read(&bench.data.join(inputs::FLIGHTS))?;
    let train = flights.train.every(size.train_step);
    let real = bench.device.fresh()?;
    let (stats, timeline) = peaks(&train, &real)?;
    let (planned, _) = peaks(&train, &Device::plan(real.spec()))?;
    same_peaks(&planned, &stats)?;

    let steps = train.len() / BATCH;
    let rows = steps * BATCH * size.epochs;
    bench.group(GROUP, rows, |bench, progress| {
        let device = bench.device_name();
        let work = format!("flights, MLP {WIDTH}-256-256-1, batch {BATCH}");
        let mut job = Job::new(&train, &real)?;
        let (mut times, mut error) = (Vec::new(), f64::NAN);
        for number in 0..size.epochs {
            let lr = |step: usize| {
                let part = (number * steps + step) as f32 / (steps * size.epochs) as f32;
                0.5 * LR * (1.0 + (std::f32::consts::PI * part).cos())
            };
            let start = Instant::now();
            let loss = job.epoch(number as u64, lr, |rows| progress.advance(rows as u64))?;
            times.push((steps * BATCH) as f64 / start.elapsed().as_secs_f64());
            error = flights.test.rmse_of_targets(&job.predict(&flights.test)?);
            let epoch = format!("{work}: epoch {}", number + 1);
            progress.step(&format!(
                "epoch {}: loss {loss:.4}, error on the test flights {error:.2} minutes",
                number + 1
            ));
            bench.add([
                Figure::new([GROUP, &epoch, device, "loss"], "", vec![loss.into()]),
                Figure::new([GROUP, &epoch, device, "test RMSE"], "min", vec![error])
                    .limit(size.most_minutes),
            ]);
        }
        let of = |metric, unit, samples| Figure::new([GROUP, &work, device, metric], unit, samples);
        bench.add([
            of("learning", "rows/s", times),
            of("tensor peak", "bytes", vec![stats.peak_tensor_bytes as f64]),
            of("reserved peak", "bytes", vec![stats.peak_reserved_bytes as f64]),
        ]);
        if bench.timeline {
            let recorded = |timeline| Recorded { work, device: device.to_owned(), timeline };
            bench.timelines.extend(timeline.map(recorded));
        }
        if error.is_nan() || error > size.most_minutes {
            let most = size.most_minutes;
            return Err(Error::device(format!(
                "train: the error on the test rows is {error:.2} minutes, above {most}"
            )));
        }
        Ok(())
    })
}

/// The group on the page.
pub fn section(bench: &Bench) -> Section {
    let intro = "A network learns the arrival delays of the flights from New York City in 2013, every fifth flight kept for the \
        test. Rows are gathered ahead on the other cores, each parameter changes inside of the backward, and the plan of the \
        same steps gave the same peaks, to the byte.";
    let mut section = Section::new(GROUP, "Train", intro);
    let all = bench.report.group(GROUP);
    for (metric, unit) in [("loss", "mean of squares"), ("test RMSE", "minutes")] {
        let mut plot = Plot::new(format!("{metric} after each epoch"), unit);
        for figure in all.iter().filter(|figure| figure.metric == metric) {
            let label = figure.work.rsplit(": ").next().unwrap_or_default();
            plot.bar(label, &[figure.median]);
        }
        section.plots.push(plot);
    }
    section.tables = crate::table::tables(&all);
    section
}
