//! What tests and the demo need around Elea: a real registry, keys, and machines under QEMU.
//!
//! Everything here drives other people's programs, as a person would: `docker-registry`,
//! `qemu-system-x86_64` with OVMF, `ssh`, mtools, e2fsprogs, and the reference writers of images. A child never outlives its
//! parent, whichever way that ends.

mod error;
mod process;

pub mod debian;
pub mod disk;
pub mod key;
pub mod oracle;
pub mod power;
pub mod registry;
pub mod trees;
pub mod vm;

pub use error::{Error, Result};
pub use process::{Said, bound, free_port, has, run, say};
