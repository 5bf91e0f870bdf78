//! The work that is measured: functions of a device, run as they stand on the CPU, on a card and on a plan.

pub mod mlp;
pub mod ridge;
pub mod training;
