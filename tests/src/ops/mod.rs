//! Every op, by family.

mod binary;
mod copy;
mod einsum;
mod matmul;
mod reduce;
mod select;
mod unary;

use crate::Op;

/// Every op.
pub fn all() -> Vec<Op> {
    let families = [unary::ops, binary::ops, select::ops, copy::ops, matmul::ops, einsum::ops, reduce::ops];
    families.into_iter().flat_map(|ops| ops()).collect()
}
