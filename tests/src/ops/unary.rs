//! Elementwise ops of one operand.

use crate::{Fill, Op, Use, Want, first, unary};
use taut::Unary;

pub(super) fn ops() -> Vec<Op> {
    let ops = Unary::ALL.map(|usual| {
        let op = Op::new(
            usual.name(),
            move |dtype| usual.takes(dtype),
            move |draw| {
                let op = draw.one_of(&parameters(usual));
                let make = Use::new(
                    [draw.operand(Fill::Any)],
                    move |x| first(x)?.unary(op),
                    move |x| {
                        let values = x[0].values.iter().map(|&value| unary(op, value, x[0].dtype));
                        Want::exact(&x[0].shape, x[0].dtype, values.collect())
                    },
                );
                Some(make.note(format!("{op:?}")).twin(move |x, _| x.unary_(op)))
            },
        );
        op.in_place()
    });
    ops.into()
}

/// An op with its usual parameters, and with others: some that are no whole numbers or that some integers can not hold.
fn parameters(usual: Unary) -> Vec<Unary> {
    let others = match usual {
        Unary::LeakyRelu { .. } => vec![Unary::LeakyRelu { slope: -1.5 }],
        Unary::AddScalar { .. } => [-2.7, 1e10].map(|value| Unary::AddScalar { value }).into(),
        Unary::MulScalar { .. } => [0.1, f64::NAN].map(|value| Unary::MulScalar { value }).into(),
        _ => Vec::new(),
    };
    [vec![usual], others].concat()
}
