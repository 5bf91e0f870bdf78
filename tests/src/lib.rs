//! What the tests stand on: generated shapes, views and values, definitions in f64, and the list of trials.
//!
//! The test program is `main.rs` beside this folder, with one file for each family of ops.

/// The code blocks of the README, as doctests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

mod attention;
mod case;
mod close;
mod derivative;
mod elementwise;
mod embeddings;
mod geometry;
pub mod inputs;
mod op;
pub mod ops;
mod optimizer;
mod order;
mod philox;
mod poison;
mod prove;
mod reference;
mod rows;
mod rows_backward;
mod suite;
mod value;

pub use attention::{Heads, attended, attention};
pub use case::{Case, Fill, Rng, cases};
pub use close::{Interval, meets, same, same_tensors, within};
pub use derivative::{derivative, derivative_elements};
pub use elementwise::{binary, binary_elements, unary, unary_elements};
pub use embeddings::{Embedding, checksum, embeddings};
pub use geometry::{Geometry, Grid, Step, geometries, geometry, shapes};
pub use op::{Array, Call, Define, Draw, Elements, Op, Operand, Twin, Use, Want, first, split};
pub use optimizer::{Kept, Optimizer, Parameter, State};
pub use order::{compare, lines, sorted};
pub use philox::{half_word, philox, word};
pub use poison::poison;
pub use prove::{check_once, prove};
pub use reference::{half_up, product_error, sum_error};
pub use rows::{
    Affine, FEW_ROW_LENGTHS, ROW_LENGTHS, added, by_rows, layer_norm, log_softmax, scale_norm, scaled,
    softmax,
};
pub use rows_backward::{
    CrossEntropy, cross_entropy, log_softmax_backward, norm_backward, norm_weight_backward, softmax_backward,
};
pub use suite::{At, Check, Suite, fail, figures, kind_of, message_of};
pub use value::{Value, bytes, cast, download, round, upload};
