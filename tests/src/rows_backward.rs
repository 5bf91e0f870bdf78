//! Definitions of the backward of ops over rows in f64, with the errors that a right implementation may make.

use crate::{
    Interval, half_up,
    rows::{chain, exp_error},
};
use taut::{DType, Norm};

/// Twice for f64, in which definitions err as well.
fn times(dtype: DType) -> f64 {
    if dtype == DType::F64 { 2.0 } else { 1.0 }
}

/// Additions that a sum of `n` terms is behind: those of f64 as many as the definition makes, one after the other.
fn behind(n: usize, dtype: DType) -> f64 {
    if dtype == DType::F64 { n as f64 } else { chain(n) }
}

/// The least normal number, below which functions may give nothing.
fn least(dtype: DType) -> f64 {
    if dtype == DType::F64 { f64::MIN_POSITIVE } else { f64::from(f32::MIN_POSITIVE) }
}

/// The gradients of a row, from those of its softmax, each beside the output.
pub fn softmax_backward(pairs: &[(f64, f64)], scale: f32, dtype: DType) -> Vec<Interval> {
    let (u, scale) = (times(dtype) * half_up(dtype), f64::from(scale));
    let products = pairs.iter().map(|&(grad, y)| if y == 0.0 { 0.0 } else { grad * y });
    let (sum, most) = products.fold((0.0, 0.0), |(sum, most), x| (sum + x, most + x.abs()));
    let error = (behind(pairs.len(), dtype) + 2.0) * u * most;
    let gradient = |&(grad, y): &(f64, f64)| {
        if y == 0.0 {
            return Interval::around(0.0, 0.0);
        }
        let x = y * (grad - sum) * scale;
        Interval::around(
            x,
            (y * scale).abs() * error + 4.0 * u * x.abs() + least(dtype) * u * (1.0 + scale.abs()),
        )
    };
    pairs.iter().map(gradient).collect()
}

/// The gradients of a row, from those of the logarithm of its softmax, each beside the output.
pub fn log_softmax_backward(pairs: &[(f64, f64)], dtype: DType) -> Vec<Interval> {
    let u = times(dtype) * half_up(dtype);
    let (sum, most) = pairs.iter().fold((0.0, 0.0), |(sum, most), (x, _)| (sum + x, most + x.abs()));
    let error = behind(pairs.len(), dtype) * u * most;
    let gradient = |&(grad, y): &(f64, f64)| {
        let part = y.exp() * sum;
        let wrong = y.exp() * error + (exp_error(y) + 2.0) * u * part.abs() + least(dtype) * sum.abs();
        Interval::around(grad - part, wrong + 2.0 * u * (grad - part).abs())
    };
    pairs.iter().map(gradient).collect()
}

/// What a norm makes of a row before its weight, each with its error, and the factor that it multiplies by.
struct Normed {
    /// Elements less their mean.
    apart: Vec<f64>,
    apart_error: f64,
    factor: f64,
    factor_error: f64,
}

impl Normed {
    fn of(op: Norm, x: &[f64], eps: f32, dtype: DType) -> Normed {
        let (n, u, eps) = (x.len() as f64, times(dtype) * half_up(dtype), f64::from(eps));
        let squares = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>();
        if op != Norm::Layer {
            let norm = squares(x).sqrt();
            let below = match op {
                Norm::Rms => (squares(x) / n + eps).sqrt(),
                _ if norm < eps => eps,
                _ => norm,
            };
            // Half of the error of the sum, for the root, and the functions.
            let factor_error = (0.5 * behind(x.len(), dtype) + 8.0) * u / below;
            return Normed { apart: x.to_vec(), apart_error: 0.0, factor: 1.0 / below, factor_error };
        }
        let mean = x.iter().sum::<f64>() / n;
        let apart: Vec<f64> = x.iter().map(|x| x - mean).collect();
        let most = apart.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        // As in the definition of the norm itself.
        let error = (behind(x.len(), dtype) + 8.0) * 2.0 * most * u;
        let error = error + (n + 2.0) * f64::EPSILON * x.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        let variance = squares(&apart) / n;
        let wrong =
            2.0 * error * variance.sqrt() + error * error + (behind(x.len(), dtype) + 8.0) * u * variance;
        let factor = |variance: f64| 1.0 / (variance.max(0.0) + eps).sqrt();
        let factor_error = factor(variance - wrong) - factor(variance + wrong) + 8.0 * u * factor(variance);
        Normed { apart, apart_error: error, factor: factor(variance), factor_error }
    }

    /// Each element, and its error.
    fn values(&self, u: f64) -> Vec<(f64, f64)> {
        let value = |x: &f64| {
            let y = x * self.factor;
            (
                y,
                self.apart_error * (self.factor + self.factor_error)
                    + x.abs() * self.factor_error
                    + 3.0 * u * y.abs(),
            )
        };
        self.apart.iter().map(value).collect()
    }
}

/// The gradients of a row, from those of its norm times the weight, each beside the element of the row.
pub fn norm_backward(op: Norm, rows: &[(f64, f64)], eps: f32, weight: &[f64], dtype: DType) -> Vec<Interval> {
    if rows.iter().any(|(grad, x)| !grad.is_finite() || !x.is_finite()) {
        return vec![Interval::around(f64::NAN, 0.0); rows.len()];
    }
    let (n, u) = (rows.len() as f64, times(dtype) * half_up(dtype));
    let x: Vec<f64> = rows.iter().map(|&(_, x)| x).collect();
    let grad: Vec<f64> = rows.iter().zip(weight).map(|(&(grad, _), weight)| grad * weight).collect();
    let normed = Normed::of(op, &x, eps, dtype);
    let Normed { ref apart, apart_error, factor, factor_error } = normed;
    let share = match op {
        Norm::L2 if x.iter().map(|x| x * x).sum::<f64>().sqrt() < f64::from(eps) => 0.0,
        Norm::L2 => 1.0,
        _ => 1.0 / n,
    };
    let (sum, all) = grad.iter().fold((0.0, 0.0), |(sum, all), x| (sum + x, all + x.abs()));
    let products = grad.iter().zip(apart).map(|(grad, x)| grad * x);
    let (product, most) = products.fold((0.0, 0.0), |(sum, most), x| (sum + x, most + x.abs()));
    let (shift, shift_error) =
        if op == Norm::Layer { (sum / n, (behind(x.len(), dtype) + 3.0) * u * all / n) } else { (0.0, 0.0) };
    let slope = factor * product * share;
    let product_error = (behind(x.len(), dtype) + 5.0) * u * most + 2.0 * apart_error * all;
    let slope_error = share * ((factor + factor_error) * product_error + factor_error * product.abs())
        + 4.0 * u * slope.abs();
    let gradient = |(grad, (normal, error)): (&f64, (f64, f64))| {
        let inner = grad - shift - normal * slope;
        let wrong = 3.0 * u * (grad.abs() + shift.abs() + 2.0 * (normal * slope).abs())
            + shift_error
            + (error * slope.abs() + (normal.abs() + error) * slope_error);
        let y = inner * factor;
        Interval::around(y, wrong * (factor + factor_error) + inner.abs() * factor_error + 2.0 * u * y.abs())
    };
    grad.iter().zip(normed.values(u)).map(gradient).collect()
}

/// The gradients of the weight and of the bias of a norm over rows of `n` elements.
pub fn norm_weight_backward(
    op: Norm,
    grad: &[f64],
    x: &[f64],
    n: usize,
    eps: f32,
    dtype: DType,
) -> [Vec<Interval>; 2] {
    let (u, rows) = (times(dtype) * half_up(dtype), x.len().checked_div(n).unwrap_or(0));
    let mut sums = vec![[(0.0, 0.0, 0.0); 2]; n];
    for row in 0..rows {
        let part = row * n..(row + 1) * n;
        let normed = Normed::of(op, &x[part.clone()], eps, dtype).values(u);
        for ((sums, grad), (normal, error)) in sums.iter_mut().zip(&grad[part]).zip(normed) {
            for (sum, (factor, error)) in sums.iter_mut().zip([(normal, error), (1.0, 0.0)]) {
                let y = grad * factor;
                *sum = (sum.0 + y, sum.1 + y.abs(), sum.2 + grad.abs() * error);
            }
        }
    }
    // Each addition errs by half an ulp of the magnitudes at most.
    let around =
        |(sum, most, error): (f64, f64, f64)| Interval::around(sum, error + (rows as f64 + 3.0) * u * most);
    [0, 1].map(|which| sums.iter().map(|sums| around(sums[which])).collect())
}

/// Parameters of a cross entropy.
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy {
    /// The share of a target that all classes have evenly.
    pub smoothing: f32,
    /// Of gradients.
    pub scale: f64,
    /// Of the logits.
    pub dtype: DType,
}

/// The loss of a row, and the gradients of its logits; `None` for a row that is ignored.
pub fn cross_entropy(x: &[f64], label: Option<usize>, by: CrossEntropy) -> (Interval, Vec<Interval>) {
    let CrossEntropy { smoothing, scale, dtype } = by;
    let (n, u, smoothing) = (x.len() as f64, times(dtype) * half_up(dtype), f64::from(smoothing));
    let Some(label) = label else {
        let zero = Interval::around(0.0, 0.0);
        return (zero, vec![zero; x.len()]);
    };
    let nan = Interval::around(f64::NAN, 0.0);
    let max = x.iter().fold(f64::NEG_INFINITY, |max, &x| max.max(x));
    if x.iter().any(|x| x.is_nan()) || max.is_infinite() {
        return (nan, vec![nan; x.len()]);
    }
    let exps = x.iter().map(|x| ((x - max).exp(), exp_error(x - max)));
    let (sum, wrong) = exps.fold((0.0, 0.0), |(sum, wrong), (e, error)| {
        (sum + e, if e == 0.0 { wrong } else { wrong + error * e })
    });
    let error = (wrong / sum + behind(x.len(), dtype)) * u;
    let (log, apart) = (sum.ln(), max - x[label]);
    let mut loss = apart + log;
    let mut loss_error = error + (2.0 * apart.abs() + 6.0 * log + 2.0 * loss.abs()) * u;
    if smoothing > 0.0 {
        let all: f64 = x.iter().sum();
        let most: f64 = x.iter().map(|x| x.abs()).sum();
        let even = max - all / n + log;
        loss = (1.0 - smoothing) * loss + smoothing * even;
        loss_error +=
            (behind(x.len(), dtype) + 4.0) * u * most / n + (4.0 * (max.abs() + even.abs()) + 6.0 * log) * u;
    }
    let gradient = |(i, x): (usize, &f64)| {
        let y = (x - max).exp() / sum;
        let target = if i == label { 1.0 - smoothing } else { 0.0 } + smoothing / n;
        let error = y * (error + (exp_error(x - max) + 6.0) * u) + 3.0 * u * (y + target) + least(dtype);
        Interval::around((y - target) * scale, scale.abs() * (error + u * (y - target).abs()))
    };
    (Interval::around(loss, loss_error), x.iter().enumerate().map(gradient).collect())
}
