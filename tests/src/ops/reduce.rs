//! Reductions, and running sums.

use crate::{Array, Fill, Grid, Interval, Op, Use, Value, Want, first, half_up, sum_error};
use taut::{DType, Reduce, Scan};

/// Which axes go, in a bench.
#[derive(Clone, Copy)]
enum Axes {
    All,
    Rows,
    Columns,
}

pub(super) fn ops() -> Vec<Op> {
    let mut ops = Vec::new();
    for op in Reduce::ALL {
        ops.extend([Axes::All, Axes::Rows, Axes::Columns].map(|axes| reduction(op, axes)));
    }
    ops.extend(
        [("cumsum, rows", true), ("cumsum, columns", false)].map(|(name, rows)| running_sum(name, rows)),
    );
    ops
}

fn reduction(usual: Reduce, axes: Axes) -> Op {
    let name = match axes {
        Axes::All => "all",
        Axes::Rows => "rows",
        Axes::Columns => "columns",
    };
    Op::new(
        format!("{}, {name}", usual.name()),
        move |dtype| usual.output(dtype).is_some(),
        move |draw| {
            let rank = draw.rank();
            let mask = draw.below(1 << rank);
            let named: Vec<usize> = match axes {
                Axes::All if draw.is_bench() => Vec::new(),
                Axes::All => (0..rank).filter(|axis| mask >> axis & 1 == 1).collect(),
                Axes::Rows => vec![rank.checked_sub(1)?],
                Axes::Columns => vec![rank.checked_sub(2)?],
            };
            let gone: Vec<usize> = if named.is_empty() { (0..rank).collect() } else { named.clone() };
            let n: usize = gone.iter().map(|&axis| draw.shape[axis]).product();
            let dtype = draw.dtype;
            if usual.needs_elements() && n == 0 {
                return None;
            }
            // Longer products of floats leave f32 on the way, in some orders and not in others.
            if usual == Reduce::Prod && dtype.is_float() && n > 100 && !draw.is_bench() {
                return None;
            }
            let (op, fill) = match usual {
                Reduce::Var { .. } => (Reduce::Var { correction: draw.one_of(&[1, 0, 2]) }, Fill::Wild),
                Reduce::Std { .. } => (Reduce::Std { correction: draw.one_of(&[1, 0, 2]) }, Fill::Wild),
                // Squares of any numbers leave f32.
                Reduce::MeanSquare => (usual, draw.one_of(&[Fill::Tame, Fill::Wild])),
                Reduce::Sum | Reduce::Mean => (usual, draw.one_of(&[Fill::Tame, Fill::Wild, Fill::Whole])),
                Reduce::Prod => (usual, draw.one_of(&[Fill::Tame, Fill::Wild])),
                _ => (usual, draw.one_of(&[Fill::Tame, Fill::Wild, Fill::Any])),
            };
            let make = Use::new(
                [draw.operand(fill)],
                {
                    let named = named.clone();
                    move |x| first(x)?.reduce(op, &named)
                },
                move |x| define(op, &x[0], &gone),
            );
            Some(make.note(format!("{op:?} over {named:?}")))
        },
    )
}

fn define(op: Reduce, x: &Array, axes: &[usize]) -> Want {
    let (shape, groups) = groups(&x.shape, axes);
    let groups = groups.into_iter().map(|group| group.into_iter().map(|i| x.values[i]).collect::<Vec<_>>());
    let dtype = op.output(x.dtype).unwrap_or(x.dtype);
    let counts = matches!(op, Reduce::Sum | Reduce::Prod) && !x.dtype.is_float();
    match op {
        Reduce::Max | Reduce::Min | Reduce::ArgMax | Reduce::ArgMin | Reduce::Any | Reduce::All => {
            Want::exact(&shape, dtype, groups.map(|group| exact(op, &group)).collect())
        }
        _ if counts => Want::exact(&shape, dtype, groups.map(|group| exact(op, &group)).collect()),
        _ => {
            let floats = groups.map(|group| group.iter().map(|x| x.float()).collect::<Vec<_>>());
            Want::within(&shape, dtype, floats.map(|group| interval(op, &group, x.dtype)).collect())
        }
    }
}

/// The shape that is left, and for each result the numbers of the elements that it is made of.
fn groups(shape: &[usize], axes: &[usize]) -> (Vec<usize>, Vec<Vec<usize>>) {
    let kept: Vec<usize> = (0..shape.len()).filter(|axis| !axes.contains(axis)).collect();
    let out = Grid::new(&kept.iter().map(|&axis| shape[axis]).collect::<Vec<_>>());
    let mut groups = vec![Vec::new(); out.index.len()];
    let all = Grid::new(shape);
    for i in 0..all.index.len() {
        let coordinates = all.coordinates(i);
        groups[out.at(&kept.iter().map(|&axis| coordinates[axis]).collect::<Vec<_>>())].push(i);
    }
    (out.shape, groups)
}

fn exact(op: Reduce, group: &[Value]) -> Value {
    let int = |x: &Value| if let Value::Int(x) = x { *x } else { 0 };
    let largest = matches!(op, Reduce::Max | Reduce::ArgMax);
    match op {
        Reduce::Sum => Value::Int(group.iter().map(int).fold(0, i64::wrapping_add)),
        Reduce::Prod => Value::Int(group.iter().map(int).fold(1, i64::wrapping_mul)),
        Reduce::Any => Value::Int(group.iter().any(|x| int(x) != 0).into()),
        Reduce::All => Value::Int(group.iter().all(|x| int(x) != 0).into()),
        Reduce::Max | Reduce::Min => {
            let best = group.iter().copied().reduce(|a, b| if beats(b, a, largest, true) { b } else { a });
            best.unwrap_or(Value::Int(-1))
        }
        _ => {
            let places = 0..group.len();
            let best = places.reduce(|a, b| if beats(group[b], group[a], largest, false) { b } else { a });
            Value::Int(best.map_or(-1, |best| best as i64))
        }
    }
}

/// Whether `a` is before `b` for sure: NaN is before all else; 0 and -0 differ where `signs` count.
fn beats(a: Value, b: Value, largest: bool, signs: bool) -> bool {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => {
            if largest {
                a > b
            } else {
                a < b
            }
        }
        (a, b) => {
            let (a, b) = (a.float(), b.float());
            let zeros = a == 0.0 && b == 0.0 && signs;
            let order = if zeros {
                b.is_sign_negative().cmp(&a.is_sign_negative())
            } else {
                a.partial_cmp(&b).unwrap_or(std::cmp::Ordering::Equal)
            };
            let order = if largest { order } else { order.reverse() };
            !b.is_nan() && (a.is_nan() || order.is_gt())
        }
    }
}

/// Where the result over floats may lie before it is rounded.
fn interval(op: Reduce, x: &[f64], dtype: DType) -> Interval {
    let (n, u) = (x.len() as f64, half_up(dtype));
    match op {
        Reduce::Mean => {
            let mean = sum(x, dtype).map(|x| x / n);
            // One more rounding, of the quotient.
            widened(mean, u * mean.low.abs().max(mean.high.abs()))
        }
        // A rounding for each factor; the definition rounds as often, in f64.
        Reduce::Prod => {
            let product: f64 = x.iter().product();
            Interval::around(product, 2.0 * n * u * product.abs())
        }
        Reduce::MeanSquare => {
            let mean = x.iter().map(|x| x * x).sum::<f64>() / n;
            Interval::around(mean, (n + 4.0) * u * mean)
        }
        Reduce::Norm => {
            let norm = norm(x);
            Interval::around(norm, (n + 4.0) * u * norm)
        }
        Reduce::Var { .. } => variance(x, op.divisor(x.len()), u),
        Reduce::Std { .. } => {
            let var = variance(x, op.divisor(x.len()), u);
            let std = var.map(|x| x.max(0.0).sqrt());
            if var.low.is_nan() { var } else { widened(std, 2.0 * u * std.high) }
        }
        Reduce::LogSumExp => log_sum_exp(x, u),
        _ => sum(x, dtype),
    }
}

fn widened(interval: Interval, by: f64) -> Interval {
    if !interval.low.is_finite() {
        return interval;
    }
    Interval { low: interval.low - by, high: interval.high + by }
}

/// Sums of whole numbers that f32 can count have no error at all.
fn sum(x: &[f64], dtype: DType) -> Interval {
    let counts = x.iter().all(|x| x.fract() == 0.0) && x.iter().map(|x| x.abs()).sum::<f64>() <= 16_777_216.0;
    if counts { Interval::around(x.iter().sum(), 0.0) } else { sum_error(x, dtype) }
}

/// Without a square that is too large or too small.
fn norm(x: &[f64]) -> f64 {
    let largest = x.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
    if x.iter().any(|x| x.is_nan()) {
        return f64::NAN;
    }
    if largest == 0.0 || largest.is_infinite() {
        return largest;
    }
    // By a power of two, which is exact; in two steps, since that of a subnormal number is too large.
    let scale = 2f64.powi(-(largest.log2().floor() as i32) / 2);
    x.iter().map(|x| x * scale * scale).map(|x| x * x).sum::<f64>().sqrt() / scale / scale
}

/// Each of `n` steps errs by half an ulp of the variance so far, and of how far the mean moves times how far it can.
fn variance(x: &[f64], divisor: f64, u: f64) -> Interval {
    let n = x.len() as f64;
    // Counted from one of them, so that the definition itself is exact for equal numbers.
    let shift = x.first().copied().unwrap_or_default();
    let mean = shift + x.iter().map(|x| x - shift).sum::<f64>() / n;
    let mean_square = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
    let low = x.iter().copied().fold(f64::INFINITY, f64::min);
    let range = x.iter().copied().fold(f64::NEG_INFINITY, f64::max) - low;
    // The mean errs too, above as in an f64: by so much.
    let shift = 2.0 * (n + 2.0) * f64::EPSILON * x.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    let error = 4.0 * (n + 2.0) * u * (mean_square + range * mean_square.sqrt());
    let error = error + shift * (shift + 2.0 * mean_square.sqrt());
    let var = mean_square / divisor;
    // 0 divided by 0 is NaN, something divided by 0 infinite.
    if divisor > 0.0 { Interval::around(var, error / divisor) } else { Interval::around(var, 0.0) }
}

/// An addition for each term, at most one rescaling for each, and exponentials that err by a few ulps.
fn log_sum_exp(x: &[f64], u: f64) -> Interval {
    let largest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if x.iter().any(|x| x.is_nan()) {
        return Interval::around(f64::NAN, 0.0);
    }
    if largest.is_infinite() {
        return Interval::around(largest, 0.0);
    }
    let log = x.iter().map(|x| (x - largest).exp()).sum::<f64>().ln();
    let y = largest + log;
    Interval::around(y, (6.0 * x.len() as f64 + 32.0) * u + 2.0 * u * (log + y.abs()))
}

fn running_sum(name: &'static str, rows: bool) -> Op {
    let op = Op::new(
        name,
        |dtype| Scan::Sum.output(dtype).is_some(),
        move |draw| {
            let (rank, axis) = (draw.rank(), draw.axis()?);
            let axis = if rows { axis } else { rank.checked_sub(2)? };
            let fill = draw.one_of(&[Fill::Tame, Fill::Wild, Fill::Whole]);
            let make = Use::new(
                [draw.operand(fill)],
                move |x| first(x)?.cumsum(axis),
                move |x| sums_so_far(&x[0], axis),
            );
            Some(make.note(format!("along {axis}")))
        },
    );
    op.in_place()
}

fn sums_so_far(x: &Array, axis: usize) -> Want {
    let dtype = Scan::Sum.output(x.dtype).unwrap_or(x.dtype);
    let (n, inner) = (x.shape[axis], x.shape[axis + 1..].iter().product::<usize>());
    let before = |i: usize| (!(i / inner).is_multiple_of(n)).then(|| i - inner);
    if !x.dtype.is_float() {
        let mut sums: Vec<i64> = Vec::with_capacity(x.values.len());
        for (i, value) in x.values.iter().enumerate() {
            let Value::Int(value) = value else { continue };
            sums.push(before(i).map_or(0, |i| sums[i]).wrapping_add(*value));
        }
        return Want::exact(&x.shape, dtype, sums.into_iter().map(Value::Int).collect());
    }
    // The sum, the sum of magnitudes, and whether f32 counts both.
    let mut sums: Vec<(f64, f64, bool)> = Vec::with_capacity(x.values.len());
    for (i, value) in x.floats().into_iter().enumerate() {
        let (sum, size, counts) = before(i).map_or((0.0, 0.0, true), |i| sums[i]);
        let size = size + value.abs();
        sums.push((sum + value, size, counts && value.fract() == 0.0 && size <= 16_777_216.0));
    }
    let error = |(i, (sum, size, counts)): (usize, (f64, f64, bool))| {
        let n = (i / inner % n + 1) as f64;
        Interval::around(sum, if counts { 0.0 } else { 2.0 * n * half_up(x.dtype) * size })
    };
    Want::within(&x.shape, dtype, sums.into_iter().enumerate().map(error).collect())
}
