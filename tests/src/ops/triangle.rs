//! Triangles of matrices.

use super::arrange::{arranged, at};
use crate::{Draw, Fill, Op, Operand, Use, Value, Want, cast, first};
use taut::{DType, Tensor};

pub(super) fn ops() -> Vec<Op> {
    let mut ops = vec![tril_mask()];
    ops.extend([("tril", false), ("triu", true)].map(|(name, upper)| triangle(name, upper)));
    ops
}

/// On the main diagonal, beside it, and outside of the matrix.
fn diagonal(draw: &mut Draw) -> i64 {
    draw.one_of(&[0, 1, -1, 3, -4, 40, -70, 5000, -5000, i64::MAX, i64::MIN])
}

fn stays(c: &[usize], upper: bool, diagonal: i64) -> bool {
    let [.., row, column] = *c else { return false };
    let distance = column as i64 - row as i64;
    if upper { distance >= diagonal } else { distance <= diagonal }
}

fn triangle(name: &str, upper: bool) -> Op {
    let op = Op::new(
        name,
        |_| true,
        move |draw| {
            let (dtype, diagonal) = (draw.dtype, diagonal(draw));
            if draw.rank() < 2 {
                return None;
            }
            let make =
                Use::new(
                    [draw.operand(Fill::Any)],
                    move |x| if upper { first(x)?.triu(diagonal) } else { first(x)?.tril(diagonal) },
                    move |x| {
                        let zero = cast(Value::Int(0), dtype);
                        let keep = |c: &[usize]| stays(c, upper, diagonal);
                        arranged(&x[0].shape, dtype, |c| {
                            if keep(c) { at(&x[0], c.iter().copied()) } else { zero }
                        })
                    },
                );
            let make = make.note(diagonal);
            Some(make.twin(move |x, _| if upper { x.triu_(diagonal) } else { x.tril_(diagonal) }))
        },
    );
    op.in_place()
}

/// On a device that its operand only names.
fn tril_mask() -> Op {
    Op::new(
        "tril_mask",
        |dtype| dtype == DType::Bool,
        |draw| {
            let &[.., n, m] = &draw.shape[..] else { return None };
            let diagonal = diagonal(draw);
            let make = Use::new(
                [Operand::new(&[], DType::Bool, Fill::Whole)],
                move |x| Tensor::tril_mask(n, m, diagonal, x[0].device()),
                move |_| -> Want {
                    arranged(&[n, m], DType::Bool, |c| Value::Int(stays(c, false, diagonal).into()))
                },
            );
            Some(make.note(diagonal).bytes(n * m))
        },
    )
}
