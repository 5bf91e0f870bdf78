//! Every op, by family.

mod binary;
mod copy;
mod select;
mod einsum;
mod matmul;
mod unary;

use crate::Op;

/// Every op.
pub fn all() -> Vec<Op> {
    [unary::ops(), binary::ops(), select::ops(), copy::ops()].into_iter().flatten().collect()
    [unary::ops(), copy::ops(), matmul::ops(), einsum::ops()].into_iter().flatten().collect()
}
