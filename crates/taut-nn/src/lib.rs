//! Layers, solvers, and weights and data in files, over [`taut`] tensors.
//!
//! ```
//! use taut::{Activation, DType, Device};
//! use taut_nn::Mlp;
//!
//! let device = Device::cpu();
//! let mlp = Mlp::new(&[16, 32, 4], Activation::Relu, DType::F32, 1, &device)?;
//! let x = taut::Tensor::normal([8, 16], 0.0, 1.0, 2, DType::F32, &device)?;
//! assert_eq!(mlp.forward(x)?.shape()[..], [8, 4]);
//! # Ok::<(), taut::Error>(())
//! ```

mod atomic;
mod linear;
mod mlp;
mod pieces;
mod rows;
mod solve;
mod weights;

pub use linear::Linear;
pub use mlp::Mlp;
pub use rows::Rows;
pub use solve::conjugate_gradients;
pub use weights::{Entry, Stored, Weights, save};
