//! The machine's edge: everything that touches the kernel in a way that `std` does not.
//!
//! This is the only crate with `unsafe` code. It knows nothing of Elea's formats.

pub mod behind;
pub mod clock;
pub mod confine;
pub mod device;
pub mod disk;
pub mod durable;
pub mod enter;
mod error;
pub mod lock;
pub mod loopdev;
pub mod memory;
pub mod mount;
pub mod namespace;
pub mod parallel;
pub mod partition;
pub mod progress;
pub mod root;
pub mod signal;
pub mod spill;
pub mod verity;
pub mod watchdog;

pub use error::{At, PathError};
