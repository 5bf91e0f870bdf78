//! Every op, by family.

mod copy;
mod unary;

use crate::Op;

/// Every op.
pub fn all() -> Vec<Op> {
    [unary::ops(), copy::ops()].into_iter().flatten().collect()
}
