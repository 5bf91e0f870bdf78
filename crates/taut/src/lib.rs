//! A CUDA tensor runtime with no slack: the exact peak is known before anything is launched.
//!
//! One program text serves three devices. [`Device::cpu`] and [`Device::cuda`] run it; [`Device::plan`] runs the same
//! pool code over addresses that do not exist, launches nothing, and knows the peak to the byte.
//!
//! Every op takes its first operand by value: by value means "I am done with it". The op writes over it where it
//! can, and otherwise its memory is back in the pool right after the launch. Whoever still needs `x` writes
//! `x.clone().relu()`.
//!
//! ```
//! use taut::{Activation, DType, Device, Spec, Tensor};
//!
//! fn forward(device: &Device) -> taut::Result<Tensor> {
//!     let x = Tensor::normal([64, 512], 0.0, 1.0, 1, DType::F16, device)?;
//!     let w = Tensor::normal([512, 512], 0.0, 0.04, 2, DType::F16, device)?;
//!     let h = x.linear_with(&w, None, Activation::Relu)?;
//!     h.linear(&w)
//! }
//!
//! let plan = Device::plan(Spec::h200());
//! forward(&plan)?;
//! // x, w and the first output live at once; the second output takes the place of x.
//! assert_eq!(plan.stats().peak_tensor_bytes, (64 * 512 * 2 + 512 * 512) * 2);
//!
//! let cpu = Device::cpu().fresh()?;
//! forward(&cpu)?;
//! assert_eq!(cpu.stats().peak_tensor_bytes, plan.stats().peak_tensor_bytes);
//! # Ok::<(), taut::Error>(())
//! ```

#![allow(
    clippy::should_implement_trait,
    reason = "ops return a `Result`, which the operator traits can not say usefully"
)]

mod chunks;
mod cpu;
mod create;
mod device;
mod grad;
mod graph;
mod offload;
mod ops;
mod precision;
mod reset;
pub mod seed;
mod sequences;
mod shelf;
mod step;
mod storage;
mod stream;
mod tensor;
mod transfer;
mod tune;
mod view;

pub use device::{Device, Spec};
pub use grad::{SAVED_ON_HOST_BYTES, checkpoint, checkpoint_sequential, no_grad, save_on_host};
pub use graph::Graphed;
pub use half::{bf16, f16};
pub use offload::Offloaded;
pub use ops::{Fused, Number, multi, optimizer as optim};
pub use precision::tf32;
pub use sequences::Sequences;
pub use shelf::HostStats;
pub use stream::Stream;
pub use taut_core::{
    Activation, Attention, Binary, DType, Dropout, Element, Error, ErrorKind, Kept, Layout, MAX_RANK, Norm,
    Precision, Random, Reduce, Result, Saved, Scan, Shape, Triangle, Unary, saved,
};
pub use taut_cuda::{
    Card, Tuning,
    launch::matmul::{Lie, Origin, Pick, Signature},
};
pub use taut_memory::{self as memory, Budget, Kind, Stats, assert_no_leak, scope};
pub use tensor::Tensor;
pub use tune::{Trial, Tuned};
