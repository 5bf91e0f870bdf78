//! The backward of elementwise ops of one operand.

use super::unary::parameters;
use crate::{Fill, Op, Use, Value, Want, derivative_elements, split};
use taut::{DType, Kept, Unary};

pub(super) fn ops() -> Vec<Op> {
    let keeps = |op: &Unary| op.kept().is_some_and(|kept| kept != Kept::Nothing);
    let op = |usual: Unary| {
        let op = Op::new(format!("unary_backward, {}", usual.name()), DType::is_float, move |draw| {
            let op = draw.one_of(&parameters(usual));
            // Of any bits most products are 0 or infinite; infinity times a derivative that is nearly 0 says nothing.
            let (grad, kept) =
                draw.one_of(&[(Fill::Tame, Fill::Tame), (Fill::Tame, Fill::Any), (Fill::Any, Fill::Tame)]);
            let make = Use::new(
                [draw.operand(grad), draw.operand(kept)],
                move |x| {
                    let (grad, kept) = split(x)?;
                    grad.unary_backward(op, &kept[0])
                },
                move |x| {
                    let (shape, dtype) = (x[0].shape.clone(), x[0].dtype);
                    let pairs: Vec<(Value, Value)> =
                        x[0].values.iter().copied().zip(x[1].values.iter().copied()).collect();
                    Want { shape, dtype, elements: derivative_elements(op, &pairs, dtype) }
                },
            );
            Some(make.note(format!("{op:?}")))
        });
        op.in_place()
    };
    Unary::ALL.into_iter().filter(keeps).map(op).collect()
}
