//! xtask as its users see it. No test needs a network.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic; its helpers too")]

mod faults;
mod inputs;
mod machine;
