//! Trees into the store.

mod dir;

use crate::object::Writer;
use crate::{Error, Store};
use elea_formats::form::INLINE_LIMIT;
use elea_formats::tree::{Content, Tree};
use elea_sys::progress::Progress;
use std::path::Path;

/// Files up to this size are read whole, so that nothing is written where the object exists.
pub(crate) const WHOLE: u64 = 8 << 20;

/// A file's content that is in memory: small ones stay in the tree.
pub(crate) fn content(writer: &Writer<'_>, bytes: Vec<u8>) -> Result<Content, Error> {
    if bytes.len() <= INLINE_LIMIT {
        return Ok(Content::Inline(bytes));
    }
    Ok(Content::Object {
        digest: writer.add(&bytes)?,
        size: bytes.len() as u64,
    })
}

impl Store {
    /// Reads a folder as a tree, its larger files as objects. Not yet canonical, not sealed.
    ///
    /// What is mounted inside belongs to the tree, except for the kernel's own file systems
    /// (proc, sysfs and their like), whose places stay empty.
    pub fn import_dir(&self, path: &Path, progress: &dyn Progress) -> Result<Tree, Error> {
        let writer = self.writer()?;
        let tree = dir::import(&writer, path, progress)?;
        writer.finish()?;
        Ok(tree)
    }
}

use crate::layer::Layer;
use elea_formats::digest::Digest;
use std::io::Read;

impl Store {
    /// Reads a tar file (plain, gzip, zstd or xz, told by its first bytes) as a tree.
    pub fn import_tar(&self, tar: impl Read, progress: &dyn Progress) -> Result<Tree, Error> {
        let _ = (tar, progress);
        todo!()
    }

    /// A layer that was imported before and whose objects are all there.
    pub fn layer(&self, blob: &Digest) -> Result<Option<Layer>, Error> {
        let _ = blob;
        todo!()
    }

    /// Imports an OCI layer. `content` is the blob; the caller has checked its SHA-256 or
    /// checks it before the layer is used.
    pub fn import_layer(
        &self,
        blob: &Digest,
        media_type: &str,
        content: impl Read,
        progress: &dyn Progress,
    ) -> Result<Layer, Error> {
        let _ = (blob, media_type, content, progress);
        todo!()
    }

    /// The tree that layers make, lowest first, whiteouts applied.
    pub fn assemble(&self, layers: &[Layer]) -> Result<Tree, Error> {
        let _ = layers;
        todo!()
    }
}
