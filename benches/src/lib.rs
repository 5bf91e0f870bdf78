//! What taut measures, and how it is told: the works and groups, the figures, tables for the terminal, and the page.

pub mod atomic;
mod bench;
pub mod curve;
pub mod encoder;
pub mod figures;
pub mod flights;
pub mod host;
mod launches;
pub mod layers;
pub mod learn;
pub mod memory;
pub mod model;
pub mod multi;
pub mod page;
pub mod pool;
pub mod products;
pub mod progress;
pub mod table;
pub mod throughput;
pub mod timeline;
pub mod timer;
pub mod training;
pub mod tuning;
pub mod work;

pub use bench::Bench;
