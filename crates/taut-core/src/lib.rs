//! Facts that every crate of taut shares: dtypes, shapes, layouts, op names and errors.
//!
//! Knows no device and no memory. Everything here is a plain value.

mod codes;
mod dtype;
mod error;
mod layout;
mod op;
mod product;
mod shape;

pub use codes::{CODE_BLOCK, DECADES, Decade, code, level, signed_code, signed_level};
pub use dtype::{DType, Element};
pub use error::{Error, ErrorKind, Result};
pub use layout::Layout;
pub use op::{
    Activation, AdamW, Attention, Binary, Dropout, Index, Kept, Lion, Mask, Multi, Norm, Onto, Packed,
    Predicate, Random, Reduce, Rule, SAVED, Saved, Scan, Sgd, Softmax, Triangle, Unary, saved,
};
pub use product::{Precision, Products};
pub use shape::{MAX_RANK, Shape};
