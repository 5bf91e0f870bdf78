//! The memory of a device: one [`Pool`] of [`Block`]s over pages that a [`Backing`] commits.
//!
//! Knows no tensor and no CUDA. Every byte has an owner: a [`Site`] (which op, what [`Kind`] of memory) and a
//! [`scope`](scope()) (which part of the model), counted exactly in [`Stats`] and named in every out-of-memory error.
//!
//! **Where a block lies depends on the order of the calls only**, never on time, addresses or the backing. The same
//! program over [`HostBacking`], [`PhantomBacking`] or CUDA pages gives the same offsets and the same statistics, so
//! a run over phantom pages tells the exact peak of a run on a card. This holds where one thread makes the calls.
//!
//! ```
//! use std::sync::Arc;
//! use taut_memory::{Kind, PhantomBacking, Pool, Site, StreamId, scope};
//!
//! let card = PhantomBacking::new(80 << 30, 500 << 20); // 80 GiB, of which the driver takes 500 MiB
//! let pool = Pool::new(Arc::new(card));
//! let _model = scope("model");
//! let weights = pool.allocate(3_000_000, StreamId::COMPUTE, Site::new("linear", Kind::Weights))?;
//! drop(pool.allocate(5_000_000, StreamId::COMPUTE, Site::new("matmul", Kind::Workspace))?);
//!
//! let stats = pool.stats();
//! assert_eq!(stats.live_bytes, 3_000_000);
//! assert_eq!(stats.peak_live_bytes, 8_000_000);
//! assert_eq!(stats.peak_tensor_bytes, 3_000_000);
//! assert_eq!(stats.reserved_bytes, 8 << 20); // whole pages of 2 MiB, shared by both blocks
//! assert_eq!(weights.scope().name(), "model");
//! # Ok::<(), taut_memory::Error>(())
//! ```

mod area;
mod arena;
pub mod atomic;
mod backing;
mod block;
mod cache;
mod hold;
mod host;
mod leak;
mod limit;
mod live;
mod lock;
mod map;
mod owners;
mod place;
mod pool;
mod report;
mod scope;
mod script;
mod shrink;
mod site;
mod state;
mod stats;
mod trace;

pub use backing::{Backing, GRANULE_BYTES, PhantomBacking, SPAN_BYTES, StreamId, wants_segments};
pub use block::Block;
pub use host::HostBacking;
pub use leak::assert_no_leak;
pub use limit::PoolScope;
pub use live::{Figures, Label, Published, publish};
pub use map::{Advice, FileMap};
pub use pool::{Budget, Pool};
pub use scope::{ScopeGuard, ScopeId, scope};
pub use script::Script;
pub use site::{Kind, Site};
pub use stats::{Calls, Stats};
pub use taut_core::{Error, ErrorKind, Result};
pub use trace::{Change, Held, Level, Timeline, TraceBlock, TraceEvent};

/// Every block starts at a multiple of this many bytes.
pub const ALIGN_BYTES: u64 = 256;
