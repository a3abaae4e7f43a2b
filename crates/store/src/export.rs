//! Trees out of the store: tar files, squashfs images and OCI layers.

mod chunks;
mod cut;
mod pack;
mod squashfs;
mod tar;

pub use squashfs::squashfs;

use crate::{Error, Store};
use elea_formats::digest::Sha256;
use elea_formats::oci::media;
use elea_formats::tree::Tree;
use elea_sys::progress::Progress;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// How layers are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// gzip: every program reads it.
    Gzip,
    /// zstd: smaller; umoci 0.4, for one, does not read it.
    Zstd,
    /// zstd with a frame for each file and a table of them, so that single files can be fetched; to programs
    /// that know nothing of tables it is zstd.
    Chunked,
}

impl Compression {
    /// Each by the name that containers' tools have for it.
    pub const NAMES: [(&'static str, Self); 3] = [
        ("gzip", Self::Gzip),
        ("zstd", Self::Zstd),
        ("zstd:chunked", Self::Chunked),
    ];

    fn media_type(self) -> &'static str {
        match self {
            Self::Gzip => media::LAYER_GZIP,
            Self::Zstd | Self::Chunked => media::LAYER_ZSTD,
        }
    }
}

/// A layer that was written.
#[derive(Debug, Clone)]
pub struct Packed {
    /// The file.
    pub path: PathBuf,
    /// Its media type.
    pub media_type: &'static str,
    /// What its descriptor says of its table.
    pub annotations: BTreeMap<String, String>,
    /// SHA-256 of the file.
    pub blob: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of the tar file inside.
    pub diff_id: Sha256,
    /// What is in it, for people: "linux-image-6.12-amd64", "files of 12 packages", "configuration".
    pub title: String,
}

/// Writes a tree as one tar file (PAX, canonical: the same tree gives the same bytes).
pub fn tar(store: &Store, tree: &Tree, out: &mut dyn Write) -> Result<(), Error> {
    let mut out = tar::Archive::new(store, out);
    let mut names = tar::Names::of(tree);
    tree.walk(|path, node| out.entry(path, tree, node, &mut names))?;
    out.finish()?;
    Ok(())
}

/// Cuts a tree into layers that stay the same while their packages do, and packs each into a
/// file of `folder`. The same tree gives the same layers, bit for bit. The last one has all
/// directories with their times.
pub fn layers(
    store: &Store,
    tree: &Tree,
    compression: Compression,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<Vec<Packed>, Error> {
    let owners = cut::load_owners(store, tree)?;
    let plan = cut::plan(tree, &owners)?;
    pack::layers(store, tree, &plan, compression, folder, progress)
}
