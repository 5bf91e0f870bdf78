//! Elementwise ops of two operands, with broadcasting, and comparisons with a scalar.

use crate::{Array, Draw, Fill, Grid, Op, Operand, Use, Value, Want, binary_elements, cast, first, split};
use taut::{Binary, DType, Result, Tensor};

pub(super) fn ops() -> Vec<Op> {
    let mut ops: Vec<Op> = Binary::ALL.map(pair).into();
    type Compare = fn(Tensor, f64) -> Result<Tensor>;
    let scalars: [(&str, Binary, Compare); 6] = [
        ("eq_scalar", Binary::Eq, Tensor::eq_scalar),
        ("ne_scalar", Binary::Ne, Tensor::ne_scalar),
        ("lt_scalar", Binary::Lt, Tensor::lt_scalar),
        ("le_scalar", Binary::Le, Tensor::le_scalar),
        ("gt_scalar", Binary::Gt, Tensor::gt_scalar),
        ("ge_scalar", Binary::Ge, Tensor::ge_scalar),
    ];
    ops.extend(scalars.map(|(name, op, call)| scalar(name, op, call)));
    ops
}

/// The shape of another operand that broadcasts with the first: most often the same, else with leading axes gone,
/// others 1, or one more in front. In benches the same.
pub(super) fn beside(draw: &mut Draw) -> Vec<usize> {
    let shape = draw.shape.clone();
    match draw.below(6) {
        4 if draw.numel() <= 2000 => [&[2], &shape[..]].concat(),
        0..=2 => shape,
        _ => {
            let gone = [0, draw.below(draw.rank() + 1)][draw.below(2)];
            let ones = draw.below(32);
            let axes = shape.iter().enumerate().skip(gone);
            axes.map(|(axis, &extent)| if ones >> axis & 1 == 1 { 1 } else { extent }).collect()
        }
    }
}

/// The shape that two shapes broadcast to.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Vec<usize> {
    let rank = a.len().max(b.len());
    let extent = |shape: &[usize], back: usize| shape.len().checked_sub(back).map_or(1, |axis| shape[axis]);
    let extents = (1..=rank).rev().map(|back| match (extent(a, back), extent(b, back)) {
        (1, other) => other,
        (one, _) => one,
    });
    extents.collect()
}

/// The elements of an operand, repeated to a shape.
pub(super) fn repeated(x: &Array, shape: &[usize]) -> Vec<Value> {
    Grid::new(&x.shape).broadcast(shape).index.into_iter().map(|i| x.values[i]).collect()
}

fn pair(op: Binary) -> Op {
    let entry = Op::new(
        op.name(),
        move |dtype| op.takes(dtype),
        move |draw| {
            let (dtype, other) = (draw.dtype, beside(draw));
            let out = op.output(dtype)?;
            // Powers of any bits are most often 0 or infinite, and any bits seldom equal.
            let fill = match op {
                Binary::Pow => draw.one_of(&[Fill::Any, Fill::Tame]),
                _ if out != dtype => draw.one_of(&[Fill::Any, Fill::Whole]),
                _ => Fill::Any,
            };
            let shape = broadcast(&draw.shape, &other);
            let stays = shape == draw.shape && out == dtype;
            let make = Use::new(
                [draw.operand(fill), Operand::new(&other, dtype, fill)],
                move |x| {
                    let (a, rest) = split(x)?;
                    a.binary(op, &rest[0])
                },
                move |x| {
                    let pairs = repeated(&x[0], &shape).into_iter().zip(repeated(&x[1], &shape));
                    let elements = binary_elements(op, &pairs.collect::<Vec<_>>(), dtype);
                    Want { shape: shape.clone(), dtype: out, elements }
                },
            );
            Some(if stays { make.twin(move |x, rest| x.binary_(op, &rest[0])) } else { make })
        },
    );
    if op.output(DType::F32) == Some(DType::Bool) { entry } else { entry.in_place() }
}

fn scalar(name: &'static str, op: Binary, call: fn(Tensor, f64) -> Result<Tensor>) -> Op {
    Op::new(
        name,
        |_| true,
        move |draw| {
            let value = draw.one_of(&[0.0, 1.0, -2.0, 0.1, 1e10, f64::INFINITY, f64::NAN]);
            let fill = draw.one_of(&[Fill::Any, Fill::Whole]);
            let make = Use::new(
                [draw.operand(fill)],
                move |x| call(first(x)?, value),
                move |x| {
                    let (shape, dtype) = (x[0].shape.clone(), x[0].dtype);
                    let scalar = cast(Value::Float(value), dtype);
                    let pairs: Vec<_> = x[0].values.iter().map(|&x| (x, scalar)).collect();
                    Want { shape, dtype: DType::Bool, elements: binary_elements(op, &pairs, dtype) }
                },
            );
            Some(make.note(value))
        },
    )
}
