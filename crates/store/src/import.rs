//! Trees into the store.

pub(crate) mod archive;
mod dir;
mod known;
pub(crate) mod packed;
mod pax;
pub(crate) mod tar;

use crate::layer::Layer;
use crate::object::Writer;
use crate::{Error, Store, assemble, room};
use archive::Whiteouts;
pub(crate) use dir::is_kernels;
use elea_formats::digest::{Algorithm, Sha256};
use elea_formats::form::INLINE_LIMIT;
use elea_formats::oci::media;
use elea_formats::table::Room;
use elea_formats::tree::{Content, Tree};
use elea_sys::progress::{Progress, Unit};
use known::Known;
use packed::{Hashing, Unpacked, Watched};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;
use tar::Archive;

/// Files up to this size are read whole, so that nothing is written where the object exists.
pub(crate) const WHOLE: u64 = 8 << 20;

/// A file's content that is in memory: small ones stay in the tree.
pub(crate) fn content(writer: &Writer<'_>, bytes: &[u8]) -> Result<Content, Error> {
    if bytes.len() <= INLINE_LIMIT {
        return Ok(Content::Inline(bytes.to_vec()));
    }
    Ok(Content::Object {
        digest: writer.add(bytes)?,
        size: bytes.len() as u64,
    })
}

/// Reads a folder as the tree that [`Store::import_dir`] makes of it, and keeps nothing: its objects are
/// nowhere, and named by this algorithm. What of a large tree does not fit into memory is in a file without a
/// name in `scratch`.
pub fn read_dir(
    path: &Path,
    scratch: &Path,
    algorithm: Algorithm,
    progress: &dyn Progress,
) -> Result<Tree, Error> {
    dir::import(None, path, tree_within(scratch, algorithm), progress)
}

/// A tree with nothing in it, whose tables are in a file without a name in this folder once they are large.
pub fn tree_within(folder: &Path, algorithm: Algorithm) -> Tree {
    Tree::within(&room::in_folder(folder), algorithm)
}

impl Store {
    /// Reads a folder as a tree, its larger files as objects. Not yet canonical, not sealed.
    ///
    /// What is mounted inside belongs to the tree, except for the kernel's own file systems
    /// (proc, sysfs and their like), whose places stay empty. Files that did not change since an
    /// earlier import into this store are not read again.
    pub fn import_dir(&self, path: &Path, progress: &dyn Progress) -> Result<Tree, Error> {
        let writer = self.writer()?;
        let known = Known::load(self, SystemTime::now());
        let kept = dir::Kept {
            writer: &writer,
            known: &known,
        };
        let tree = dir::import(Some(kept), path, self.empty_tree(), progress)?;
        known.save(self);
        Ok(tree)
    }

    /// Reads a tar file (plain, gzip, zstd or xz, told by its first bytes) as a tree. Names
    /// that begin with `.wh.` are names here; in layers they are whiteouts.
    pub fn import_tar(&self, tar: impl Read, progress: &dyn Progress) -> Result<Tree, Error> {
        let writer = self.writer()?;
        progress.start("import", None, Unit::Bytes);
        let watched = Watched {
            from: tar,
            progress,
        };
        let steps = Unpacked::new(watched).and_then(|unpacked| {
            let mut archive = Archive::new(unpacked);
            let steps = archive::read(&writer, &mut archive, Whiteouts::Names)?;
            if !archive.ended {
                return Err(tar::broken("it ends without its end mark: it is truncated"));
            }
            // To the end, so that its checksum is compared, and that a writer to a pipe ends well.
            archive::drain(&mut archive.into_inner())?;
            Ok(steps)
        });
        let mut tree = self.empty_tree();
        assemble::apply(&mut tree, &uncancelled(steps, progress)?)?;
        progress.finish();
        Ok(tree)
    }

    /// Imports an OCI layer. `content` is the blob: it is read to its end, and its SHA-256 is
    /// compared before anything is written down under its name.
    pub fn import_layer(
        &self,
        blob: &Sha256,
        media_type: &str,
        content: impl Read,
        progress: &dyn Progress,
    ) -> Result<Layer, Error> {
        if !media::is_layer(media_type) {
            return Err(Error::MediaType {
                media_type: media_type.chars().take(200).collect(),
            });
        }
        let writer = self.writer()?;
        progress.start(&format!("import layer {}", blob.short()), None, Unit::Bytes);
        let watched = Watched {
            from: content,
            progress,
        };
        let read = Unpacked::new(Hashing::new(watched)).and_then(|unpacked| {
            let mut archive = Archive::new(Hashing::new(unpacked));
            let steps = archive::read(&writer, &mut archive, Whiteouts::Applied)?;
            let mut unpacked = archive.into_inner();
            archive::drain(&mut unpacked)?;
            let (diff_id, unpacked) = unpacked.finish();
            let mut packed = unpacked.into_inner();
            archive::drain(&mut packed)?;
            Ok((steps, diff_id, packed.finish().0))
        });
        let (steps, diff_id, found) = uncancelled(read, progress)?;
        if found != *blob {
            return Err(Error::Blob {
                wanted: *blob,
                found,
            });
        }
        let layer = Layer {
            blob: *blob,
            diff_id,
            steps: Arc::new(steps),
        };
        self.save_layer(&writer, &layer)?;
        progress.finish();
        Ok(layer)
    }

    /// A tree with nothing in it, whose tables are in a file of the store once they are large.
    pub fn empty_tree(&self) -> Tree {
        Tree::within(&self.room(), self.algorithm())
    }

    /// Where large tables are kept: a file of the store.
    pub(crate) fn room(&self) -> Arc<dyn Room> {
        room::in_folder(&self.path().join("tmp"))
    }

    /// The tree that layers make, lowest first, whiteouts applied.
    pub fn assemble(&self, layers: &[Layer]) -> Result<Tree, Error> {
        let mut tree = self.empty_tree();
        for layer in layers {
            assemble::apply(&mut tree, &layer.steps)?;
        }
        Ok(tree)
    }

    /// The tree that composefs-rs makes of layers, lowest first. It takes entries strictly in the order of
    /// the archive, so that a whiteout also hides what stands before it in its own layer, and it
    /// refuses an entry whose directory is not there.
    pub fn assemble_in_order(&self, layers: &[Layer]) -> Result<Tree, Error> {
        let mut tree = self.empty_tree();
        for layer in layers {
            assemble::apply_in_order(&mut tree, &layer.steps)?;
        }
        Ok(tree)
    }
}

/// What a reader that was told to end says is not the archive's fault.
pub(crate) fn uncancelled<T>(
    result: Result<T, Error>,
    progress: &dyn Progress,
) -> Result<T, Error> {
    match result {
        Err(_) if progress.cancelled() => Err(Error::Cancelled),
        result => result,
    }
}
