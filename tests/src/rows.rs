//! Definitions of ops over rows in f64, with the errors that a right implementation may make.

use crate::{Interval, half_up, round};
use taut::DType;

/// Lengths of rows around what a warp, a block, a pass and a cluster hold, in packs and single elements.
pub const ROW_LENGTHS: [usize; 21] = [
    1, 2, 31, 32, 33, 128, 129, 256, 257, 513, 1025, 4096, 8192, 8193, 16_384, 16_392, 32_768, 33_000,
    65_544, 131_072, 131_077,
];

/// Of these one for each way to go, but for the longest.
pub const FEW_ROW_LENGTHS: [usize; 8] = [1, 33, 257, 1025, 4096, 8193, 33_000, 65_544];

/// The rows of an array along an axis, each as a list, and what `f` makes of them in their places.
pub fn by_rows<X: Copy, Y: Clone>(
    shape: &[usize],
    axis: usize,
    values: &[X],
    mut f: impl FnMut(&[X], usize) -> Vec<Y>,
) -> Vec<Y> {
    let (n, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
    let mut out: Vec<Option<Y>> = vec![None; values.len()];
    for row in 0..values.len().checked_div(n).unwrap_or(0) {
        let places = || (0..n).map(|k| (row / inner * n + k) * inner + row % inner);
        let x: Vec<X> = places().map(|i| values[i]).collect();
        places().zip(f(&x, row)).for_each(|(i, y)| out[i] = Some(y));
    }
    out.into_iter().flatten().collect()
}

/// What a float is computed in.
fn wide(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// Additions that one result is behind at most, of `n` terms: sums are taken side by side and then joined.
pub(crate) fn chain(n: usize) -> f64 {
    n.min(64 + n / 64) as f64
}

/// What a row of a softmax is: the largest, and the sum of what is left of `exp`, with its relative error.
struct Peak {
    max: f64,
    sum: f64,
    error: f64,
}

/// Half ulps that `exp(d)` errs by: `d` is rounded, and so is its product with a rounded log2(e), which is felt as much
/// as `d` is large; then 2 ulps of the function, and as much again for a factor between two maxima.
pub(crate) fn exp_error(d: f64) -> f64 {
    if d == f64::NEG_INFINITY { 0.0 } else { 3.0 * d.abs() + 10.0 }
}

fn peak(x: &[f64], dtype: DType) -> Peak {
    let max = x.iter().fold(f64::NEG_INFINITY, |max, &x| max.max(x));
    let exps = x.iter().map(|x| ((x - max).exp(), exp_error(x - max)));
    let (sum, error) = exps.fold((0.0, 0.0), |(sum, error), (e, err)| {
        // 0 times infinity is no error.
        (sum + e, if e == 0.0 { error } else { error + e * err })
    });
    Peak { max, sum, error: (error / sum + chain(x.len())) * half_up(dtype) }
}

/// Whether the sum over a row is NaN.
fn spoils(x: &[f64]) -> bool {
    x.iter().any(|x| x.is_nan() || *x == f64::INFINITY)
}

/// The softmax of a row; `nothing` where no element is larger than -inf.
pub fn softmax(x: &[f64], nothing: f64, dtype: DType) -> Vec<Interval> {
    if spoils(x) {
        return vec![Interval::around(f64::NAN, 0.0); x.len()];
    }
    if x.iter().all(|x| *x == f64::NEG_INFINITY) {
        return vec![Interval::around(nothing, 0.0); x.len()];
    }
    let Peak { max, sum, error } = peak(x, dtype);
    // The least normal number, below which there may be nothing; above 0 there may be the least there is.
    let (least, tiny) =
        if dtype == DType::F64 { (f64::MIN_POSITIVE, 0.0) } else { (2f64.powi(-126), 2f64.powi(-148)) };
    let y = x.iter().map(|x| {
        // 0 in f64 already, and its error as a factor without bounds.
        if x - max < -800.0 {
            return Interval { low: 0.0, high: tiny };
        }
        let y = (x - max).exp() / sum;
        let error = error + (exp_error(x - max) + 5.0) * half_up(dtype);
        // An error of the logarithm.
        Interval { low: (y * (-error).exp() - least).max(0.0), high: y * error.exp() + tiny }
    });
    // What takes no part is 0.
    y.zip(x).map(|(y, x)| if *x == f64::NEG_INFINITY { Interval::around(0.0, 0.0) } else { y }).collect()
}

/// The logarithm of the softmax of a row.
pub fn log_softmax(x: &[f64], dtype: DType) -> Vec<Interval> {
    if spoils(x) || x.iter().all(|x| *x == f64::NEG_INFINITY) {
        return vec![Interval::around(f64::NAN, 0.0); x.len()];
    }
    let Peak { max, sum, error } = peak(x, dtype);
    let y = x.iter().map(|x| {
        let (d, log) = (x - max, sum.ln());
        // Both differences are rounded; the logarithm errs by two ulps and by what the sum does.
        let error = error + (2.0 * d.abs() + 6.0 * log + 2.0) * half_up(dtype);
        Interval::around(d - log, error)
    });
    y.collect()
}

/// `scale * x` as it is rounded before a softmax.
pub fn scaled(x: f64, scale: f32, dtype: DType) -> f64 {
    round(x * f64::from(scale), wide(dtype))
}

/// The sum of two as it is rounded before a norm.
pub fn added(a: f64, b: f64, dtype: DType) -> f64 {
    round(round(a + b, wide(dtype)), dtype)
}

/// What there is for each element of a row: factor and what is added.
pub type Affine = (f64, f64);

/// The layer norm of a row.
pub fn layer_norm(x: &[f64], eps: f32, affine: &[Affine], dtype: DType) -> Vec<Interval> {
    if x.iter().any(|x| !x.is_finite()) {
        return vec![Interval::around(f64::NAN, 0.0); x.len()];
    }
    let (n, u) = (x.len() as f64, half_up(dtype));
    let mean = x.iter().sum::<f64>() / n;
    let apart = x.iter().fold(0.0f64, |most, x| most.max((x - mean).abs()));
    let squares = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
    // The mean is a sum of distances from an element, at most twice as far as from the mean; each is rounded.
    let error = (chain(x.len()) + 8.0) * 2.0 * apart * u;
    // The mean above is a sum of f64.
    let error = error + (n + 2.0) * f64::EPSILON * x.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    let wrong = 2.0 * error * squares.sqrt() + error * error + (chain(x.len()) + 8.0) * u * squares;
    let factor = |squares: f64| 1.0 / (squares.max(0.0) + f64::from(eps)).sqrt();
    let [least, most] =
        [factor(squares + wrong) * (1.0 - 8.0 * u), factor(squares - wrong) * (1.0 + 8.0 * u)];
    let y = x.iter().zip(affine).map(|(x, &(weight, bias))| {
        let ends = [x - mean - error, x - mean + error];
        let ends = ends.map(|d| [d * least * weight, d * most * weight]);
        let low = ends.as_flattened().iter().copied().fold(f64::INFINITY, f64::min);
        let high = ends.as_flattened().iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let rounding = 3.0 * u * (low.abs().max(high.abs()) + bias.abs());
        Interval { low: low + bias - rounding, high: high + bias + rounding }
    });
    y.collect()
}

/// The RMS norm of a row, or without `eps` added but as a bound of the norm, its L2 norm.
pub fn scale_norm(x: &[f64], eps: f32, rms: bool, affine: &[Affine], dtype: DType) -> Vec<Interval> {
    let (n, eps, u) = (x.len() as f64, f64::from(eps), half_up(dtype));
    let squares = x.iter().map(|x| x * x).sum::<f64>();
    let below = if rms { (squares / n + eps).sqrt() } else { squares.sqrt() };
    let below = if !rms && below < eps { eps } else { below };
    // Half of the error of the sum, for the root; the functions and products.
    let error = (0.5 * chain(x.len()) + 12.0) * u;
    let y = x.iter().zip(affine).map(|(x, (weight, _))| {
        // By multiplication: what is infinite is NaN, all else beside it 0.
        let y = x * (1.0 / below) * weight;
        Interval::around(y, error * y.abs())
    });
    y.collect()
}
