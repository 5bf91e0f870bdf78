//! Definitions in f64, and i64 for integers, with the errors that a right implementation may make.

use crate::{Interval, Value, cast, round};
use taut::{Binary, DType, Unary};

/// What floats of `dtype` are computed in.
fn wide(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// Half an ulp of 1 in what floats of `dtype` are computed in: the relative error of one operation.
pub fn half_up(dtype: DType) -> f64 {
    if dtype == DType::F64 { f64::EPSILON / 2.0 } else { f64::from(f32::EPSILON) / 2.0 }
}

/// `op(x)` as it is to the last bit: one operation in f32, then one rounding. f64 has more than twice the bits of f32,
/// so that rounding its result to f32 is what f32 itself would give.
pub fn unary(op: Unary, x: Value, dtype: DType) -> Value {
    let wide = wide(dtype);
    match x {
        Value::Float(x) => {
            let param = round(op.param(), wide);
            let y = match op {
                Unary::Relu => {
                    if x < 0.0 {
                        0.0
                    } else {
                        x
                    }
                }
                Unary::LeakyRelu { .. } => {
                    if x < 0.0 {
                        param * x
                    } else {
                        x
                    }
                }
                Unary::Neg => -x,
                Unary::AddScalar { .. } => x + param,
                Unary::MulScalar { .. } => x * param,
            };
            Value::Float(round(round(y, wide), dtype))
        }
        Value::Int(x) => {
            let Value::Int(param) = cast(Value::Float(op.param()), dtype) else { return Value::Int(x) };
            let y = match op {
                Unary::Relu | Unary::LeakyRelu { .. } => x,
                Unary::Neg => x.wrapping_neg(),
                Unary::AddScalar { .. } => x.wrapping_add(param),
                Unary::MulScalar { .. } => x.wrapping_mul(param),
            };
            cast(Value::Int(y), dtype)
        }
    }
}

/// `op(a, b)` as it is to the last bit: see [`unary`].
pub fn binary(op: Binary, a: Value, b: Value, dtype: DType) -> Value {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => {
            let y = match op {
                Binary::Add => a.wrapping_add(b),
                Binary::Sub => a.wrapping_sub(b),
                Binary::Mul | Binary::Div => a.wrapping_mul(b),
            };
            cast(Value::Int(y), dtype)
        }
        _ => {
            let (a, b) = (a.float(), b.float());
            let y = match op {
                Binary::Add => a + b,
                Binary::Sub => a - b,
                Binary::Mul => a * b,
                Binary::Div => a / b,
            };
            Value::Float(round(round(y, wide(dtype)), dtype))
        }
    }
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
