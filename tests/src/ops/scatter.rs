//! Sums of elements and slices at positions that a tensor of indices names.

use super::gather::{count, embedding, index_shape, indices, positions, under};
use crate::{Array, Fill, Op, Operand, Use, Value, Want, cast, lines, sum_error};
use taut::DType;

pub(super) fn ops() -> Vec<Op> {
    vec![scatter_add(), index_add(), index_add().named("index_add, rows of 768").scale(embedding)]
}

/// What comes to each element: itself, then the others in order.
fn want(x: &Array, sums: Vec<Vec<Value>>) -> Want {
    if x.dtype.is_float() {
        let interval = |terms: Vec<Value>| {
            let terms: Vec<f64> = terms.into_iter().map(Value::float).collect();
            sum_error(&terms, x.dtype)
        };
        return Want::within(&x.shape, x.dtype, sums.into_iter().map(interval).collect());
    }
    let sum = |terms: Vec<Value>| {
        let int = |value| if let Value::Int(x) = value { x } else { 0 };
        cast(Value::Int(terms.into_iter().fold(0i64, |sum, x| sum.wrapping_add(int(x)))), x.dtype)
    };
    Want::exact(&x.shape, x.dtype, sums.into_iter().map(sum).collect())
}

fn alone(x: &Array) -> Vec<Vec<Value>> {
    x.values.iter().map(|&value| vec![value]).collect()
}

fn scatter_add() -> Op {
    let op = Op::new("scatter_add", DType::is_number, |draw| {
        let axis = draw.axis()?;
        let (shape, n) = (index_shape(draw, axis), draw.shape[axis]);
        let src = Operand::new(&shape, draw.dtype, Fill::Wild);
        let make = Use::new(
            [draw.operand(Fill::Wild), indices(&shape, n), src],
            move |mut x| {
                let others = x.split_off(1);
                crate::first(x)?.scatter_add(axis, &others[0], &others[1])
            },
            move |x| {
                let (at, mut sums) = (positions(&x[1].values), alone(&x[0]));
                let to = under(&x[0].shape, &x[1].shape, axis);
                for (line, to) in lines(&x[1].shape, axis).iter().zip(to) {
                    line.iter().for_each(|&from| sums[to[at[from]]].push(x[2].values[from]));
                }
                want(&x[0], sums)
            },
        );
        Some(make.note(format!("axis {axis}")))
    });
    op.in_place()
}

/// In benches rows of a table.
fn index_add() -> Op {
    let op = Op::new("index_add", DType::is_number, |draw| {
        let axis = if draw.is_bench() { 0 } else { draw.axis()? };
        let mut shape = draw.shape.clone();
        let n = shape[axis];
        shape[axis] = count(draw, n);
        let src = Operand::new(&shape, draw.dtype, Fill::Wild);
        let make = Use::new(
            [draw.operand(Fill::Wild), indices(&[shape[axis]], n), src],
            move |mut x| {
                let others = x.split_off(1);
                crate::first(x)?.index_add(axis, &others[0], &others[1])
            },
            move |x| {
                let (at, mut sums) = (positions(&x[1].values), alone(&x[0]));
                for (from, to) in lines(&x[2].shape, axis).iter().zip(lines(&x[0].shape, axis)) {
                    from.iter().zip(&at).for_each(|(&from, &at)| sums[to[at]].push(x[2].values[from]));
                }
                want(&x[0], sums)
            },
        );
        Some(make.note(format!("axis {axis}")))
    });
    op.in_place()
}
