//! Make a tree: a config, a lock, packages in a sandbox, and what makes of them an image.
//!
//! [`config::load`] reads what a person wrote.

pub mod config;
pub mod initrd;
