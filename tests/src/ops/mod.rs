//! Every op, by family.

mod arrange;
mod attention;
mod binary;
mod copy;
mod einsum;
mod fused;
mod gather;
mod matmul;
mod norm;
mod packed;
mod reduce;
mod scatter;
mod select;
mod softmax;
mod sort;
mod triangle;
mod unary;

use crate::Op;

/// Every op.
pub fn all() -> Vec<Op> {
    let families = [
        unary::ops,
        binary::ops,
        select::ops,
        fused::ops,
        copy::ops,
        arrange::ops,
        triangle::ops,
        matmul::ops,
        einsum::ops,
        reduce::ops,
        sort::ops,
        gather::ops,
        scatter::ops,
        softmax::ops,
        attention::ops,
        packed::ops,
        norm::ops,
    ];
    families.into_iter().flat_map(|ops| ops()).collect()
}
