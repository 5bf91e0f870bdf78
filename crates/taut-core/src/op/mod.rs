//! The ops, by family. A variant here and its functor in CUDA have the same name.

mod activation;
mod attention;
mod binary;
mod fused;
mod index;
mod multi;
mod norm;
mod onto;
mod optimizer;
mod packed;
mod predicate;
mod random;
mod reduce;
mod saved;
mod scan;
mod softmax;
mod triangle;
mod unary;

pub use activation::Activation;
pub use attention::Attention;
pub use binary::Binary;
pub use fused::{Dropout, Mask};
pub use index::Index;
pub use multi::Multi;
pub use norm::Norm;
pub use onto::Onto;
pub use optimizer::{AdamW, Lion, Rule, Sgd};
pub use packed::Packed;
pub use predicate::Predicate;
pub use random::Random;
pub use reduce::Reduce;
pub use saved::{SAVED, Saved, saved};
pub use scan::Scan;
pub use softmax::Softmax;
pub use triangle::Triangle;
pub use unary::{Kept, Unary};
