//! Softmax along an axis.

use crate::{
    Array, Draw, Fill, Interval, Op, Operand, Use, Want, by_rows, first, log_softmax, scaled, softmax, split,
};
use taut::DType;

pub(super) fn ops() -> Vec<Op> {
    let rows = |name, draw: fn(&mut Draw) -> Option<Use>| Op::new(name, DType::is_float, draw).in_place();
    vec![
        rows("softmax", |draw| plain(draw.axis()?, draw)),
        rows("softmax, rows of 1024", |draw| plain(draw.axis()?, draw)).scale(|n| vec![n / 1024, 1024]),
        rows("softmax, rows of 16384", |draw| plain(draw.axis()?, draw)).scale(|n| vec![n / 16_384, 16_384]),
        rows("softmax, rows of 131072", |draw| plain(draw.axis()?, draw))
            .scale(|n| vec![n / 131_072, 131_072]),
        rows("softmax, columns", |draw| (draw.rank() > 1).then(|| plain(0, draw))?),
        rows("log_softmax", |draw| {
            let (axis, fill) = (draw.axis()?, fill(draw));
            let define = move |x: &[Array]| over_rows(&x[0], axis, log_softmax);
            Some(Use::new([draw.operand(fill)], move |x| first(x)?.log_softmax(axis), define).note(axis))
        }),
        rows("softmax_with", |draw| {
            let (axis, fill) = (draw.axis()?, fill(draw));
            let scale = draw.one_of(&[0.125, 1.0, -3.7, 40.0, 0.0]);
            let call = move |x| first(x)?.softmax_with(axis, scale, None);
            let define = move |x: &[Array]| {
                over_rows(&x[0], axis, |row, dtype| softmax(&times(row, scale, dtype), 0.0, dtype))
            };
            Some(Use::new([draw.operand(fill)], call, define).note(format!("axis {axis}, {scale}")))
        }),
        rows("softmax_with, mask", masked),
    ]
}

fn plain(axis: usize, draw: &mut Draw) -> Option<Use> {
    let fill = fill(draw);
    let define = move |x: &[Array]| over_rows(&x[0], axis, |row, dtype| softmax(row, f64::NAN, dtype));
    Some(Use::new([draw.operand(fill)], move |x| first(x)?.softmax(axis), define).note(axis))
}

fn masked(draw: &mut Draw) -> Option<Use> {
    let (axis, fill) = (draw.axis()?, fill(draw));
    let scale = draw.one_of(&[0.125, 1.0, -3.7]);
    // Some leading axes fewer, some others of extent 1; in benches as large as the tensor.
    let skip = draw.below(draw.rank() + 1);
    let shape = draw.shape.clone();
    let mask: Vec<usize> =
        shape[skip..].iter().map(|&dim| if draw.below(4) == 1 { 1 } else { dim }).collect();
    let operands = [draw.operand(fill), Operand::new(&mask, DType::Bool, Fill::Whole)];
    let call = move |x| {
        let (x, others) = split(x)?;
        x.softmax_with(axis, scale, others.first())
    };
    let define = move |x: &[Array]| {
        let truth = broadcast(&x[1], &x[0].shape);
        let dtype = x[0].dtype;
        let pairs: Vec<(f64, bool)> = x[0].floats().into_iter().zip(truth).collect();
        let intervals = by_rows(&x[0].shape, axis, &pairs, |row, _| {
            let scaled = row.iter().map(
                |&(x, takes_part)| {
                    if takes_part { scaled(x, scale, dtype) } else { f64::NEG_INFINITY }
                },
            );
            softmax(&scaled.collect::<Vec<_>>(), 0.0, dtype)
        });
        Want::within(&x[0].shape, dtype, intervals)
    };
    Some(Use::new(operands, call, define).note(format!("axis {axis}, {scale}")))
}

/// What a mask says in a larger shape.
fn broadcast(mask: &Array, shape: &[usize]) -> Vec<bool> {
    let grid = crate::Grid::new(&mask.shape).broadcast(shape);
    grid.index.into_iter().map(|i| mask.values[i].float() != 0.0).collect()
}

/// In benches numbers of moderate size.
fn fill(draw: &mut Draw) -> Fill {
    draw.one_of(&[Fill::Tame, Fill::Wild, Fill::Any])
}

fn times(row: &[f64], scale: f32, dtype: DType) -> Vec<f64> {
    row.iter().map(|&x| scaled(x, scale, dtype)).collect()
}

fn over_rows(x: &Array, axis: usize, f: impl Fn(&[f64], DType) -> Vec<Interval>) -> Want {
    let intervals = by_rows(&x.shape, axis, &x.floats(), |row, _| f(row, x.dtype));
    Want::within(&x.shape, x.dtype, intervals)
}
