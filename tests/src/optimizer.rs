//! Optimizers in f64, with the errors that a right implementation may make, and their states as tensors.

use crate::{Interval, Value, upload};
use taut::{
    DType, Device, Result, Tensor,
    optim::{AdamW, CODE_BLOCK, Control, Lion, Moment, Sgd, Step, adamw_, lion_, sgd_},
};

/// An optimizer with its parameters.
#[derive(Clone, Copy, Debug)]
pub enum Optimizer {
    /// [`sgd_`].
    Sgd(Sgd),
    /// [`adamw_`].
    AdamW(AdamW),
    /// [`lion_`].
    Lion(Lion),
}

impl Optimizer {
    /// Moments that it keeps.
    pub fn moments(self) -> usize {
        match self {
            Optimizer::Sgd(sgd) => usize::from(sgd.momentum != 0.0),
            Optimizer::AdamW(_) => 2,
            Optimizer::Lion(_) => 1,
        }
    }

    /// A step of all.
    ///
    /// # Errors
    ///
    /// Those of the function of its name.
    pub fn step(self, steps: &mut [Step<'_>], control: &Control<'_>) -> Result<()> {
        match self {
            Optimizer::Sgd(sgd) => sgd_(steps, &sgd, control),
            Optimizer::AdamW(adamw) => adamw_(steps, &adamw, control),
            Optimizer::Lion(lion) => lion_(steps, &lion, control),
        }
    }

    /// The new weight and moments of weight `p`, gradient `g`, which may be off by `g_error`, and moments `m` and `v`, where `u`
    /// is the relative error of an operation.
    pub fn define(self, [p, g, m, v]: [f64; 4], g_error: f64, [lr, step]: [f64; 2], u: f64) -> [Interval; 3] {
        let none = Interval::around(0.0, 0.0);
        match self {
            Optimizer::Sgd(sgd) => {
                let (momentum, decay) = (f64::from(sgd.momentum), f64::from(sgd.weight_decay));
                let d = decay * p + g;
                let new = momentum * m + d;
                let by = match (sgd.momentum != 0.0, sgd.nesterov) {
                    (false, _) => d,
                    (true, false) => new,
                    (true, true) => d + momentum * new,
                };
                let size = (momentum * m).abs() + (decay * p).abs() + g.abs();
                let error = 8.0 * u * size + g_error;
                let p_error = 8.0 * u * (p.abs() + (lr * by).abs()) + 3.0 * lr.abs() * error;
                [Interval::around(p - lr * by, p_error), Interval::around(new, error), none]
            }
            Optimizer::AdamW(AdamW { beta1, beta2, eps, weight_decay }) => {
                let [beta1, beta2, eps, decay] = [beta1, beta2, eps, weight_decay].map(f64::from);
                let (a, b) = (beta1 * m, (1.0 - beta1) * g);
                let (new, m_error) = (a + b, 8.0 * u * (a.abs() + b.abs()) + g_error);
                let square = (1.0 - beta2) * g * g;
                let squares = beta2 * v + square;
                let v_error = 12.0 * u * squares + 2.0 * (1.0 - beta2) * g.abs() * g_error;
                // 1 - beta^step, without cancellation.
                let gathered = |beta: f64| -(step * beta.ln()).exp_m1();
                let root = (squares / gathered(beta2)).sqrt();
                let rate = lr / gathered(beta1);
                let update = rate * new / (root + eps);
                let relative = 40.0 * u + if squares > 0.0 { v_error / squares } else { 0.0 };
                let error = update.abs() * relative + (rate / (root + eps)).abs() * m_error;
                let kept = p * (1.0 - lr * decay);
                let p_error = 8.0 * u * (p.abs() + update.abs()) + error;
                [
                    Interval::around(kept - update, p_error),
                    Interval::around(new, m_error),
                    Interval::around(squares, v_error),
                ]
            }
            Optimizer::Lion(Lion { beta1, beta2, weight_decay }) => {
                let [beta1, beta2, decay] = [beta1, beta2, weight_decay].map(f64::from);
                let mix = beta1 * m + (1.0 - beta1) * g;
                let error = 8.0 * u * ((beta1 * m).abs() + ((1.0 - beta1) * g).abs()) + g_error;
                let sign = |x: f64| {
                    if x > 0.0 {
                        1.0
                    } else if x < 0.0 {
                        -1.0
                    } else {
                        x
                    }
                };
                let kept = p * (1.0 - lr * decay);
                let p_error = 8.0 * u * (p.abs() + lr.abs());
                // Either sign, where rounding decides.
                let (low, high) = (kept - lr * sign(mix + error), kept - lr * sign(mix - error));
                let new = beta2 * m + (1.0 - beta2) * g;
                let m_error = 8.0 * u * ((beta2 * m).abs() + ((1.0 - beta2) * g).abs()) + g_error;
                let p = if mix.is_finite() {
                    Interval { low: low.min(high) - p_error, high: low.max(high) + p_error }
                } else {
                    Interval::around(kept - lr * sign(mix), p_error)
                };
                [p, Interval::around(new, m_error), none]
            }
        }
    }
}

/// How a weight is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kept {
    /// Alone.
    Plain(DType),
    /// f16 or bf16, beside what makes it f32.
    Planes(DType),
}

impl Kept {
    /// The dtype of the weight.
    pub fn dtype(self) -> DType {
        match self {
            Kept::Plain(dtype) | Kept::Planes(dtype) => dtype,
        }
    }
}

/// A moment as tensors.
pub enum State {
    /// As what is computed in.
    Full(Tensor),
    /// Codes, and the largest of each block.
    Codes(Tensor, Tensor),
}

impl State {
    fn moment(&mut self) -> Moment<'_> {
        match self {
            State::Full(full) => Moment::Full(full),
            State::Codes(codes, largest) => Moment::Codes { codes, largest },
        }
    }
}

/// A parameter with all that a step takes.
pub struct Parameter {
    /// The weight.
    pub param: Tensor,
    /// The gradient.
    pub grad: Tensor,
    /// What the weight is rounded from.
    pub master: Option<Tensor>,
    /// The moments.
    pub moments: Vec<State>,
}

impl Parameter {
    /// As the functions take it.
    pub fn step(&mut self) -> Step<'_> {
        let mut step = Step::new(&mut self.param, &self.grad);
        step.master = self.master.as_mut();
        let mut moments = self.moments.iter_mut().map(State::moment);
        step.first = moments.next();
        step.second = moments.next();
        step
    }

    /// Weights that begin as `values`, with `moments` moments that begin as zeros, in codes or not.
    ///
    /// # Errors
    ///
    /// As [`Tensor::from_slice`].
    pub fn new(
        kept: Kept,
        values: &[f64],
        grad: Tensor,
        (moments, codes): (usize, bool),
        device: &Device,
    ) -> Result<Parameter> {
        let (n, dtype) = (values.len(), kept.dtype());
        let floats: Vec<Value> = values.iter().map(|&x| Value::Float(crate::round(x, dtype))).collect();
        let param = upload(&floats, &[n], dtype, device)?;
        let master = match kept {
            Kept::Plain(_) => None,
            Kept::Planes(_) => Some(Tensor::zeros([2 * n], DType::U8, device)?),
        };
        let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let state = |_| {
            Ok(match codes {
                false => State::Full(Tensor::zeros([n], wide, device)?),
                true => State::Codes(
                    Tensor::zeros([n], DType::U8, device)?,
                    Tensor::zeros([n.div_ceil(CODE_BLOCK)], DType::F32, device)?,
                ),
            })
        };
        let moments = (0..moments).map(state).collect::<Result<Vec<_>>>()?;
        Ok(Parameter { param, grad, master, moments })
    }

    /// What the weight is rounded from, or the weight itself.
    ///
    /// # Errors
    ///
    /// As [`Tensor::to_vec`].
    pub fn weights(&self) -> Result<Vec<f64>> {
        match (&self.master, self.param.dtype()) {
            (None, _) => Ok(crate::download(&self.param)?.into_iter().map(Value::float).collect()),
            (Some(master), dtype) => {
                let rests = master.to_vec::<u8>()?;
                let rests = rests.chunks(2).map(|x| u16::from_le_bytes([x[0], x[1]]));
                if dtype == DType::BF16 {
                    let weights = self.param.to_vec::<taut::bf16>()?;
                    return Ok(weights.iter().zip(rests).map(|(h, l)| of_halves(h.to_bits(), l)).collect());
                }
                let weights = self.param.to_vec::<taut::f16>()?;
                Ok(weights.into_iter().zip(rests).map(|(w, r)| of_units(w, r as i16)).collect())
            }
        }
    }

    /// The bytes of all that a step may change.
    ///
    /// # Errors
    ///
    /// As [`Tensor::read_chunks`].
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let moments = self.moments.iter().flat_map(|state| match state {
            State::Full(full) => vec![full],
            State::Codes(codes, largest) => vec![codes, largest],
        });
        let all = [Some(&self.param), self.master.as_ref()].into_iter().flatten().chain(moments);
        Ok(all.map(crate::bytes).collect::<Result<Vec<_>>>()?.concat())
    }
}

/// The master of bf16, as it is documented.
fn of_halves(h: u16, l: u16) -> f64 {
    let upper = h.wrapping_sub(l >> 15);
    f32::from_bits(u32::from(upper) << 16 | u32::from(l)).into()
}

/// The master of f16, as it is documented.
fn of_units(w: taut::f16, r: i16) -> f64 {
    let e = i32::from(w.to_bits() >> 10 & 31).max(1);
    w.to_f64() + f64::from(r) * 2f64.powi(e - 40)
}
