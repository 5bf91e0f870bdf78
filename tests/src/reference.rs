//! Definitions in f64, and i64 for integers, with the errors that a right implementation may make.

use crate::Interval;
use taut::DType;

/// Half an ulp of 1 in what floats of `dtype` are computed in: the relative error of one operation.
pub fn half_up(dtype: DType) -> f64 {
    if dtype == DType::F64 { f64::EPSILON / 2.0 } else { f64::from(f32::EPSILON) / 2.0 }
}

/// The sum of floats of `dtype`, in any order: each of `n` additions errs by half an ulp of at most the sum of
/// magnitudes. Doubled, because the definition adds in f64, which for f64 errs as much.
pub fn sum_error(values: &[f64], dtype: DType) -> Interval {
    let (sum, magnitude) =
        values.iter().fold((0.0, 0.0), |(sum, magnitude), x| (sum + x, magnitude + x.abs()));
    Interval::around(sum, 2.0 * values.len() as f64 * half_up(dtype) * magnitude)
}

/// A dot product of `k` terms with `start` added: an ulp of the magnitudes for each product and each addition, since
/// tensor cores cut off where others round.
pub fn product_error(terms: impl Iterator<Item = (f64, f64)>, start: f64, dtype: DType) -> Interval {
    let zero = (start, start.abs(), 2.0);
    let (sum, magnitude, n) = terms.fold(zero, |(sum, magnitude, n), (a, b)| {
        let product = a * b;
        (sum + product, magnitude + product.abs(), n + 1.0)
    });
    Interval::around(sum, n * 2.0 * half_up(dtype) * magnitude)
}
