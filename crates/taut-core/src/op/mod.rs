//! The ops, by family. A variant here and its functor in CUDA have the same name.

mod activation;
mod binary;
mod fused;
mod index;
mod random;
mod reduce;
mod saved;
mod triangle;
mod unary;

pub use activation::Activation;
pub use binary::Binary;
pub use fused::{Dropout, Mask};
pub use index::Index;
pub use random::Random;
pub use reduce::Reduce;
pub use saved::{SAVED, Saved, saved};
pub use triangle::Triangle;
pub use unary::Unary;
