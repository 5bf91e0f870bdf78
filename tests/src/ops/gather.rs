//! Elements and slices at positions that a tensor of indices names.

use crate::{Draw, Fill, Op, Operand, Use, Value, Want, lines};
use taut::DType;

pub(super) fn ops() -> Vec<Op> {
    vec![gather(), index_select(), index_select().named("index_select, rows of 768").scale(embedding)]
}

/// The table of a language model's embedding: 50,304 rows, fewer where that is too much.
pub(super) fn embedding(numel: usize) -> Vec<usize> {
    vec![(numel / 768).min(50_304), 768]
}

/// How many indices there are along an axis; in benches as many as elements.
pub(super) fn count(draw: &mut Draw, n: usize) -> usize {
    match n {
        0 => 0,
        n if draw.is_bench() => n,
        n => draw.below(2 * n + 2),
    }
}

/// An index of elements along an axis.
pub(super) fn indices(shape: &[usize], n: usize) -> Operand {
    Operand::new(shape, DType::I64, Fill::Below(n.max(1)))
}

/// The positions that an index holds.
pub(super) fn positions(values: &[Value]) -> Vec<usize> {
    values.iter().map(|value| value.float() as usize).collect()
}

/// The shape of an index: any on the axis, and no longer than an operand on the others.
pub(super) fn index_shape(draw: &mut Draw, axis: usize) -> Vec<usize> {
    let mut shape = draw.shape.clone();
    shape[axis] = count(draw, shape[axis]);
    if !draw.is_bench() && draw.below(3) == 0 {
        let other = draw.below(shape.len());
        if other != axis {
            shape[other] = draw.below(shape[other] + 1);
        }
    }
    shape
}

/// The elements of an operand that those of another with no longer axes stand for, where the axis has `n` elements.
pub(super) fn under(shape: &[usize], inner: &[usize], axis: usize) -> Vec<Vec<usize>> {
    let grid = crate::Grid::new(shape);
    let mut line = inner.to_vec();
    line[axis] = 1;
    let places = crate::Grid::new(&line);
    let place = |i: usize| {
        let mut at = places.coordinates(i);
        (0..shape[axis])
            .map(|j| {
                at[axis] = j;
                grid.at(&at)
            })
            .collect()
    };
    (0..line.iter().product()).map(place).collect()
}

fn gather() -> Op {
    Op::new(
        "gather",
        |_| true,
        |draw| {
            let axis = draw.axis()?;
            let (shape, n) = (index_shape(draw, axis), draw.shape[axis]);
            let make = Use::new(
                [draw.operand(Fill::Any), indices(&shape, n)],
                move |x| x[0].clone().gather(axis, &x[1]),
                move |x| {
                    let at = positions(&x[1].values);
                    let mut values = vec![Value::Int(0); at.len()];
                    let from = under(&x[0].shape, &x[1].shape, axis);
                    for (line, from) in lines(&x[1].shape, axis).iter().zip(from) {
                        line.iter().for_each(|&to| values[to] = x[0].values[from[at[to]]]);
                    }
                    Want::exact(&x[1].shape, x[0].dtype, values)
                },
            );
            Some(make.note(format!("axis {axis}")))
        },
    )
}

/// In benches rows of a table.
fn index_select() -> Op {
    Op::new(
        "index_select",
        |_| true,
        |draw| {
            let axis = if draw.is_bench() { 0 } else { draw.axis()? };
            let n = draw.shape[axis];
            let m = count(draw, n);
            let make = Use::new(
                [draw.operand(Fill::Any), indices(&[m], n)],
                move |x| x[0].clone().index_select(axis, &x[1]),
                move |x| {
                    let at = positions(&x[1].values);
                    let mut shape = x[0].shape.clone();
                    shape[axis] = at.len();
                    let mut values = vec![Value::Int(0); shape.iter().product()];
                    for (to, from) in lines(&shape, axis).iter().zip(lines(&x[0].shape, axis)) {
                        to.iter().zip(&at).for_each(|(&to, &at)| values[to] = x[0].values[from[at]]);
                    }
                    Want::exact(&shape, x[0].dtype, values)
                },
            );
            Some(make.note(format!("axis {axis}")))
        },
    )
}
