//! Gradients of ops of two operands.

use crate::{
    Tensor,
    grad::{Kept, Tape, sum_to},
};
use taut_core::{Binary, Predicate, Result, Shape};

/// Whether the backward of `op` needs the first operand, the second, and the result.
pub(super) fn needs(op: Binary, tape: &Tape) -> [bool; 3] {
    let (a, b) = (tape.wants(0), tape.wants(1));
    match op {
        Binary::Mul => [b, a, false],
        Binary::Div => [false, a || b, b],
        Binary::Pow => [a || b, a || b, b],
        _ => [false; 3],
    }
}

/// What is noted of an op: made before it runs, since the first operand may be written over.
pub(super) struct Note {
    op: Binary,
    tape: Tape,
    shapes: [Shape; 2],
    a: Option<Kept>,
    b: Option<Kept>,
    /// Bits that are 1 where the result is the first operand: of [`Binary::Minimum`] and [`Binary::Maximum`].
    is_first: Option<Kept>,
}

impl Note {
    pub(super) fn new(op: Binary, a: &Tensor, b: &Tensor, tape: Tape) -> Result<Note> {
        let [keep_a, keep_b, _] = needs(op, &tape);
        let ask = match op {
            Binary::Minimum => Some(Predicate::Le),
            Binary::Maximum => Some(Predicate::Ge),
            _ => None,
        };
        let is_first = match ask.filter(|_| tape.is_on()) {
            Some(ask) => {
                let shape = a.shape().broadcast(b.shape(), op.name())?;
                tape.keep(&a.bits(op.name(), ask, b, shape)?, true)
            }
            None => None,
        };
        let (shapes, a, b) = ([*a.shape(), *b.shape()], tape.keep(a, keep_a), tape.keep(b, keep_b));
        Ok(Note { op, tape, shapes, a, b, is_first })
    }

    pub(super) fn of(self, out: &mut Tensor) {
        let Note { op, tape, shapes, a, b, is_first } = self;
        let y = tape.keep(out, needs(op, &tape)[2]);
        tape.note(out, move |grad, flow| {
            let take = |kept: Option<Kept>| kept.map(Kept::take).transpose();
            let (a, b, y, is_first) = (take(a)?, take(b)?, take(y)?, take(is_first)?);
            let wants = [flow.wants(0), flow.wants(1)];
            let [first, second] = gradients(op, grad, wants, a, b, y, is_first)?;
            for (i, grad) in [first, second].into_iter().enumerate() {
                if let Some(grad) = grad {
                    flow.give(i, sum_to(grad, shapes[i])?)?;
                }
            }
            Ok(())
        });
    }
}

/// The gradients of the operands that want one, of the shape of the result. What is kept is there as [`needs`] says.
fn gradients(
    op: Binary,
    grad: Tensor,
    [first, second]: [bool; 2],
    a: Option<Tensor>,
    b: Option<Tensor>,
    y: Option<Tensor>,
    is_first: Option<Tensor>,
) -> Result<[Option<Tensor>; 2]> {
    // Of the last that is made, by value, so that it may be made over the gradient itself.
    let own = |needed: bool| needed.then(|| grad.clone());
    match (op, a, b) {
        (Binary::Add, ..) => Ok([own(first), own(second)]),
        (Binary::Sub, ..) => {
            let one = own(first);
            Ok([one, second.then(|| grad.neg()).transpose()?])
        }
        (Binary::Mul, a, b) => {
            let one = b.zip(own(first)).map(|(b, grad)| grad.mul(&b)).transpose()?;
            Ok([one, a.map(|a| grad.mul(&a)).transpose()?])
        }
        (Binary::Div, _, Some(b)) => {
            let grad = grad.div(&b)?;
            let one = first.then(|| grad.clone());
            // Of a / b by b: -(a / b) / b.
            Ok([one, y.map(|y| grad.mul(&y)?.neg()).transpose()?])
        }
        (Binary::Pow, Some(a), Some(b)) => {
            let two = y.zip(own(second)).map(|(y, grad)| {
                // 0^b is 0 for all b > 0, whatever the logarithm says.
                let flat = a.clone().eq(&a.zeros_like()?)?.and(&b.clone().gt(&b.zeros_like()?)?)?;
                grad.mul(&y)?.mul(&a.clone().log()?)?.masked_fill(&flat, 0.0)
            });
            let one = first.then(|| {
                // x^0 is 1 for all x, whatever x^-1 says.
                let flat = b.clone().eq(&b.zeros_like()?)?;
                grad.mul(&b)?.mul(&a.pow(&b.add_scalar(-1.0)?)?)?.masked_fill(&flat, 0.0)
            });
            Ok([one.transpose()?, two.transpose()?])
        }
        (Binary::Minimum | Binary::Maximum, ..) => {
            let Some(bits) = is_first else { return Ok([None, None]) };
            if !first {
                return Ok([None, Some(grad.choose(&bits, false, 0.0)?)]);
            }
            let two = own(second).map(|grad| grad.choose(&bits, false, 0.0)).transpose()?;
            Ok([Some(grad.choose(&bits, true, 0.0)?), two])
        }
        // Their results are bools.
        _ => Ok([None, None]),
    }
}
