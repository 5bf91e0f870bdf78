//! The definition of attention in f64, with the error that a right implementation may make.

use crate::{Interval, half_up};
use taut::{Attention, DType};

/// The result for one query: `keys` and `values` are those that it sees, in rows of the length of `q`. Values are
/// finite.
pub fn attended(q: &[f64], keys: &[f64], values: &[f64], scale: f64, dtype: DType) -> Vec<Interval> {
    let (dim, u) = (q.len(), half_up(dtype));
    let dots = keys.chunks(dim.max(1)).map(|k| {
        let terms = || q.iter().zip(k).map(|(a, b)| a * b);
        (scale * terms().sum::<f64>(), scale * terms().map(f64::abs).sum::<f64>())
    });
    let dots: Vec<(f64, f64)> = dots.collect();
    if dots.iter().any(|(score, _)| score.is_nan() || *score == f64::INFINITY) {
        return vec![Interval::around(f64::NAN, 0.0); dim];
    }
    let max = dots.iter().fold(f64::NEG_INFINITY, |max, (score, _)| max.max(*score));
    if max == f64::NEG_INFINITY {
        return vec![Interval::around(0.0, 0.0); dim];
    }
    // For each key its weight, and the relative error of that: of the score, an ulp for each product and sum; of its
    // distance from the largest, which is rounded with both, and of the function; of each step to a larger maximum.
    let steps = (dots.len() / 16 + 16) as f64;
    let weights: Vec<(f64, f64)> = dots
        .iter()
        .filter(|(score, _)| *score > f64::NEG_INFINITY)
        .map(|(score, magnitude)| {
            let error = 2.0 * (dim + 2) as f64 * magnitude + 4.0 * (score.abs() + max.abs()) + 10.0 + steps;
            ((score - max).exp(), (error * u).exp_m1())
        })
        .collect();
    let total: f64 = weights.iter().map(|(weight, _)| weight).sum();
    // Weights of 16 bits are rounded, and there below the normal numbers of f16 to multiples of 2^-24.
    let (rounding, least) = match dtype {
        DType::F16 => (2f64.powi(-11), 2f64.powi(-25)),
        DType::BF16 => (2f64.powi(-8), 0.0),
        _ => (0.0, 0.0),
    };
    let sums = 2.0 * (weights.len() + 8) as f64 * u;
    let wrong: f64 = weights.iter().map(|(weight, error)| weight * error).sum::<f64>() / total;
    let column = |col: usize| {
        let seen = dots.iter().zip(values.iter().skip(col).step_by(dim));
        let values = seen.filter(|((score, _), _)| *score > f64::NEG_INFINITY).map(|(_, value)| *value);
        let terms = weights.iter().zip(values);
        let (mut y, mut error) = (0.0, 0.0);
        for ((weight, own), value) in terms {
            y += weight * value / total;
            error += (weight * (own + rounding + sums) + least) * value.abs() / total;
        }
        Interval::around(y, error + (wrong + sums) * y.abs() + f64::from(f32::MIN_POSITIVE) * u)
    };
    (0..dim).map(column).collect()
}

/// Heads, and the rows of a sequence.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Of queries.
    pub heads: usize,
    /// Of keys and values.
    pub kv_heads: usize,
    /// Queries.
    pub len: usize,
    /// Keys.
    pub kv_len: usize,
    /// Elements of a row.
    pub dim: usize,
}

/// The result for one sequence: operands and result are `[heads, rows, dim]`, row-major.
pub fn attention(of: Heads, [q, k, v]: [&[f64]; 3], options: Attention, dtype: DType) -> Vec<Interval> {
    let Heads { heads, kv_heads, len, kv_len, dim } = of;
    let rows = (0..heads).flat_map(|head| (0..len).map(move |row| (head, row)));
    let row = |(head, row): (usize, usize)| {
        let start = head / (heads / kv_heads) * kv_len * dim;
        let seen = start..start + options.seen(row, len, kv_len) * dim;
        let q = &q[(head * len + row) * dim..][..dim];
        attended(q, &k[seen.clone()], &v[seen], options.factor(dim), dtype)
    };
    rows.flat_map(row).collect()
}
