//! The ops, by family. Each decides where its result lives and which workspace it takes, allocates, and then matches on
//! the device once.

mod arrange;
mod attention;
mod binary;
mod bits;
pub(crate) mod copy;
mod cross_entropy;
mod einsum;
mod fused;
mod gather;
mod head;
mod matmul;
pub mod multi;
mod norm;
mod norm_backward;
mod number;
pub mod optimizer;
mod packed;
mod reduce;
mod scan;
mod scatter;
mod select;
mod softmax;
mod softmax_backward;
mod sort;
mod triangle;
mod unary;
pub(crate) mod unary_backward;

pub use fused::Fused;
pub use number::Number;

use crate::Tensor;
use taut_core::{Error, Result};

/// Refuses an operand that is written in place, if the view shows an element twice.
fn check_distinct(x: &Tensor, op: &str) -> Result<()> {
    if x.layout().overlaps() {
        let shape = x.shape();
        return Err(Error::shared(format!("{op}: {shape} is broadcast: one element stands for several")));
    }
    Ok(())
}

/// Refuses an operand that does not broadcast to the shape of the one that is written in place.
fn check_fits(x: &Tensor, other: &Tensor, op: &str) -> Result<()> {
    let (a, b) = (x.shape(), other.shape());
    if a.broadcast(b, op)? != *a {
        return Err(Error::shape(format!("{op}: {b} does not broadcast to {a}")));
    }
    Ok(())
}
