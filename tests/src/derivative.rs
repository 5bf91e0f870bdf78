//! Definitions of the backward of elementwise ops in f64, with the errors that a right implementation may make.

use crate::{
    Elements, Interval, Value,
    elementwise::{EXP, EXP_M1, POW, SIN, TAIL, TAIL_16, density, errs, sigmoid, tail, tanh_angle, wide},
    half_up, round,
};
use std::f64::consts::FRAC_2_PI;
use taut::{DType, Unary};

/// What the backward of `op` must make of gradients and what was kept.
pub fn derivative_elements(op: Unary, pairs: &[(Value, Value)], dtype: DType) -> Elements {
    let pairs = pairs.iter().map(|(grad, kept)| (grad.float(), kept.float()));
    let exact = pairs.clone().map(|(grad, kept)| derivative(op, grad, kept, dtype));
    exact.collect::<Option<Vec<_>>>().map_or_else(
        || Elements::Within(pairs.map(|(grad, kept)| within(op, grad, kept, dtype)).collect()),
        |exact| Elements::Exact(exact.into_iter().map(Value::Float).collect()),
    )
}

/// The gradient of the operand, to the last bit; `None` if the op is more than operations of IEEE 754.
pub fn derivative(op: Unary, grad: f64, kept: f64, dtype: DType) -> Option<f64> {
    let wide = wide(dtype);
    let r = |x: f64| round(x, wide);
    let [p, q] = op.params().map(r);
    let (g, k) = (grad, kept);
    let y = match op {
        Unary::Relu => {
            if k <= 0.0 {
                0.0
            } else {
                g
            }
        }
        Unary::LeakyRelu { .. } => {
            if k > 0.0 {
                g
            } else {
                r(g * p)
            }
        }
        Unary::Exp => r(g * k),
        Unary::Log => r(g / k),
        Unary::Sqrt => r(g / r(k + k)),
        Unary::Rsqrt => r(r(r(g * r(-0.5 * k)) * k) * k),
        Unary::Abs => {
            if k > 0.0 {
                g
            } else if k < 0.0 {
                -g
            } else {
                r(k * g)
            }
        }
        Unary::Tanh => r(g * r(r(1.0 - k) * r(1.0 + k))),
        Unary::Sigmoid => r(g * r(r(1.0 - k) * k)),
        Unary::Elu { .. } if p >= 0.0 => {
            if k <= 0.0 {
                r(g * r(k + p))
            } else {
                g
            }
        }
        Unary::Reciprocal => r(r(-g * k) * k),
        Unary::Clamp { .. } => {
            if p <= k && k <= q {
                g
            } else {
                0.0
            }
        }
        Unary::PowScalar { .. } if p == 0.0 => 0.0,
        Unary::Square => r(g * r(k + k)),
        _ => return None,
    };
    Some(round(y, dtype))
}

/// The least and the most that a step of a computation may give.
#[derive(Clone, Copy)]
struct Ends(f64, f64);

impl Ends {
    /// Times a number, rounded.
    fn times(self, x: f64, dtype: DType) -> Ends {
        let (a, b) = (round(self.0 * x, dtype), round(self.1 * x, dtype));
        if a > b { Ends(b, a) } else { Ends(a, b) }
    }
}

/// Where the gradient of the operand must be, if the derivative is a function that errs: by ulps of its parts, added up to
/// first order, and by units of the smallest number. Then it is rounded, and so is the product.
fn within(op: Unary, grad: f64, kept: f64, dtype: DType) -> Interval {
    let wide = wide(dtype);
    let [p, _] = op.params().map(|p| round(p, wide));
    let x = kept;
    let (d, ulps, units) = match op {
        Unary::Sin => (x.cos(), errs(SIN, dtype) * x.cos().abs(), SIN),
        Unary::Cos => (-x.sin(), errs(SIN, dtype) * x.sin().abs(), SIN),
        Unary::Silu => {
            let u = x.clamp(-1024.0, 1024.0);
            let (s, slope) = (sigmoid(u), u * sigmoid(u) * sigmoid(-u));
            (s + slope, (EXP + 4.0) * s + (EXP + 6.0) * slope.abs(), (EXP + 4.0) * u.abs())
        }
        Unary::GeluTanh => {
            let v = x.clamp(-32.0, 32.0);
            // The angle is a v + b v^3: v times its derivative is three of it less 2 a v.
            let angle = tanh_angle(v);
            let inner = 3.0 * angle - 4.0 * FRAC_2_PI.sqrt() * v;
            let (s, slope) = (sigmoid(angle), inner * sigmoid(angle) * sigmoid(-angle));
            // What the angle errs by, three roundings of itself, moves both; the slope by at most as much as itself.
            let moved = 3.0 * angle.abs();
            let ulps = (EXP + 4.0 + moved * sigmoid(-angle)) * s + (EXP + 9.0 + moved) * slope.abs();
            (s + slope, ulps, (EXP + 4.0) * inner.abs())
        }
        Unary::Gelu => {
            let t = x.abs().min(40.0);
            let (beyond, part) = (if t < 1e-100 { 0.5 } else { tail(t) / t }, t * density(t));
            let h = beyond - part;
            let d = if x < 0.0 { h } else { 1.0 - h };
            let (tail, units) = if dtype.size() == 2 { (TAIL_16, 2f64.powi(26)) } else { (TAIL, 64.0) };
            (d, (tail + 2.0) * (beyond + part) + 0.5 * d.abs(), units)
        }
        Unary::Elu { .. } if x <= 0.0 => {
            (p * x.exp(), (EXP + 0.5) * (p * x.exp()).abs(), EXP * p.abs() + 1.0)
        }
        Unary::Elu { .. } => (1.0, 0.0, 0.0),
        Unary::Softplus => (-(-x).exp_m1(), errs(EXP_M1, dtype) * (-x).exp_m1().abs(), EXP_M1),
        Unary::PowScalar { .. } => {
            let q = round(p - 1.0, wide);
            let y = x.powf(q);
            // Nothing is wrong with 0, 1 and infinity.
            let error = if q.is_finite() { POW } else { 0.0 };
            return product(spread(y, error * y.abs(), error, dtype).times(p, wide), grad, dtype);
        }
        // The others are exact.
        _ => (f64::NAN, 0.0, 0.0),
    };
    let d = if x.is_nan() && !matches!(op, Unary::Elu { .. }) { f64::NAN } else { d };
    product(spread(d, ulps, units, dtype), grad, dtype)
}

/// Within an error of `y`, rounded to what is computed in. Twice that for f64, in which the definition errs as well.
fn spread(y: f64, ulps: f64, units: f64, dtype: DType) -> Ends {
    let (smallest, times) =
        if dtype == DType::F64 { (f64::from_bits(1), 2.0) } else { (f64::from(f32::from_bits(1)), 1.0) };
    let Interval { low, high } =
        Interval::around(y, times * (2.0 * half_up(dtype) * ulps + units * smallest));
    Ends(low, high).times(1.0, wide(dtype))
}

fn product(d: Ends, grad: f64, dtype: DType) -> Interval {
    let Ends(low, high) = d.times(grad, wide(dtype));
    Interval { low, high }
}
