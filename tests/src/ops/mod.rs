//! Every op, by family.

mod arrange;
mod attention;
mod binary;
mod copy;
mod cross_entropy;
mod einsum;
mod fused;
mod gather;
mod grouped;
mod matmul;
mod norm;
mod norm_backward;
mod packed;
mod reduce;
mod scatter;
mod select;
mod softmax;
mod softmax_backward;
mod sort;
mod triangle;
mod unary;
mod unary_backward;

use crate::Op;

/// Every op.
pub fn all() -> Vec<Op> {
    let families = [
        unary::ops,
        unary_backward::ops,
        binary::ops,
        select::ops,
        fused::ops,
        copy::ops,
        arrange::ops,
        triangle::ops,
        matmul::ops,
        grouped::ops,
        einsum::ops,
        reduce::ops,
        sort::ops,
        gather::ops,
        scatter::ops,
        softmax::ops,
        softmax_backward::ops,
        attention::ops,
        packed::ops,
        norm::ops,
        norm_backward::ops,
        cross_entropy::ops,
    ];
    families.into_iter().flat_map(|ops| ops()).collect()
}
