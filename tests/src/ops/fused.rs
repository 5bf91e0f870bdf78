//! Dropout, alone and fused with bias, activation and residual.

use crate::{
    Array, Draw, Elements, Fill, Interval, Op, Operand, Use, Value, Want, first, half_word, round, split,
    unary_elements,
};
use taut::{Activation, DType, Dropout, Fused, Tensor};

pub(super) fn ops() -> Vec<Op> {
    let all = Parts {
        bias: true,
        activation: Activation::Gelu,
        dropout: Some(Dropout { drop_prob: PROBS[0], seed: 0 }),
        residual: true,
    };
    let kept = Parts { dropout: None, ..all };
    vec![
        dropout(),
        fused("fused", all),
        fused("fused, bias, gelu, residual", kept),
        fused("fused, bias, relu", Parts { activation: Activation::Relu, residual: false, ..kept }),
    ]
}

const PROBS: [f32; 8] = [0.1, 0.5, 0.0, 1.0, 0.999, 0.99999, 1e-6, 0.3];

/// What becomes of element `i`, if it is kept: a factor.
fn kept(dropout: Dropout, i: usize) -> Option<f64> {
    let threshold = (f64::from(dropout.drop_prob) * 65536.0).round();
    let bits = f64::from(half_word(dropout.seed, i));
    (bits >= threshold).then(|| round(65536.0 / (65536.0 - threshold), DType::F32))
}

/// What floats of `dtype` are computed in.
fn wide(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

fn dropout() -> Op {
    let op = Op::new("dropout", DType::is_float, |draw| {
        let (dtype, drop_prob) = (draw.dtype, draw.one_of(&PROBS));
        let seed = draw.below(1 << 40) as u64;
        let dropout = Dropout { drop_prob, seed };
        let make = Use::new(
            [draw.operand(Fill::Any)],
            move |x| first(x)?.dropout(drop_prob, seed),
            move |x| {
                let values = x[0].values.iter().enumerate().map(|(i, x)| {
                    let y = kept(dropout, i).map_or(0.0, |scale| x.float() * scale);
                    Value::Float(round(round(y, wide(dtype)), dtype))
                });
                Want::exact(&x[0].shape, dtype, values.collect())
            },
        );
        Some(make.note(format!("{dropout:?}")).twin(move |x, _| x.dropout_(drop_prob, seed)))
    });
    op.in_place()
}

const ACTIVATIONS: [Activation; 7] = [
    Activation::Gelu,
    Activation::Identity,
    Activation::Relu,
    Activation::LeakyRelu { slope: 0.01 },
    Activation::LeakyRelu { slope: -1.5 },
    Activation::GeluTanh,
    Activation::Silu,
];

/// Which parts there are.
#[derive(Clone, Copy, Debug)]
struct Parts {
    bias: bool,
    activation: Activation,
    dropout: Option<Dropout>,
    residual: bool,
}

impl Parts {
    fn draw(draw: &mut Draw) -> Parts {
        let dropout = Dropout { drop_prob: draw.one_of(&PROBS), seed: draw.below(1 << 40) as u64 };
        let choices = draw.below(8);
        let has = |bit: usize| choices >> bit & 1 == 1;
        Parts {
            bias: has(0) && draw.rank() > 0,
            activation: draw.one_of(&ACTIVATIONS),
            dropout: has(1).then_some(dropout),
            residual: has(2),
        }
    }

    /// The parts, of the operands after the first.
    fn of<'a>(&self, rest: &'a [Tensor]) -> Fused<'a> {
        let Parts { activation, dropout, .. } = *self;
        let mut rest = rest.iter();
        let bias = if self.bias { rest.next() } else { None };
        let residual = if self.residual { rest.next() } else { None };
        Fused { bias, activation, dropout, residual }
    }

    /// Each step rounded, but for an activation that may err.
    fn define(&self, x: &[Array]) -> Want {
        let (shape, dtype) = (&x[0].shape, x[0].dtype);
        let wide = wide(dtype);
        let mut rest = x[1..].iter();
        let bias = if self.bias { rest.next() } else { None };
        let residual = if self.residual { rest.next() } else { None };
        let element = |(i, x): (usize, &Value)| {
            let x = x.float();
            let x = bias.map_or(x, |bias| round(x + bias.values[i % bias.values.len()].float(), wide));
            // GELU errs by what it is rounded to, and is rounded only here; the others, exact or not, in f32.
            let to = if self.activation == Activation::Gelu { dtype } else { wide };
            let y = match self.activation.unary().map(|op| unary_elements(op, &[Value::Float(x)], to)) {
                None => Interval { low: x, high: x },
                Some(Elements::Exact(y)) => Interval { low: y[0].float(), high: y[0].float() },
                Some(Elements::Within(y)) => y[0],
            };
            let y = match self.dropout.map(|dropout| kept(dropout, i)) {
                None => y,
                Some(None) => Interval { low: 0.0, high: 0.0 },
                Some(Some(scale)) => y.map(|y| round(round(y, wide) * scale, wide)),
            };
            residual.map_or(y, |residual| y.map(|y| round(round(y, wide) + residual.values[i].float(), wide)))
        };
        Want::within(shape, dtype, x[0].values.iter().enumerate().map(element).collect())
    }
}

/// Of any parts; in benches of the usual ones.
fn fused(name: &str, usual: Parts) -> Op {
    let op = Op::new(name, DType::is_float, move |draw| {
        let parts = if draw.is_bench() { usual } else { Parts::draw(draw) };
        let mut operands = vec![draw.operand(Fill::Wild)];
        if parts.bias {
            operands.push(Operand::new(&draw.shape[draw.rank() - 1..], draw.dtype, Fill::Tame));
        }
        if parts.residual {
            operands.push(draw.operand(Fill::Wild));
        }
        let make = Use::new(
            operands,
            move |x| {
                let (x, rest) = split(x)?;
                x.fused(parts.of(&rest))
            },
            move |x| parts.define(x),
        );
        Some(make.note(format!("{parts:?}")).twin(move |x, rest| x.fused_(parts.of(rest))))
    });
    op.in_place()
}
