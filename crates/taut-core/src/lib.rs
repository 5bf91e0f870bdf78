//! Facts that every crate of taut shares: dtypes, shapes, layouts, op names and errors.
//!
//! Knows no device and no memory. Everything here is a plain value.

mod dtype;
mod error;
mod layout;
mod op;
mod product;
mod shape;

pub use dtype::{DType, Element};
pub use error::{Error, ErrorKind, Result};
pub use layout::Layout;
pub use op::{
    Activation, Attention, Binary, Dropout, Index, Kept, Mask, Norm, Packed, Random, Reduce, SAVED, Saved,
    Scan, Softmax, Triangle, Unary, saved,
};
pub use product::Products;
pub use shape::{MAX_RANK, Shape};
