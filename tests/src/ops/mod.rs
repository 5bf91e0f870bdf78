//! Every op, by family.

mod copy;
mod gather;
mod scatter;
mod sort;
mod unary;

use crate::Op;

/// Every op.
pub fn all() -> Vec<Op> {
    [unary::ops(), copy::ops(), sort::ops(), gather::ops(), scatter::ops()].into_iter().flatten().collect()
}
