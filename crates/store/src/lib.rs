//! Objects, trees, images and references on one file system.
//!
//! [`Store`] is the folder; `docs/formats/store.md` describes it. A tree comes in by
//! [`Store::import_dir`], [`Store::import_tar`] or layer by layer ([`Store::import_layer`],
//! [`Store::assemble`]), is made canonical and becomes an image by [`Store::seal`]. Nothing has
//! a name before all that it names is durable, and nothing that a [`Lease`], a reference or a root
//! of the caller's names is ever collected.

mod assemble;
mod bill;
mod diff;
mod draft;
mod error;
mod explain;
pub mod export;
mod fsck;
mod gc;
mod image;
mod import;
mod labels;
pub mod layer;
mod lease;
mod meta;
mod mount;
mod object;
pub mod parts;
mod refs;
mod rename;
pub mod repair;
mod room;
pub mod stats;
mod store;
pub mod trust;

pub use diff::{Change, Kind, diff, unescaped};
pub use draft::Draft;
pub use error::Error;
pub use explain::{Difference, Explanation, Verdict, explain};
pub use fsck::{Check, Damage, Finding};
pub use gc::Collected;
pub use image::{Compared, ImageFile, Origin, Unnamed};
pub use import::{read_dir, tree_within};
pub use lease::Lease;
pub use mount::{Backing, mounted_image};
pub use store::Store;
