//! Norms of rows.

use crate::{
    Affine, Array, Draw, Fill, Op, Operand, Use, Value, Want, added, by_rows, first, layer_norm, scale_norm,
    split,
};
use taut::{DType, Result, Tensor};

pub(super) fn ops() -> Vec<Op> {
    let rows = |name, draw: fn(&mut Draw) -> Option<Use>| Op::new(name, DType::is_float, draw).in_place();
    vec![
        rows("layer_norm", |draw| normed(draw, Kind::Layer)),
        rows("layer_norm, rows of 1024", |draw| normed(draw, Kind::Layer)).scale(|n| vec![n / 1024, 1024]),
        rows("layer_norm, rows of 16384", |draw| normed(draw, Kind::Layer))
            .scale(|n| vec![n / 16_384, 16_384]),
        rows("layer_norm, rows of 131072", |draw| normed(draw, Kind::Layer))
            .scale(|n| vec![n / 131_072, 131_072]),
        rows("rms_norm", |draw| normed(draw, Kind::Rms)),
        rows("rms_norm, rows of 1024", |draw| normed(draw, Kind::Rms)).scale(|n| vec![n / 1024, 1024]),
        rows("rms_norm, rows of 16384", |draw| normed(draw, Kind::Rms)).scale(|n| vec![n / 16_384, 16_384]),
        rows("rms_norm, rows of 131072", |draw| normed(draw, Kind::Rms))
            .scale(|n| vec![n / 131_072, 131_072]),
        rows("l2_normalize", |draw| {
            let (axis, fill, eps) = (draw.axis()?, fill(draw), draw.one_of(&[1e-12, 0.5]));
            let define = move |x: &[Array]| {
                let dtype = x[0].dtype;
                let norm = |row: &[f64], _| scale_norm(row, eps, false, &vec![(1.0, 0.0); row.len()], dtype);
                Want::within(&x[0].shape, dtype, by_rows(&x[0].shape, axis, &x[0].floats(), norm))
            };
            let call = move |x| first(x)?.l2_normalize(axis, eps);
            Some(Use::new([draw.operand(fill)], call, define).note(format!("axis {axis}, {eps}")))
        }),
        rows("add_layer_norm", |draw| added_and_normed(draw, Kind::Layer)),
        rows("add_rms_norm", |draw| added_and_normed(draw, Kind::Rms)),
    ]
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Layer,
    Rms,
}

/// Parameters of a norm over the last axis.
#[derive(Clone, Copy, Debug)]
struct Parameters {
    weight: bool,
    bias: bool,
    eps: f32,
}

impl Parameters {
    /// Parameters, and the operands that they are beside.
    fn draw(draw: &mut Draw, kind: Kind, mut operands: Vec<Operand>) -> Option<(Parameters, Vec<Operand>)> {
        let n = *draw.shape.last()?;
        let (weight, bias) = (draw.below(3) != 1, kind == Kind::Layer && draw.below(3) != 1);
        let eps = draw.one_of(&[1e-5, 1e-12, 0.5]);
        let dtype =
            if draw.dtype == DType::F64 { DType::F64 } else { draw.one_of(&[draw.dtype, DType::F32]) };
        for _ in 0..usize::from(weight) + usize::from(bias) {
            operands.push(Operand::new(&[n], dtype, Fill::Tame));
        }
        Some((Parameters { weight, bias, eps }, operands))
    }

    /// The operands as the methods take them.
    fn split(self, operands: &[Tensor]) -> (Option<&Tensor>, Option<&Tensor>) {
        let mut operands = operands.iter();
        (self.weight.then(|| operands.next()).flatten(), self.bias.then(|| operands.next()).flatten())
    }

    fn affine(self, operands: &[Array], n: usize) -> Vec<Affine> {
        let mut operands = operands.iter().map(Array::floats);
        let weight = self.weight.then(|| operands.next()).flatten().unwrap_or(vec![1.0; n]);
        let bias = self.bias.then(|| operands.next()).flatten().unwrap_or(vec![0.0; n]);
        weight.into_iter().zip(bias).collect()
    }

    fn define(self, kind: Kind, x: &[f64], shape: &[usize], dtype: DType, others: &[Array]) -> Want {
        let (axis, n) = (shape.len() - 1, shape[shape.len() - 1]);
        let affine = self.affine(others, n);
        let intervals = by_rows(shape, axis, x, |row, _| match kind {
            Kind::Layer => layer_norm(row, self.eps, &affine, dtype),
            Kind::Rms => scale_norm(row, self.eps, true, &affine, dtype),
        });
        Want::within(shape, dtype, intervals)
    }
}

fn fill(draw: &mut Draw) -> Fill {
    draw.one_of(&[Fill::Tame, Fill::Wild, Fill::Whole])
}

fn normed(draw: &mut Draw, kind: Kind) -> Option<Use> {
    let fill = fill(draw);
    let (by, operands) = Parameters::draw(draw, kind, vec![draw.operand(fill)])?;
    let call = move |x| {
        let (x, others) = split(x)?;
        let (weight, bias) = by.split(&others);
        match kind {
            Kind::Layer => x.layer_norm(weight, bias, by.eps),
            Kind::Rms => x.rms_norm(weight, by.eps),
        }
    };
    let define = move |x: &[Array]| by.define(kind, &x[0].floats(), &x[0].shape, x[0].dtype, &x[1..]);
    Some(Use::new(operands, call, define).note(format!("{by:?}")))
}

fn added_and_normed(draw: &mut Draw, kind: Kind) -> Option<Use> {
    let fill = fill(draw);
    let pair = vec![draw.operand(fill), draw.operand(fill)];
    let (by, operands) = Parameters::draw(draw, kind, pair)?;
    let call = move |x| -> Result<Vec<Tensor>> {
        let (x, others) = split(x)?;
        let (weight, bias) = by.split(&others[1..]);
        let (norm, sum) = match kind {
            Kind::Layer => x.add_layer_norm(&others[0], weight, bias, by.eps)?,
            Kind::Rms => x.add_rms_norm(&others[0], weight, by.eps)?,
        };
        Ok(vec![norm, sum])
    };
    let define = move |x: &[Array]| {
        let (shape, dtype) = (&x[0].shape, x[0].dtype);
        let sums: Vec<f64> =
            x[0].floats().iter().zip(x[1].floats()).map(|(a, b)| added(*a, b, dtype)).collect();
        let norm = by.define(kind, &sums, shape, dtype, &x[2..]);
        vec![norm, Want::exact(shape, dtype, sums.into_iter().map(Value::Float).collect())]
    };
    Some(Use::several(operands, call, define).note(format!("{by:?}")))
}
