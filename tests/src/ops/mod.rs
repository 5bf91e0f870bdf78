//! Every op, by family.

mod copy;
mod einsum;
mod matmul;
mod unary;

use crate::Op;

/// Every op.
pub fn all() -> Vec<Op> {
    [unary::ops(), copy::ops(), matmul::ops(), einsum::ops()].into_iter().flatten().collect()
}
