//! One launcher for each kernel family: a pure choice, then the launch. None allocates; empty tensors return before
//! any launch.

pub mod arrange;
pub mod attention;
pub mod binary;
pub mod bits;
pub mod copy;
pub mod cross_entropy;
pub mod fill;
pub mod fused;
pub mod gather;
pub mod matmul;
pub mod multi;
pub mod norm;
pub mod norm_backward;
pub mod norm_weight_backward;
pub mod optimizer;
pub mod packed;
mod places;
pub mod random;
pub mod reduce;
mod rows;
pub mod scan;
pub mod scatter;
pub mod select;
mod slabs;
pub mod softmax;
pub mod softmax_backward;
pub mod sort;
mod stay;
mod table;
pub mod triangle;
pub mod unary;
pub mod unary_backward;
mod walk;

pub use table::Number;
