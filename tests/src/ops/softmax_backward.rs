//! The backward of softmax along an axis.

use crate::{
    Array, Draw, Fill, Interval, Op, Use, Want, by_rows, log_softmax_backward, softmax_backward, split,
};
use taut::DType;

pub(super) fn ops() -> Vec<Op> {
    let rows = |name, draw: fn(&mut Draw) -> Option<Use>| Op::new(name, DType::is_float, draw).in_place();
    let long = |name| Op::new(name, DType::is_float, |draw| plain(draw.axis()?, draw));
    vec![
        rows("softmax_backward", |draw| plain(draw.axis()?, draw)),
        long("softmax_backward, rows of 1024").scale(|n| vec![n / 1024, 1024]),
        long("softmax_backward, rows of 16384").scale(|n| vec![n / 16_384, 16_384]),
        long("softmax_backward, rows of 131072").scale(|n| vec![n / 131_072, 131_072]),
        rows("softmax_backward, columns", |draw| (draw.rank() > 1).then(|| plain(0, draw))?),
        rows("log_softmax_backward", |draw| {
            let (axis, grad) = (draw.axis()?, draw.one_of(&[Fill::Tame, Fill::Wild]));
            let call = move |x| {
                let (grad, output) = split(x)?;
                grad.log_softmax_backward(axis, &output[0])
            };
            let define = move |x: &[Array]| over_rows(x, axis, log_softmax_backward);
            Some(Use::new([draw.operand(grad), draw.operand(Fill::Tame)], call, define).note(axis))
        }),
    ]
}

/// No output is infinite; whole numbers are 0 now and then.
fn plain(axis: usize, draw: &mut Draw) -> Option<Use> {
    let scale = draw.one_of(&[1.0, 0.125, -3.7]);
    let (grad, output) =
        draw.one_of(&[(Fill::Tame, Fill::Tame), (Fill::Wild, Fill::Tame), (Fill::Wild, Fill::Whole)]);
    let call = move |x| {
        let (grad, output) = split(x)?;
        grad.softmax_backward(axis, &output[0], scale)
    };
    let define = move |x: &[Array]| over_rows(x, axis, |row, dtype| softmax_backward(row, scale, dtype));
    Some(
        Use::new([draw.operand(grad), draw.operand(output)], call, define)
            .note(format!("axis {axis}, {scale}")),
    )
}

fn over_rows(x: &[Array], axis: usize, f: impl Fn(&[(f64, f64)], DType) -> Vec<Interval>) -> Want {
    let dtype = x[0].dtype;
    let pairs: Vec<_> = x[0].floats().into_iter().zip(x[1].floats()).collect();
    Want::within(&x[0].shape, dtype, by_rows(&x[0].shape, axis, &pairs, |row, _| f(row, dtype)))
}
