//! Definitions of the elementwise ops in f64, and i64 for integers, with the errors that a right implementation may make.

use crate::{Elements, Interval, Value, cast, half_up, round};
use taut::{Binary, DType, Unary};

/// What floats of `dtype` are computed in.
pub(crate) fn wide(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// What `op` must make of some values.
pub fn unary_elements(op: Unary, values: &[Value], dtype: DType) -> Elements {
    let intervals = values.iter().map(|&x| unary_error(op, x, dtype)).collect::<Option<Vec<_>>>();
    let exact = || values.iter().map(|&x| unary(op, x, dtype)).collect();
    intervals.map_or_else(|| Elements::Exact(exact()), Elements::Within)
}

/// What `op` must make of some pairs of values.
pub fn binary_elements(op: Binary, values: &[(Value, Value)], dtype: DType) -> Elements {
    let intervals = values.iter().map(|&(a, b)| binary_error(op, a, b, dtype)).collect::<Option<Vec<_>>>();
    let exact = || values.iter().map(|&(a, b)| binary(op, a, b, dtype)).collect();
    intervals.map_or_else(|| Elements::Exact(exact()), Elements::Within)
}

/// `op(x)`. To the last bit if that is one operation in f32, then one rounding: f64 has more than twice the bits of f32,
/// so that rounding its result to f32 is what f32 itself would give. Otherwise see `unary_error`.
pub fn unary(op: Unary, x: Value, dtype: DType) -> Value {
    match x {
        Value::Float(x) => {
            let wide = wide(dtype);
            Value::Float(round(round(float_unary(op, x, op.params().map(|p| round(p, wide))), wide), dtype))
        }
        Value::Int(x) => {
            let [p, q] = op.params().map(|p| match cast(Value::Float(p), dtype) {
                Value::Int(p) => p,
                Value::Float(_) => 0,
            });
            let y = match op {
                Unary::Neg => x.wrapping_neg(),
                Unary::AddScalar { .. } => x.wrapping_add(p),
                Unary::MulScalar { .. } => x.wrapping_mul(p),
                Unary::Abs => x.wrapping_abs(),
                Unary::Clamp { .. } => x.max(p).min(q),
                Unary::Square => x.wrapping_mul(x),
                Unary::Sign => x.signum(),
                Unary::Not => 1 - x,
                // Not defined on integers.
                _ => x,
            };
            cast(Value::Int(y), dtype)
        }
    }
}

fn float_unary(op: Unary, x: f64, [p, q]: [f64; 2]) -> f64 {
    match op {
        Unary::Relu if x < 0.0 => 0.0,
        Unary::LeakyRelu { .. } if x < 0.0 => p * x,
        Unary::Relu | Unary::LeakyRelu { .. } | Unary::Not => x,
        Unary::Neg => -x,
        Unary::AddScalar { .. } => x + p,
        Unary::MulScalar { .. } => x * p,
        Unary::Exp => x.exp(),
        Unary::Log => x.ln(),
        Unary::Sqrt => x.sqrt(),
        Unary::Rsqrt => 1.0 / x.sqrt(),
        Unary::Abs => x.abs(),
        Unary::Sin => x.sin(),
        Unary::Cos => x.cos(),
        Unary::Tanh => x.tanh(),
        Unary::Sigmoid => sigmoid(x),
        // Their limits at -infinity.
        Unary::Silu | Unary::GeluTanh if x == f64::NEG_INFINITY => -0.0,
        Unary::Silu => x * sigmoid(x),
        Unary::Gelu => (if x > 0.0 { x } else { 0.0 * x.max(-1.0) }) - tail(x.abs()),
        Unary::GeluTanh => x * sigmoid(tanh_angle(x)),
        Unary::Elu { .. } if x > 0.0 => x,
        Unary::Elu { .. } => p * x.exp_m1(),
        Unary::Softplus => x.max(0.0) + softplus_rest(x),
        Unary::Reciprocal => 1.0 / x,
        Unary::Clamp { .. } if x.is_nan() || p.is_nan() || q.is_nan() => f64::NAN,
        Unary::Clamp { .. } if x < p && p <= q => p,
        Unary::Clamp { .. } if x > q || p > q => q,
        Unary::Clamp { .. } => x,
        Unary::PowScalar { .. } => x.powf(p),
        Unary::Square => x * x,
        Unary::Sign if x == 0.0 || x.is_nan() => x,
        Unary::Sign => x.signum(),
        Unary::Floor => x.floor(),
        Unary::Ceil => x.ceil(),
        Unary::Round => x.round_ties_even(),
    }
}

pub(crate) fn sigmoid(x: f64) -> f64 {
    let e = (-x.abs()).exp();
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}

/// Twice the angle of the hyperbolic tangent in GELU's approximation.
pub(crate) fn tanh_angle(x: f64) -> f64 {
    2.0 * std::f64::consts::FRAC_2_PI.sqrt() * (x + 0.044715 * x * x * x)
}

/// What softplus is above `max(x, 0)`, and NaN of NaN, which `max` drops.
fn softplus_rest(x: f64) -> f64 {
    (-x.abs()).exp().ln_1p()
}

/// The density of the standard normal distribution.
pub(crate) fn density(t: f64) -> f64 {
    // The square in two parts, the first exact.
    let high = f64::from(t as f32);
    let gauss = (-0.5 * high * high).exp() * (-0.5 * (t - high) * (t + high)).exp();
    gauss / std::f64::consts::TAU.sqrt()
}

/// `t` times the probability that a standard normal variable is above `t`, for `t >= 0`.
pub(crate) fn tail(t: f64) -> f64 {
    if t > 40.0 {
        return 0.0;
    }
    let density = density(t);
    if t < 1.0 {
        // The series t + t^3 / 3 + t^5 / (3 * 5) + ...
        let (mut term, mut sum, mut n) = (t, t, 1.0);
        while term > sum * 1e-18 {
            n += 2.0;
            term *= t * t / n;
            sum += term;
        }
        return t * (0.5 - density * sum);
    }
    // The continued fraction 1 / (t + 1 / (t + 2 / (t + ...))) (Laplace), from far enough inside.
    let terms = (60.0 + 600.0 / (t * t)) as u32;
    t * density / (1..=terms).rev().fold(t, |sum, n| t + f64::from(n) / sum)
}

/// In ulps of what floats are computed in: the largest that CUDA documents of its functions, or `math.cuh` and the CPU's
/// functions say of theirs.
pub(crate) const EXP: f64 = 2.0;
pub(crate) const EXP_M1: f64 = 2.0;
const LOG: f64 = 2.0;
const LOG_1P: f64 = 2.0;
pub(crate) const SIN: f64 = 2.0;
const TANH: f64 = 2.0;
const RSQRT: f64 = 2.0;
pub(crate) const POW: f64 = 4.0;
/// Of the tail: 6.5 with an exponential that is right to 1 ulp.
pub(crate) const TAIL: f64 = 6.5 + EXP - 1.0;
/// Of the tail in the derivative of GELU, where that is rounded to 16 bits: 2^-16.
pub(crate) const TAIL_16: f64 = 256.0;
/// Of functions whose results are rounded to 16 bits: 2^-17, as `math_16.cuh` says.
const HALF: f64 = 64.0;
/// An exponential; the sum, the quotient of 2 ulps and the product are half an ulp each but that.
const SIGMOID: f64 = EXP + 2.0;

/// The ulps that a function errs by whose results are rounded to `dtype`, if by so many in f32.
pub(crate) fn errs(ulps: f64, dtype: DType) -> f64 {
    if dtype.size() == 2 { HALF } else { ulps }
}

/// The same of powers: an eighth of what rounding to 16 bits may take.
fn powers_err(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 256.0,
        DType::BF16 => 2048.0,
        _ => POW,
    }
}

/// Where `op(x)` must be, if it is more than one operation: within an error that adds up, to first order, those of its
/// parts.
pub(crate) fn unary_error(op: Unary, x: Value, dtype: DType) -> Option<Interval> {
    let Value::Float(x) = x else { return None };
    let wide = wide(dtype);
    let params = op.params().map(|p| round(p, wide));
    let y = float_unary(op, x, params);
    // Errors in ulps of these magnitudes, added up; and in units of the smallest number, which functions of small results
    // err by.
    let whole = y.abs();
    let (ulps, units) = match op {
        Unary::Exp => (EXP * whole, EXP),
        Unary::Log => (errs(LOG, dtype) * whole, 0.0),
        Unary::Rsqrt => (RSQRT * whole, 0.0),
        Unary::Sin | Unary::Cos => (errs(SIN, dtype) * whole, SIN),
        Unary::Tanh => (TANH * whole, TANH),
        Unary::Sigmoid => (SIGMOID * whole, SIGMOID),
        Unary::Silu => ((SIGMOID + 0.5) * whole, SIGMOID * x.abs().min(1024.0)),
        // An eighth of what rounding the tail may take: 2^-15 of it in f16, at least of the smallest normal number, 2^-12 in
        // bf16, which tells nothing from 0 where the probability is below 2^-126, beyond 13.
        Unary::Gelu if dtype == DType::F16 => (256.0 * tail(x.abs()).max(2f64.powi(-14)) + 0.5 * whole, 0.0),
        Unary::Gelu if dtype == DType::BF16 => {
            (2048.0 * tail(x.abs()) + 0.5 * whole, 13.0 * f64::from(f32::MIN_POSITIVE / f32::from_bits(1)))
        }
        Unary::Gelu => (TAIL * tail(x.abs()) + 0.5 * whole, TAIL),
        // As above, what is left of a sigmoid below 2^-126 is nothing in bf16, from -10 on.
        Unary::GeluTanh if dtype == DType::F16 => (HALF * whole, 0.0),
        Unary::GeluTanh if dtype == DType::BF16 => {
            (8.0 * HALF * whole, 11.0 * f64::from(f32::MIN_POSITIVE / f32::from_bits(1)))
        }
        Unary::GeluTanh => {
            // The angle errs by three roundings of itself and three of its cubic part, and moves the sigmoid by 1 - y.
            let angle = tanh_angle(x.max(-32.0));
            let moved = 3.0 * angle.abs() * sigmoid(-angle);
            let moved = if moved.is_finite() { moved } else { 0.0 };
            ((SIGMOID + 0.5 + moved) * whole, SIGMOID * x.abs().min(32.0))
        }
        Unary::Elu { .. } if x > 0.0 => (0.0, 0.0),
        Unary::Elu { .. } => ((errs(EXP_M1, dtype) + 0.5) * whole, EXP_M1 * params[0].abs() + 1.0),
        Unary::Softplus => (errs(EXP + LOG_1P, dtype) * softplus_rest(x) + 0.5 * whole, EXP + LOG_1P),
        Unary::PowScalar { .. } => (powers_err(dtype) * whole, POW),
        _ => return None,
    };
    Some(around(y, ulps, units, dtype))
}

/// `op(a, b)`: see [`unary`].
pub fn binary(op: Binary, a: Value, b: Value, dtype: DType) -> Value {
    let order = match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(&b)),
        (a, b) => a.float().partial_cmp(&b.float()),
    };
    let truth = |holds: bool| Value::Int(holds.into());
    match op {
        Binary::Eq => return truth(order.is_some_and(|order| order.is_eq())),
        Binary::Ne => return truth(!order.is_some_and(|order| order.is_eq())),
        Binary::Lt => return truth(order.is_some_and(|order| order.is_lt())),
        Binary::Le => return truth(order.is_some_and(|order| order.is_le())),
        Binary::Gt => return truth(order.is_some_and(|order| order.is_gt())),
        Binary::Ge => return truth(order.is_some_and(|order| order.is_ge())),
        Binary::Minimum | Binary::Maximum => {
            let nan = [a, b].into_iter().find(|x| x.float().is_nan());
            let second =
                if op == Binary::Minimum { std::cmp::Ordering::Greater } else { std::cmp::Ordering::Less };
            return nan.unwrap_or(if order == Some(second) { b } else { a });
        }
        _ => {}
    }
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => {
            let y = match op {
                Binary::Add => a.wrapping_add(b),
                Binary::Sub => a.wrapping_sub(b),
                Binary::And => a & b,
                Binary::Or => a | b,
                Binary::Xor => a ^ b,
                _ => a.wrapping_mul(b),
            };
            cast(Value::Int(y), dtype)
        }
        _ => Value::Float(round(round(float_binary(op, a.float(), b.float()), wide(dtype)), dtype)),
    }
}

fn float_binary(op: Binary, a: f64, b: f64) -> f64 {
    match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Div => a / b,
        Binary::Pow => a.powf(b),
        _ => a * b,
    }
}

/// Where `op(a, b)` must be: see [`unary_error`].
fn binary_error(op: Binary, a: Value, b: Value, dtype: DType) -> Option<Interval> {
    if op != Binary::Pow {
        return None;
    }
    let y = float_binary(op, a.float(), b.float());
    Some(around(y, powers_err(dtype) * y.abs(), POW, dtype))
}

/// Within so many ulps of 1 and units of the smallest number. Twice that for f64, in which the definition errs as well.
fn around(y: f64, ulps: f64, units: f64, dtype: DType) -> Interval {
    let (smallest, times) =
        if dtype == DType::F64 { (f64::from_bits(1), 2.0) } else { (f64::from(f32::from_bits(1)), 1.0) };
    Interval::around(y, times * (2.0 * half_up(dtype) * ulps + units * smallest))
}
