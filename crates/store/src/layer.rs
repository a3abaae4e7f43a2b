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
        self.files().map(|(_, digest, size)| (digest, size))
    }

    /// The same with their paths.
    pub(crate) fn files(&self) -> impl Iterator<Item = (Vec<u8>, Digest, u64)> {
        self.steps.iter().filter_map(|step| match step.what {
            What::Leaf(Leaf {
                content: Content::Object { digest, size },
                ..
            }) => Some((step.path, digest, size)),
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
    /// The layers that are written down.
    pub(crate) fn layer_names(&self) -> Result<impl Iterator<Item = Sha256>, Error> {
        let paths = list(&self.path().join("manifests/layers"))?;
        Ok(paths.into_iter().filter_map(|path| layer_name(&path)))
    }

    /// A layer that was imported before and whose objects are all there.
    pub fn layer(&self, blob: &Sha256) -> Result<Option<Layer>, Error> {
        let recorded = self.recorded_layer(blob)?;
        Ok(self.whole_layers(vec![recorded])?.pop().flatten())
    }

    /// What is written down of a layer, whether or not its objects are there.
    pub fn recorded_layer(&self, blob: &Sha256) -> Result<Option<Layer>, Error> {
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

    /// The same of several, in their order, read on every core. Whether their objects are there
    /// [`Store::whole_layers`] says.
    pub fn recorded_layers(&self, blobs: &[Sha256]) -> Result<Vec<Option<Layer>>, Error> {
        in_parallel(|| {
            blobs
                .par_iter()
                .map(|blob| self.recorded_layer(blob))
                .collect()
        })
    }

    /// Those of layers whose objects are all there, in their places, looked at on every core. Leases of this store
    /// hold them from now on.
    pub fn whole_layers(&self, recorded: Vec<Option<Layer>>) -> Result<Vec<Option<Layer>>, Error> {
        // None where nothing can be written: then nothing is collected either.
        let writer = self.writer().ok();
        if let Some(writer) = &writer {
            let layers = || recorded.iter().flatten();
            writer.keep("layer", layers().map(|layer| layer.blob))?;
            let objects = layers().flat_map(Layer::objects);
            writer.keep("object", objects.map(|(digest, _)| digest))?;
        }
        let is_there = |digest: &Digest, size| match &writer {
            Some(writer) => writer.has(digest, size),
            None => self.object_size(digest) == Some(size),
        };
        let whole = |layer: Option<Layer>| match layer {
            Some(layer) => Ok(are_there(layer.objects(), is_there)?.then_some(layer)),
            None => Ok(None),
        };
        in_parallel(|| recorded.into_par_iter().map(whole).collect())
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
