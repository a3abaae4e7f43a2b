//! Collection (skeleton).

use crate::{Error, Store};
use elea_formats::digest::Digest;
use elea_sys::progress::Progress;
use serde::Serialize;

/// What a collection did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// `elea.gc/1`.
    pub schema: &'static str,
    /// The images that are gone.
    pub images: Vec<Digest>,
    /// How many objects are gone.
    pub objects: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

impl Store {
    /// Removes every image that neither a reference nor `roots` nor a lease keeps, and every object that
    /// no image is left for.
    pub fn gc(
        &self,
        roots: &[Digest],
        dry_run: bool,
        progress: &dyn Progress,
    ) -> Result<Collected, Error> {
        let _ = (roots, dry_run, progress);
        todo!()
    }
}
