//! The cross entropy of rows with labels.

use crate::{Array, CrossEntropy, Draw, Fill, Op, Operand, Use, Want, by_rows, cross_entropy, split};
use taut::DType;

pub(super) fn ops() -> Vec<Op> {
    // In benches as many classes as a vocabulary has words.
    let rows = |name, draw: fn(&mut Draw) -> Option<Use>| {
        Op::new(name, DType::is_float, draw).scale(|numel| vec![numel / 32_768, 32_768])
    };
    vec![
        rows("cross_entropy", |draw| compared(draw, false)),
        rows("cross_entropy_with_grad", |draw| compared(draw, true)).in_place(),
        rows("cross_entropy_with_grad, rows of 50304", |draw| compared(draw, true))
            .in_place()
            .scale(|n| vec![n / 50_304, 50_304]),
    ]
}

fn compared(draw: &mut Draw, with_grad: bool) -> Option<Use> {
    let classes = draw.shape.last().copied().filter(|&classes| classes > 0)?;
    let rows = draw.numel() / classes;
    let fill = draw.one_of(&[Fill::Tame, Fill::Wild]);
    let smoothing = draw.one_of(&[0.0, 0.1, 1.0]);
    let ignore = draw.one_of(&[None, Some(0), Some(-100)]);
    let losses = if draw.dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let mut operands = vec![
        Operand::new(&[rows, classes], draw.dtype, fill),
        Operand::new(&[rows], DType::I64, Fill::Below(classes)),
    ];
    if with_grad {
        operands.push(Operand::new(&[], losses, Fill::Tame));
    }
    let call = move |x| {
        let (x, others) = split(x)?;
        if !with_grad {
            return Ok(vec![x.cross_entropy(&others[0], smoothing, ignore)?]);
        }
        let (losses, grad) = x.cross_entropy_with_grad(&others[0], smoothing, ignore, &others[1])?;
        Ok(vec![losses, grad])
    };
    let define = move |x: &[Array]| {
        let dtype = x[0].dtype;
        let scale = x.get(2).map_or(1.0, |scale| scale.values[0].float());
        let by = CrossEntropy { smoothing, scale, dtype };
        let label = |row: usize| {
            let label = x[1].values[row].float();
            ignore.is_none_or(|ignore| ignore as f64 != label).then_some(label as usize)
        };
        let mut all = Vec::new();
        let grad = by_rows(&x[0].shape, 1, &x[0].floats(), |row, number| {
            let (loss, grad) = cross_entropy(row, label(number), by);
            all.push(loss);
            grad
        });
        let mut wants = vec![Want::within(&[rows], losses, all)];
        if with_grad {
            wants.push(Want::within(&x[0].shape, dtype, grad));
        }
        wants
    };
    Some(Use::several(operands, call, define).note(format!("{smoothing}, {ignore:?}")))
}
