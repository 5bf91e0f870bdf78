//! The ops, by family. A variant here and its functor in CUDA have the same name.

mod activation;
mod binary;
mod index;
mod norm;
mod random;
mod reduce;
mod saved;
mod scan;
mod softmax;
mod unary;

pub use activation::Activation;
pub use binary::Binary;
pub use index::Index;
pub use norm::Norm;
pub use random::Random;
pub use reduce::Reduce;
pub use saved::{SAVED, Saved, saved};
pub use scan::Scan;
pub use softmax::Softmax;
pub use unary::Unary;
