//! The CUDA side of taut: context, streams, virtual memory, and one launcher for each kernel family.
//!
//! The only crate that names `cudarc`. Launchers never allocate: a pure function of shapes, dtypes and [`Card`] facts
//! says which kernel runs and how much workspace it takes, and the caller brings that workspace.
#![allow(unsafe_code)]

mod backing;
mod card;
mod context;
mod driver;
mod event;
mod fault;
mod functions;
mod gpu;
mod graph;
pub mod launch;
mod leaving;
mod operand;
mod pinned;
pub mod probe;
mod segments;
mod staging;
mod stream;

pub use backing::CudaBacking;
pub use card::Card;
pub use event::Event;
pub use gpu::Gpu;
pub use graph::Graph;
pub use launch::matmul::Tuning;
pub use operand::Operand;
pub use pinned::Pinned;
pub use stream::{Arg, Grid, Param, Stream};
