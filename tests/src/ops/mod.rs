//! Every op, by family.

mod norm;
mod softmax;
mod unary;

use crate::Op;

/// Every op.
pub fn all() -> Vec<Op> {
    [norm::ops(), softmax::ops(), unary::ops()].into_iter().flatten().collect()
}
