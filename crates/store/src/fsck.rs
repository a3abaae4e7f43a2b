//! Checking (skeleton).

use crate::{Error, Store};
use elea_formats::digest::Digest;
use elea_sys::progress::Progress;
use serde::Serialize;
use std::path::PathBuf;

/// Something that a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The object, link or file.
    pub path: PathBuf,
    /// What is wrong with it, and what to do.
    pub what: String,
    /// The images that use it.
    pub images: Vec<Digest>,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Check {
    /// `elea.store-check/1`.
    pub schema: &'static str,
    /// How many objects were read.
    pub objects: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Everything that is wrong.
    pub findings: Vec<Finding>,
}

impl Store {
    /// Reads every byte and names everything that is wrong.
    pub fn fsck(&self, progress: &dyn Progress) -> Result<Check, Error> {
        let _ = progress;
        todo!()
    }
}
