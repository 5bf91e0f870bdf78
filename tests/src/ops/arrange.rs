//! Ops that move elements: every result is told by arithmetic on coordinates.

use crate::{Array, Draw, Fill, Grid, Op, Operand, Use, Value, Want, cast, first};
use taut::{DType, Tensor};

pub(super) fn ops() -> Vec<Op> {
    vec![cat(), stack(), pad(), roll(), flip(), repeat()]
}

/// A result whose element at each coordinate is what `pick` says.
pub(super) fn arranged(shape: &[usize], dtype: DType, pick: impl Fn(&[usize]) -> Value) -> Want {
    let grid = Grid::new(shape);
    let values = (0..grid.index.len()).map(|i| pick(&grid.coordinates(i)));
    Want::exact(shape, dtype, values.collect())
}

/// The element at some coordinates.
pub(super) fn at(x: &Array, coordinates: impl IntoIterator<Item = usize>) -> Value {
    x.values[x.shape.iter().zip(coordinates).fold(0, |i, (&dim, c)| i * dim + c)]
}

/// Some of the axes; in benches the last.
fn some_axes(draw: &mut Draw) -> Vec<usize> {
    let rank = draw.rank();
    let mask = if draw.is_bench() { 1 << (rank - 1) } else { draw.below(1 << rank) };
    (0..rank).filter(|axis| mask >> axis & 1 == 1).collect()
}

fn with(shape: &[usize], axis: usize, extent: usize) -> Vec<usize> {
    let mut shape = shape.to_vec();
    shape[axis] = extent;
    shape
}

fn cat() -> Op {
    Op::new(
        "cat",
        |_| true,
        |draw| {
            let axis = draw.axis()?;
            let (shape, dtype) = (draw.shape.clone(), draw.dtype);
            let extents =
                [0, 1].map(|_| if draw.is_bench() { shape[axis] } else { draw.one_of(&[1, 0, 3, 8, 21]) });
            let others = extents.map(|extent| Operand::new(&with(&shape, axis, extent), dtype, Fill::Any));
            let [second, third] = others;
            let make = Use::new(
                [draw.operand(Fill::Any), second, third],
                move |x| Tensor::cat(&x, axis),
                move |x| {
                    let whole = with(&shape, axis, x.iter().map(|part| part.shape[axis]).sum());
                    arranged(&whole, dtype, |c| {
                        let mut c = c.to_vec();
                        let part = x.iter().find(|part| {
                            let here = c[axis] < part.shape[axis];
                            if !here {
                                c[axis] -= part.shape[axis];
                            }
                            here
                        });
                        part.map_or(Value::Int(-1), |part| at(part, c.iter().copied()))
                    })
                },
            );
            Some(make.note(format!("axis {axis}")))
        },
    )
}

fn stack() -> Op {
    Op::new(
        "stack",
        |_| true,
        |draw| {
            let axis = draw.rank() - if draw.is_bench() { 0 } else { draw.below(draw.rank() + 1) };
            let dtype = draw.dtype;
            let make = Use::new(
                vec![draw.operand(Fill::Any); 3],
                move |x| Tensor::stack(&x.iter().collect::<Vec<_>>(), axis),
                move |x| {
                    let mut whole = x[0].shape.clone();
                    whole.insert(axis, x.len());
                    arranged(&whole, dtype, |c| {
                        at(&x[c[axis]], c.iter().enumerate().filter(|(i, _)| *i != axis).map(|(_, &c)| c))
                    })
                },
            );
            Some(make.note(format!("axis {axis}")))
        },
    )
}

fn pad() -> Op {
    Op::new(
        "pad",
        |_| true,
        |draw| {
            let rank = draw.rank();
            let end = |draw: &mut Draw| if draw.is_bench() { 1 } else { draw.one_of(&[0, 1, 2, 0, 5]) };
            let padding: Vec<_> = (0..rank).map(|_| (end(draw), end(draw))).collect();
            let value = draw.one_of(&[0.0, -1.5, f64::NAN, f64::NEG_INFINITY, 300.7]);
            let (dtype, note) = (draw.dtype, format!("{padding:?} of {value}"));
            let ends = padding.clone();
            let make = Use::new(
                [draw.operand(Fill::Any)],
                move |x| first(x)?.pad(&padding, value),
                move |x| {
                    let x = &x[0];
                    let whole: Vec<_> = x.shape.iter().zip(&ends).map(|(dim, (a, b))| dim + a + b).collect();
                    arranged(&whole, dtype, |c| {
                        let inside = (0..rank).all(|i| c[i] >= ends[i].0 && c[i] < ends[i].0 + x.shape[i]);
                        match inside {
                            true => at(x, c.iter().zip(&ends).map(|(c, (before, _))| c - before)),
                            false => cast(Value::Float(value), dtype),
                        }
                    })
                },
            );
            Some(make.note(note))
        },
    )
}

fn roll() -> Op {
    Op::new(
        "roll",
        |_| true,
        |draw| {
            let axes = some_axes(draw);
            let shift = |_: &usize| match draw.is_bench() {
                true => 1000,
                false => draw.one_of(&[1, -1, 0, 2, -3, 17, i64::MAX, i64::MIN]),
            };
            let shifts: Vec<i64> = axes.iter().map(shift).collect();
            let (dtype, note) = (draw.dtype, format!("{shifts:?} by {axes:?}"));
            let moves: Vec<_> = axes.iter().copied().zip(shifts.iter().copied()).collect();
            let make = Use::new(
                [draw.operand(Fill::Any)],
                move |x| first(x)?.roll(&shifts, &axes),
                move |x| {
                    arranged(&x[0].shape, dtype, |c| {
                        let mut c = c.to_vec();
                        for &(axis, shift) in &moves {
                            let dim = x[0].shape[axis] as i128;
                            c[axis] = (c[axis] as i128 - i128::from(shift)).rem_euclid(dim) as usize;
                        }
                        at(&x[0], c)
                    })
                },
            );
            Some(make.note(note))
        },
    )
}

fn flip() -> Op {
    Op::new(
        "flip",
        |_| true,
        |draw| {
            let axes = some_axes(draw);
            let (dtype, note, turned) = (draw.dtype, format!("{axes:?}"), axes.clone());
            let make = Use::new(
                [draw.operand(Fill::Any)],
                move |x| first(x)?.flip(&axes),
                move |x| {
                    let shape = &x[0].shape;
                    arranged(shape, dtype, |c| {
                        let turn = |i: usize| if turned.contains(&i) { shape[i] - 1 - c[i] } else { c[i] };
                        at(&x[0], (0..c.len()).map(turn))
                    })
                },
            );
            Some(make.note(note))
        },
    )
}

fn repeat() -> Op {
    Op::new(
        "repeat",
        |_| true,
        |draw| {
            let (rank, dtype) = (draw.rank(), draw.dtype);
            let lead = if draw.is_bench() { 0 } else { draw.below(3) };
            let mut counts: Vec<usize> = (0..lead + rank).map(|_| draw.one_of(&[1, 2, 1, 3, 0])).collect();
            if draw.is_bench() {
                counts[rank - 1] = 2;
            }
            let repeated = (0..rank).filter(|&i| counts[lead + i] != 1 && draw.shape[i] > 1).count();
            if lead + rank + repeated > taut::MAX_RANK {
                return None;
            }
            let (note, times) = (format!("{counts:?}"), counts.clone());
            let make = Use::new(
                [draw.operand(Fill::Any)],
                move |x| first(x)?.repeat(&counts),
                move |x| {
                    let dims = [&vec![1; lead][..], &x[0].shape].concat();
                    let whole: Vec<_> = dims.iter().zip(&times).map(|(dim, count)| dim * count).collect();
                    arranged(&whole, dtype, |c| at(&x[0], (lead..c.len()).map(|i| c[i] % dims[i])))
                },
            );
            Some(make.note(note))
        },
    )
}
