//! Choices between two tensors, element by element.

use super::binary::{beside, broadcast, repeated};
use crate::{Fill, Op, Operand, Use, Value, Want, cast, split};
use taut::DType;

pub(super) fn ops() -> Vec<Op> {
    vec![where_mask(), masked_fill()]
}

fn where_mask() -> Op {
    Op::new(
        "where_mask",
        |_| true,
        |draw| {
            let (dtype, mask, other) = (draw.dtype, beside(draw), beside(draw));
            let shape = broadcast(&broadcast(&draw.shape, &mask), &other);
            let stays = shape == draw.shape;
            let make = Use::new(
                [
                    draw.operand(Fill::Any),
                    Operand::new(&mask, DType::Bool, Fill::Any),
                    Operand::new(&other, dtype, Fill::Any),
                ],
                |x| {
                    let (x, rest) = split(x)?;
                    x.where_mask(&rest[0], &rest[1])
                },
                move |x| {
                    let [own, mask, other] = [0, 1, 2].map(|i| repeated(&x[i], &shape));
                    Want::exact(&shape, dtype, chosen(&mask, &own, &other))
                },
            );
            Some(if stays { make.twin(|x, rest| x.where_mask_(&rest[0], &rest[1])) } else { make })
        },
    )
    .in_place()
}

fn masked_fill() -> Op {
    Op::new(
        "masked_fill",
        |_| true,
        |draw| {
            let (dtype, mask) = (draw.dtype, beside(draw));
            let value = draw.one_of(&[f64::NEG_INFINITY, 0.0, -2.7, f64::NAN]);
            let shape = broadcast(&draw.shape, &mask);
            let stays = shape == draw.shape;
            let bytes = draw.numel() * (2 * dtype.size() + 1);
            let make = Use::new(
                [draw.operand(Fill::Any), Operand::new(&mask, DType::Bool, Fill::Any)],
                move |x| {
                    let (x, rest) = split(x)?;
                    x.masked_fill(&rest[0], value)
                },
                move |x| {
                    let [own, mask] = [0, 1].map(|i| repeated(&x[i], &shape));
                    let filled = vec![cast(Value::Float(value), dtype); own.len()];
                    Want::exact(&shape, dtype, chosen(&mask, &filled, &own))
                },
            );
            let make = make.note(value).bytes(bytes);
            Some(if stays { make.twin(move |x, rest| x.masked_fill_(&rest[0], value)) } else { make })
        },
    )
    .in_place()
}

fn chosen(mask: &[Value], a: &[Value], b: &[Value]) -> Vec<Value> {
    let each = mask.iter().zip(a.iter().zip(b));
    each.map(|(mask, (&a, &b))| if *mask == Value::Int(1) { a } else { b }).collect()
}
