//! Every op, by family.

mod arrange;
mod binary;
mod copy;
mod einsum;
mod fused;
mod matmul;
mod select;
mod triangle;
mod unary;

use crate::Op;

/// Every op.
pub fn all() -> Vec<Op> {
    let families = [
        unary::ops,
        binary::ops,
        select::ops,
        copy::ops,
        matmul::ops,
        einsum::ops,
        arrange::ops,
        triangle::ops,
        fused::ops,
    ];
    families.into_iter().flat_map(|ops| ops()).collect()
}
