//! Objects, trees, images and references on one file system.

pub mod trust;
