//! Every op, by family.

mod unary;

use crate::Op;

/// Every op.
pub fn all() -> Vec<Op> {
    [unary::ops()].into_iter().flatten().collect()
}
