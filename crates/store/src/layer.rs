//! Layers: what an OCI layer does to a tree, kept without its bytes.

mod record;
mod steps;

use crate::object::{Writer, are_there};
use crate::store::{in_parallel, list, write_after_all};
use crate::{Error, Store};
use elea_formats::digest::{Digest, Sha256};
use elea_formats::tree::{Content, Leaf, Meta};
use elea_sys::At as _;
use rayon::prelude::*;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
pub(crate) use steps::Steps;

/// What a layer's tar file says, with contents as objects; kept in `manifests/layers/`.
#[derive(Debug, Clone)]
pub struct Layer {
    /// SHA-256 of the layer's blob as it is in the registry.
    pub blob: Sha256,
    /// SHA-256 of the uncompressed tar file.
    pub diff_id: Sha256,
    /// What it does, in the order of its entries.
    pub(crate) steps: Arc<Steps>,
}

/// One entry of a layer. Paths have no slash at either end, and neither `.` nor `..` in them; the root's
/// is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) path: Vec<u8>,
    pub(crate) what: What,
}

/// What an entry does at its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// A directory; what is in it stays.
    Directory(Meta),
    /// Anything else that has an inode of its own.
    Leaf(Leaf),
    /// Another name for what stands at this path.
    Link(Vec<u8>),
    /// What lower layers have here is gone.
    Whiteout,
    /// What lower layers have in this directory is gone.
    Opaque,
}

impl Layer {
    /// The objects that it names, with their sizes in bytes.
    pub fn objects(&self) -> impl Iterator<Item = (Digest, u64)> {
        self.steps.iter().filter_map(|step| match step.what {
            What::Leaf(Leaf {
                content: Content::Object { digest, size },
                ..
            }) => Some((digest, size)),
            _ => None,
        })
    }

    /// The contents that are too small to be objects.
    pub(crate) fn small(&self) -> impl Iterator<Item = Vec<u8>> {
        self.steps.iter().filter_map(|step| match step.what {
            What::Leaf(Leaf {
                content: Content::Inline(bytes),
                ..
            }) => Some(bytes),
            _ => None,
        })
    }
}

/// The layer whose record a file is.
pub(crate) fn layer_name(path: &Path) -> Option<Sha256> {
    path.file_name()?.to_str()?.parse().ok()
}

impl Store {
    /// Every layer that is written down, one at a time.
    pub(crate) fn known_layers(&self) -> Result<impl Iterator<Item = Layer>, Error> {
        let paths = list(&self.path().join("manifests/layers"))?;
        let blobs = paths.into_iter().filter_map(|path| layer_name(&path));
        Ok(blobs.filter_map(|blob| self.load_layer(&blob).ok().flatten()))
    }

    /// A layer that was imported before and whose objects are all there.
    pub fn layer(&self, blob: &Sha256) -> Result<Option<Layer>, Error> {
        let Some(layer) = self.load_layer(blob)? else {
            return Ok(None);
        };
        // None where nothing can be written: then nothing is collected either.
        let writer = self.writer().ok();
        if let Some(writer) = &writer {
            writer.keep("layer", [*blob])?;
            writer.keep("object", layer.objects().map(|(digest, _)| digest))?;
        }
        let there = are_there(layer.objects(), |digest, size| match &writer {
            Some(writer) => writer.has(digest, size),
            None => self.object_size(digest) == Some(size),
        })?;
        Ok(there.then_some(layer))
    }

    /// The same of several layers, in their order, looked at on every core.
    pub fn layers(&self, blobs: &[Sha256]) -> Result<Vec<Option<Layer>>, Error> {
        in_parallel(|| blobs.par_iter().map(|blob| self.layer(blob)).collect())
    }

    /// What is written down of a layer, whether or not its objects are there.
    pub(crate) fn load_layer(&self, blob: &Sha256) -> Result<Option<Layer>, Error> {
        let path = self.layer_path(blob);
        if self.behind.will_name(&path) {
            self.sync()?;
        }
        let file = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.at("open", &path)?,
        };
        // What cannot be read is a cache that is of no use: the layer is imported again.
        let read = record::read(file, Steps::new(&self.room(), self.algorithm()));
        Ok(read.ok().map(|(diff_id, steps)| Layer {
            blob: *blob,
            diff_id,
            steps: Arc::new(steps),
        }))
    }

    /// Writes down what a layer does, so that it is not fetched again. Whoever reads it looks at the sizes of
    /// its objects alone.
    pub(crate) fn save_layer(&self, writer: &Writer<'_>, layer: &Layer) -> Result<(), Error> {
        writer.keep("layer", [layer.blob])?;
        let path = self.layer_path(&layer.blob);
        Ok(write_after_all(self, path, |file| {
            record::write(file, &layer.diff_id, &layer.steps)
        })?)
    }

    pub(crate) fn layer_path(&self, blob: &Sha256) -> PathBuf {
        self.path().join(format!("manifests/layers/{blob}"))
    }
}
