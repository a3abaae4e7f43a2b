//! Mounting (skeleton).

use crate::{Error, Store};
use elea_formats::digest::Digest;
use std::path::Path;

impl Store {
    /// Mounts an image read-only at a folder: EROFS, and an overlay with the objects as its data.
    /// Needs root; reads are checked by fs-verity where the file system has it.
    pub fn mount(&self, digest: &Digest, target: &Path) -> Result<(), Error> {
        let _ = (digest, target);
        todo!()
    }
}
