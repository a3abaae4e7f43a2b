//! Trees out of the store: tar files and OCI layers.

use crate::{Error, Store};
use elea_formats::digest::Digest;
use elea_formats::tree::Tree;
use elea_sys::progress::Progress;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A layer that was written: gzip or zstd in `path`.
#[derive(Debug, Clone)]
pub struct Packed {
    /// The file.
    pub path: PathBuf,
    /// Its media type.
    pub media_type: &'static str,
    /// SHA-256 of the file.
    pub blob: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of the tar file inside.
    pub diff_id: Digest,
    /// What is in it, for people: "linux-image", "files of 12 packages", "configuration".
    pub title: String,
}

/// Writes a tree as one tar file (PAX, canonical: the same tree gives the same bytes).
pub fn tar(store: &Store, tree: &Tree, out: &mut dyn Write) -> Result<(), Error> {
    let _ = (store, tree, out);
    todo!()
}

/// Cuts a tree into layers that stay the same while their packages do, and packs each into a
/// file of `folder`. The same tree gives the same layers, bit for bit.
pub fn layers(
    store: &Store,
    tree: &Tree,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<Vec<Packed>, Error> {
    let _ = (store, tree, folder, progress);
    todo!()
}
