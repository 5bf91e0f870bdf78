//! Elementwise ops of one operand.

use crate::{Fill, Op, Use, Want, first, unary_elements};
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
                        let (shape, dtype) = (x[0].shape.clone(), x[0].dtype);
                        Want { shape, dtype, elements: unary_elements(op, &x[0].values, dtype) }
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
pub(super) fn parameters(usual: Unary) -> Vec<Unary> {
    let others = match usual {
        Unary::LeakyRelu { .. } => vec![Unary::LeakyRelu { slope: -1.5 }],
        Unary::AddScalar { .. } => [-2.7, 1e10].map(|value| Unary::AddScalar { value }).into(),
        Unary::MulScalar { .. } => [0.1, f64::NAN].map(|value| Unary::MulScalar { value }).into(),
        Unary::Elu { .. } => vec![Unary::Elu { alpha: 0.25 }, Unary::Elu { alpha: -1.5 }],
        Unary::Clamp { .. } => {
            let bounds = [(-0.3, 0.7), (2.5, 300.7), (f64::NEG_INFINITY, 0.0), (2.0, 1.0), (f64::NAN, 1.0)];
            bounds.map(|(low, high)| Unary::Clamp { low, high }).into()
        }
        Unary::PowScalar { .. } => {
            let exponents = [2.0, -1.0, 0.5, 0.0, 1.0 / 3.0, -7.25, 1e9, f64::INFINITY, f64::NAN];
            exponents.map(|exponent| Unary::PowScalar { exponent }).into()
        }
        _ => Vec::new(),
    };
    [vec![usual], others].concat()
}
