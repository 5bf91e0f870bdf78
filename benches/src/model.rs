//! The group `model`: the real job on the real flights, its error beside that of simpler methods, and its bytes beside
//! those that were planned.

use crate::{
    Bench,
    figures::Figure,
    flights::Flights,
    memory::same_peaks,
    page::Section,
    progress::Progress,
    work::{
        mlp::Technique,
        ridge::{self, Config, Data, Outcome, Stage},
    },
};
use taut::{Device, Error, Result, Stats};
use taut_tests::inputs;

/// The name of the group.
pub const GROUP: &str = "model";

/// The size of the job on the flights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size {
    /// Every so many rows are learnt from.
    pub train_step: usize,
    /// The size of the regression.
    pub config: Config,
    /// The error that must not be exceeded, in minutes.
    pub most_minutes: f64,
}

impl Size {
    /// All rows, 8,192 features.
    pub const FULL: Size = Size {
        train_step: 1,
        config: Config { features: 8192, segment_rows: 8192, iterations: 200 },
        most_minutes: 14.4,
    };
    /// Every fourth row, 1,024 features: some seconds on two cores.
    pub const QUICK: Size = Size {
        train_step: 4,
        config: Config { features: 1024, segment_rows: 8192, iterations: 100 },
        most_minutes: 14.6,
    };
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// What was done.
    pub size: Size,
    /// Rows that were learnt from.
    pub train_rows: usize,
    /// The time of each repetition, in seconds: learning, and predicting.
    pub times: Vec<[f64; 2]>,
    /// The pool's counts after the first run, on a device of its own. The plan's are the same, to the byte.
    pub stats: Stats,
    /// On the test rows, in minutes.
    pub errors: Errors,
}

/// Root mean squared errors on the test rows, in minutes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Errors {
    /// Of the random features.
    pub random_features: f64,
    /// Of ordinary least squares on the same rows and columns.
    pub least_squares: f64,
    /// Of the schedule with the mean taxi time.
    pub schedule: f64,
    /// Of the mean delay for every flight.
    pub mean_delay: f64,
}

/// Runs the job on a device of its own and on a plan of it. The first run is timed only if there are no `repetitions`:
/// it also fills the pool.
///
/// # Errors
///
/// [`Device`](taut::ErrorKind::Device) if the plan's peaks differ from the device's, a repetition gives other predictions, or
/// the error exceeds [`Size::most_minutes`]; whatever the device reports.
pub fn run(
    device: &Device,
    flights: &Flights,
    size: Size,
    repetitions: usize,
    watch: &mut dyn FnMut(Stage, usize),
) -> Result<Measured> {
    let train = flights.train.every(size.train_step);
    let data = Data { train: &train.features, target: &train.target, test: &flights.test.features };
    let device = device.fresh()?;
    let mut once =
        |device: &Device| ridge::random_features(device, &data, &size.config, Technique::ToHost, &mut *watch);

    let first = once(&device)?;
    let stats = device.stats();
    let seconds = |outcome: &Outcome| [outcome.fit_seconds, outcome.predict_seconds];
    let mut times = Vec::new();
    for _ in 0..repetitions {
        let again = once(&device)?;
        if again.predictions != first.predictions {
            return Err(Error::device("model: the same work gave other predictions when it was repeated"));
        }
        times.push(seconds(&again));
    }
    if times.is_empty() {
        times.push(seconds(&first));
    }

    let plan = Device::plan(device.spec());
    ridge::random_features(&plan, &data, &size.config, Technique::ToHost, &mut |_, _| {})?;
    same_peaks(&plan.stats(), &stats)?;

    let linear = ridge::least_squares(&device, &data, size.config.segment_rows)?;
    let errors = Errors {
        random_features: flights.test.rmse_of_targets(&first.predictions),
        least_squares: flights.test.rmse_of_targets(&linear.predictions),
        schedule: flights.test.rmse_of_schedule(),
        mean_delay: flights.test.rmse_of_constant(flights.mean_delay),
    };
    if errors.random_features.is_nan() || errors.random_features > size.most_minutes {
        let (found, most) = (errors.random_features, size.most_minutes);
        return Err(Error::device(format!(
            "model: the error on the test rows is {found:.2} minutes, above {most}"
        )));
    }
    Ok(Measured { size, train_rows: train.len(), times, stats, errors })
}

impl Measured {
    /// As figures of this group.
    pub fn figures(&self, device: &str) -> Vec<Figure> {
        let Size { config, most_minutes, .. } = self.size;
        let work = format!("{} random features", config.features);
        let figure = |metric, unit, samples| Figure::new([GROUP, &work, device, metric], unit, samples);
        let bytes = |metric, bytes: u64| figure(metric, "bytes", vec![bytes as f64]);
        let times = |f: &dyn Fn(&[f64; 2]) -> f64| self.times.iter().map(f).collect();
        let error =
            |work: &str, minutes| Figure::new([GROUP, work, device, "test RMSE"], "min", vec![minutes]);
        let errors = &self.errors;
        let mut figures = vec![
            error(&work, errors.random_features).limit(most_minutes),
            figure("time", "s", times(&|[fit, predict]| fit + predict)),
            figure("learning", "rows/s", times(&|[fit, _]| self.train_rows as f64 / fit)),
            bytes("tensor peak", self.stats.peak_tensor_bytes),
            bytes("workspace peak", self.stats.peak_workspace_bytes),
            bytes("reserved peak", self.stats.peak_reserved_bytes),
        ];
        figures.extend(self.stats.driver_bytes.map(|driver| bytes("driver", driver)));
        figures.push(error("least squares, same columns", errors.least_squares));
        figures.push(error("schedule and mean taxi time", errors.schedule));
        figures.push(error("mean delay", errors.mean_delay));
        figures
    }
}

/// Measures this group.
///
/// # Errors
///
/// As [`Flights::read`] and [`run`].
pub fn measure(bench: &mut Bench) -> Result<()> {
    let size = if bench.quick { Size::QUICK } else { Size::FULL };
    let repetitions = if bench.device.is_cuda() { 3 } else { 0 };
    let flights = Flights::read(&bench.data.join(inputs::FLIGHTS))?;
    let rows = flights.train.len().div_ceil(size.train_step) + flights.test.len();
    bench.group(GROUP, rows * (1 + repetitions), |bench, progress| {
        let mut told = None;
        let mut watch = |stage, rows| tell(progress, &mut told, stage, rows);
        let measured = run(&bench.device, &flights, size, repetitions, &mut watch)?;
        bench.add(measured.figures(bench.device_name()));
        Ok(())
    })
}

/// Moves the bar, and says when another stage begins.
fn tell(progress: &mut Progress, told: &mut Option<Stage>, stage: Stage, rows: usize) {
    if told.replace(stage) != Some(stage) {
        progress.step(match stage {
            Stage::Fit => "learning from the flights",
            Stage::Solve => "conjugate gradients",
            Stage::Predict => "predicting the test flights",
        });
    }
    progress.advance(rows as u64);
}

/// This group's part of the page.
pub fn section(bench: &Bench) -> Section {
    let intro = "The arrival delay of real flights from New York City in 2013, from what is known when \
        the time in the air is: ridge regression on random ReLU features, every fifth flight kept for the \
        test. Features are f16, sums f32, and the features of all flights never exist at once. The plan of \
        the same program gave the same peaks, to the byte.\n\n\
        Most of the gain over earlier models of these flights comes from one column, the time that the \
        schedule leaves for taxiing: the rows of simpler methods show how far it goes alone. The limit of \
        the error is the one that the job has to meet.";
    Section::new(GROUP, "Model", intro).with_figures(&bench.report)
}

#[cfg(test)]
mod tests;
