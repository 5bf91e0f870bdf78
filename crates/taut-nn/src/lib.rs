//! Layers, solvers, and weights and data in files, over [`taut`] tensors.
//!
//! ```
//! use taut::{Activation, DType, Device};
//! use taut_nn::{Builder, Layer, Mlp};
//!
//! let device = Device::cpu();
//! let mlp = Mlp::new(&Builder::random(1, DType::F32, &device), &[16, 32, 4], Activation::Relu)?;
//! let x = taut::Tensor::normal([8, 16], 0.0, 1.0, 2, DType::F32, &device)?;
//! assert_eq!(mlp.forward(x)?.shape()[..], [8, 4]);
//! # Ok::<(), taut::Error>(())
//! ```

mod batches;
mod bert;
mod builder;
mod layers;
mod linear;
pub mod loss;
mod mlp;
mod module;
mod optimizer;
mod pieces;
mod rows;
mod scale;
mod solve;
mod states;
#[cfg(feature = "text")]
pub mod text;
mod weights;

pub use batches::{epoch, gather_rows, prefetch};
pub use bert::{Bert, BertConfig, Tokens};
pub use builder::{Builder, Init};
pub use layers::{Dropout, Embedding, LayerNorm, Sequential};
pub use linear::{FusedLinear, Linear};
pub use mlp::Mlp;
pub use module::{Layer, Module, Parameter};
pub use optimizer::Optimizer;
pub use rows::Rows;
pub use solve::conjugate_gradients;
pub use states::States;
pub use weights::{Difference, Entry, Stored, Weights, save};
