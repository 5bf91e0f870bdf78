//! The backward of norms of rows.

use crate::{Array, Draw, Fill, Op, Operand, Use, Want, by_rows, norm_backward, norm_weight_backward, split};
use taut::{DType, Norm};

pub(super) fn ops() -> Vec<Op> {
    let mut ops = Vec::new();
    for (norm, name) in [(Norm::Layer, "layer"), (Norm::Rms, "rms"), (Norm::L2, "l2")] {
        let op = Op::new(format!("norm_backward, {name}"), DType::is_float, move |draw| input(draw, norm));
        ops.push(op.in_place());
    }
    for (norm, name) in [(Norm::Layer, "layer"), (Norm::Rms, "rms")] {
        let rows = |n: usize| {
            Op::new(format!("norm_backward, {name}, rows of {n}"), DType::is_float, move |draw| {
                input(draw, norm)
            })
        };
        ops.push(rows(1024).scale(|n| vec![n / 1024, 1024]));
        ops.push(rows(16_384).scale(|n| vec![n / 16_384, 16_384]));
        ops.push(rows(131_072).scale(|n| vec![n / 131_072, 131_072]));
    }
    for (norm, name) in [(Norm::Layer, "layer"), (Norm::Rms, "rms")] {
        let name = format!("norm_weight_backward, {name}");
        ops.push(Op::new(name, DType::is_float, move |draw| weight(draw, norm)));
    }
    ops
}

/// Of the dtype of the tensor or f32.
fn of_weights(draw: &mut Draw) -> DType {
    if draw.dtype == DType::F64 { DType::F64 } else { draw.one_of(&[draw.dtype, DType::F32]) }
}

fn input(draw: &mut Draw, norm: Norm) -> Option<Use> {
    let axis = if norm == Norm::L2 { draw.axis()? } else { draw.rank().checked_sub(1)? };
    let (eps, fill) = (draw.one_of(&[1e-5, 1e-12, 0.5]), draw.one_of(&[Fill::Tame, Fill::Whole]));
    let weighted = norm != Norm::L2 && draw.below(3) != 1;
    let mut operands = vec![draw.operand(Fill::Tame), draw.operand(fill)];
    if weighted {
        let dtype = of_weights(draw);
        operands.push(Operand::new(&draw.shape[axis..], dtype, Fill::Tame));
    }
    let call = move |x| {
        let (grad, others) = split(x)?;
        grad.norm_backward(norm, axis, &others[0], others.get(1), eps)
    };
    let define = move |x: &[Array]| {
        let (shape, dtype) = (&x[0].shape, x[0].dtype);
        let weight = x.get(2).map_or(vec![1.0; shape[axis]], Array::floats);
        let pairs: Vec<_> = x[0].floats().into_iter().zip(x[1].floats()).collect();
        Want::within(
            shape,
            dtype,
            by_rows(shape, axis, &pairs, |row, _| norm_backward(norm, row, eps, &weight, dtype)),
        )
    };
    Some(Use::new(operands, call, define).note(format!("axis {axis}, {eps}")))
}

fn weight(draw: &mut Draw, norm: Norm) -> Option<Use> {
    let n = *draw.shape.last()?;
    let (eps, fill, dtype) =
        (draw.one_of(&[1e-5, 0.5]), draw.one_of(&[Fill::Tame, Fill::Whole]), of_weights(draw));
    let operands = [draw.operand(Fill::Tame), draw.operand(fill)];
    let call = move |x| {
        let (grad, others) = split(x)?;
        let (weight, bias) = grad.norm_weight_backward(norm, &others[0], eps, dtype)?;
        Ok([weight].into_iter().chain(bias).collect())
    };
    let define = move |x: &[Array]| {
        let [weight, bias] = norm_weight_backward(norm, &x[0].floats(), &x[1].floats(), n, eps, x[0].dtype);
        let sums = if norm == Norm::Layer { vec![weight, bias] } else { vec![weight] };
        sums.into_iter().map(|sums| Want::within(&[n], dtype, sums)).collect()
    };
    Some(Use::several(operands, call, define).note(format!("{eps}, {dtype}")))
}
