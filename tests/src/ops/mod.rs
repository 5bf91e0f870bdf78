//! Every op, by family.

mod binary;
mod copy;
mod einsum;
mod matmul;
mod select;
mod reduce;
mod unary;

use crate::Op;

/// Every op.
pub fn all() -> Vec<Op> {
    let families = [unary::ops, binary::ops, select::ops, copy::ops, matmul::ops, einsum::ops];
    families.into_iter().flat_map(|ops| ops()).collect()
    [unary::ops(), copy::ops(), reduce::ops()].into_iter().flatten().collect()
}
