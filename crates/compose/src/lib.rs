//! Make a tree: a config, a lock, packages in a sandbox, and what makes of them an image.
//!
//! [`config::load`] reads what a person wrote; [`lock::resolve`] turns it into exact packages,
//! each with its SHA-256; [`preflight::preflight`] finds
//! what is wrong before either; [`build::build`] makes the image, from those packages alone and without network, and
//! [`family::build`] that of a system with its specialisations.

pub mod build;
pub mod config;
mod debian;
pub mod elsewhere;
pub mod family;
mod finish;
pub mod initrd;
mod known;
pub mod lock;
mod overlay;
mod own;
pub mod preflight;
pub mod profile;
mod program;
mod ramdisk;
mod render;
pub mod source;
pub mod steps;
mod written;

pub use program::ProgramError;
