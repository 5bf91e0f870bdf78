//! The ops, by family. Each decides where its result lives and which workspace it takes, allocates, and then matches on
//! the device once.

mod binary;
mod copy;
mod matmul;
mod norm;
mod reduce;
mod softmax;
mod unary;
