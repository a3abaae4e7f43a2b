//! The machine's edge: everything that touches the kernel in a way that `std` does not.
//!
//! This is the only crate with `unsafe` code. It knows nothing of Elea's formats.

pub mod durable;
mod error;
pub mod lock;
pub mod progress;

pub use error::{At, PathError};
