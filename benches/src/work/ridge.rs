//! The real job: ridge regression on random features.
//!
//! The features of a row `x` are `z = relu(x w^T)` with random weights that are never trained, and the prediction is
//! `z v`, where `v` solves `(Z^T Z + lambda n I) v = Z^T t`. Only sums over the rows are needed of `Z`: with
//! [`Technique::Segments`] the features of all rows never exist. `x` brings the constant 1, which makes a column of the
//! weights the bias.
//!
//! What `n` rows and `m` features take, beside the `4 m^2` bytes of the sums: `8 n m` bytes dropped at last use, and as
//! much again for the test rows when everything is kept; `4 n m` in place; `2 n m` in f16; `2 s m` in segments of `s`
//! rows. Outputs to the host save 4 bytes a test row when the sums are gone, which moves no peak here.
//!
//! Source: Rahimi and Recht, "Weighted sums of random kitchen sinks", NIPS 2008.

use super::mlp::Technique;
use crate::flights::WIDTH;
use std::time::Instant;
use taut::{Activation, DType, Device, Error, Kind, Result, Tensor, f16, scope};
use taut_nn::conjugate_gradients;

/// `lambda`: what each row adds to the diagonal.
const RIDGE: f64 = 1e-3;
/// The standard deviation of the random weights.
const WEIGHT_STD: f32 = 0.2;
/// The same for those that meet the constant 1.
const BIAS_STD: f32 = 0.5;
/// Of the random weights.
const SEED: u64 = 2013;

/// The rows, on the host. A plan looks at their number only.
#[derive(Clone, Copy, Debug)]
pub struct Data<'a> {
    /// `[rows, WIDTH]`, to learn from.
    pub train: &'a [f16],
    /// `[rows]`: what these rows should give.
    pub target: &'a [f16],
    /// `[rows, WIDTH]`, to predict.
    pub test: &'a [f16],
}

/// The size of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Random features.
    pub features: usize,
    /// Rows whose features exist at once, from [`Technique::Segments`] on.
    pub segment_rows: usize,
    /// Of conjugate gradients.
    pub iterations: usize,
}

/// Where the job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Summing over the rows to learn from.
    Fit,
    /// Conjugate gradients.
    Solve,
    /// Going over the test rows.
    Predict,
}

/// What the job gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// `[test rows]`. From a plan device, what [reading gives](Device::set_read_value).
    pub predictions: Vec<f32>,
    /// From the upload of the first row until `v` is known.
    pub fit_seconds: f64,
    /// From there until the last prediction is on the host.
    pub predict_seconds: f64,
}

/// Fits random features to `target` and predicts the test rows. `watch` hears of rows when they have been given to the
/// device, which on CUDA runs behind.
///
/// # Errors
///
/// [`OutOfMemory`](taut::ErrorKind::OutOfMemory) if the memory or the budget is exhausted,
/// [`Shape`](taut::ErrorKind::Shape) if `data` has not as many targets as rows.
pub fn random_features(
    device: &Device,
    data: &Data<'_>,
    config: &Config,
    technique: Technique,
    watch: &mut dyn FnMut(Stage, usize),
) -> Result<Outcome> {
    let _scope = scope("random_features");
    let dtype = if technique >= Technique::Half { DType::F16 } else { DType::F32 };
    let weights = Tensor::from_slice(&random_weights(config.features)?, [config.features, WIDTH], device)?;
    let weights = weights.cast(dtype)?.with_kind(Kind::Weights)?;
    let mut kept = Kept::new(technique);
    let features = |x: Tensor| features(kept.hold(x).cast(dtype)?, &weights, technique, &mut kept);
    Job { device, data, config, technique, dtype }.run(features, watch)
}

/// Least squares on the rows themselves, in f32 and in segments: what random features have to beat.
///
/// # Errors
///
/// As [`random_features`].
pub fn least_squares(device: &Device, data: &Data<'_>, segment_rows: usize) -> Result<Outcome> {
    let _scope = scope("least_squares");
    // Without rounding, as many steps as there are columns would be enough.
    let config = Config { features: WIDTH, segment_rows, iterations: 2 * WIDTH };
    let job = Job { device, data, config: &config, technique: Technique::ToHost, dtype: DType::F32 };
    job.run(|x| x.cast(DType::F32), &mut |_, _| {})
}

/// The weights, `[features, WIDTH]`, the same for every device. The first rows are the identity and its negative:
/// `relu(x) - relu(-x) = x`, so that what least squares can say can be said.
fn random_weights(features: usize) -> Result<Vec<f16>> {
    let host = Device::cpu().fresh()?;
    let random =
        Tensor::normal([features, WIDTH], 0.0, WEIGHT_STD, SEED, DType::F32, &host)?.to_vec::<f32>()?;
    let weight = |(i, value): (usize, f32)| {
        let (row, column) = (i / WIDTH, i % WIDTH);
        match row / WIDTH {
            0 => f32::from(u8::from(row == column)),
            1 => -f32::from(u8::from(row - WIDTH == column)),
            _ if column == WIDTH - 1 => value * (BIAS_STD / WEIGHT_STD),
            _ => value,
        }
    };
    Ok(random.into_iter().enumerate().map(weight).map(f16::from_f32).collect())
}

/// `relu(x w^T)`: `[rows, WIDTH] -> [rows, features]`.
fn features(x: Tensor, weights: &Tensor, technique: Technique, kept: &mut Kept) -> Result<Tensor> {
    let _scope = scope("features");
    match technique {
        Technique::Everything => {
            let product = kept.hold(x).linear(weights)?;
            let activated = kept.hold(product).relu()?;
            Ok(kept.hold(activated))
        }
        Technique::Dropped => {
            let product = x.linear(weights)?;
            // Someone else holds the product, so ReLU writes new memory.
            product.clone().relu()
        }
        Technique::InPlace => x.linear(weights)?.relu(),
        Technique::Fused | Technique::Half | Technique::Segments | Technique::ToHost => {
            x.linear_with(weights, None, Activation::Relu)
        }
    }
}

/// What a program without ownership would hold until the end.
struct Kept(Option<Vec<Tensor>>);

impl Kept {
    fn new(technique: Technique) -> Kept {
        Kept((technique == Technique::Everything).then(Vec::new))
    }

    /// Holds `x` as well, if anything is kept.
    fn hold(&mut self, x: Tensor) -> Tensor {
        if let Some(tensors) = &mut self.0 {
            tensors.push(x.clone());
        }
        x
    }
}

/// A regression on features of any kind.
struct Job<'a> {
    device: &'a Device,
    data: &'a Data<'a>,
    config: &'a Config,
    technique: Technique,
    /// Of the features.
    dtype: DType,
}

impl Job<'_> {
    /// Fits and predicts. `features` maps rows in f16 to their features.
    fn run(
        &self,
        mut features: impl FnMut(Tensor) -> Result<Tensor>,
        watch: &mut dyn FnMut(Stage, usize),
    ) -> Result<Outcome> {
        let (data, m) = (self.data, self.config.features);
        let rows = data.target.len();
        if rows * WIDTH != data.train.len() {
            return Err(Error::shape(format!(
                "ridge: {} numbers are not {rows} rows of {WIDTH}",
                data.train.len()
            )));
        }
        let step = if self.technique >= Technique::Segments {
            self.config.segment_rows.max(1)
        } else {
            usize::MAX / WIDTH
        };
        let mut kept = Kept::new(self.technique);

        let start = Instant::now();
        let mut gram = diagonal(m, RIDGE * rows as f64, self.device)?;
        let mut moments = Tensor::zeros([m, 1], DType::F32, self.device)?;
        for (x, target) in data.train.chunks(step * WIDTH).zip(data.target.chunks(step)) {
            let z = features(self.upload(x, WIDTH)?)?;
            let target = kept.hold(self.upload(target, 1)?).cast(self.dtype)?;
            let target = kept.hold(target);
            let _scope = scope("sums");
            gram.addmm_(&z.clone().t()?, &z)?;
            moments.addmm_(&z.t()?, &target)?;
            watch(Stage::Fit, target.numel());
        }
        watch(Stage::Solve, 0);
        let solution = conjugate_gradients(&kept.hold(gram), &kept.hold(moments), self.config.iterations)?;
        self.device.synchronize()?;
        let fit_seconds = start.elapsed().as_secs_f64();

        let start = Instant::now();
        let solution = kept.hold(solution).cast(self.dtype)?;
        let mut predictions = Vec::with_capacity(data.test.len() / WIDTH);
        let mut waiting = Vec::new();
        for x in data.test.chunks(step * WIDTH) {
            let z = features(self.upload(x, WIDTH)?)?;
            let mut prediction = Tensor::zeros([x.len() / WIDTH, 1], DType::F32, self.device)?;
            prediction.addmm_(&z, &solution)?;
            watch(Stage::Predict, prediction.numel());
            if self.technique >= Technique::ToHost {
                predictions.extend(prediction.to_vec::<f32>()?);
            } else {
                waiting.push(prediction);
            }
        }
        for prediction in waiting {
            predictions.extend(prediction.to_vec::<f32>()?);
        }
        Ok(Outcome { predictions, fit_seconds, predict_seconds: start.elapsed().as_secs_f64() })
    }

    fn upload(&self, values: &[f16], width: usize) -> Result<Tensor> {
        Tensor::from_slice(values, [values.len() / width, width], self.device)
    }
}

/// `value` on the diagonal and 0 elsewhere: `[n, n]` in f32, in `n` elements more than it shows.
fn diagonal(n: usize, value: f64, device: &Device) -> Result<Tensor> {
    // The first elements of rows of n + 1 lie where rows of n have their diagonal.
    let row: Vec<f32> = (0..=n).map(|i| if i == 0 { value as f32 } else { 0.0 }).collect();
    let mut rows = Tensor::zeros([n, n + 1], DType::F32, device)?;
    rows.add_(&Tensor::from_slice(&row, [n + 1], device)?)?;
    rows.reshape([n * (n + 1)])?.slice(0, 0..n * n)?.reshape([n, n])
}

#[cfg(test)]
mod tests;
