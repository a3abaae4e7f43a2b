//! The store (skeleton: signatures first).

use crate::Error;
use crate::layer::Layer;
use crate::trust::Signature;
use elea_formats::digest::Digest;
use elea_formats::form::Form;
use elea_formats::release::ImageManifest;
use elea_formats::tree::Tree;
use elea_sys::progress::Progress;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Where an image came from; kept in its manifest.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// `dir:/srv/tree`, `registry:…@sha256:…`, `build:hello`.
    pub source: String,
    /// SHA-256 of its OCI manifest, if it has one.
    pub oci_manifest: Option<Digest>,
    /// The OCI layers that it was assembled from, lowest first.
    pub layers: Vec<Digest>,
    /// The signatures that it was accepted by.
    pub signatures: Vec<Signature>,
}

/// A store.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
}

/// While it lives, nothing that was added after it was taken is collected.
#[derive(Debug)]
pub struct Lease {
    _private: (),
}

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

/// How a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Only the new tree has it.
    Added,
    /// Only the old tree has it.
    Removed,
    /// Both have it, and content or metadata differ.
    Changed,
}

/// A path that differs between two trees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `/usr/bin/sh`; bytes that are not UTF-8 are escaped as `\xNN`.
    pub path: String,
    /// How.
    pub kind: Kind,
    /// What differs: `content`, `mode`, `owner`, `mtime`, `type`, `target`, `xattrs`, `links`.
    pub fields: Vec<&'static str>,
}

/// What differs between two trees, by path.
pub fn diff(old: &Tree, new: &Tree) -> Vec<Change> {
    let _ = (old, new);
    todo!()
}

impl Store {
    /// Makes a store in a folder that is empty or absent.
    pub fn init(path: &Path) -> Result<Self, Error> {
        let _ = path;
        todo!()
    }

    /// Opens a store; one with feature bits that are not known is refused.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let _ = path;
        todo!()
    }

    /// Opens a store and makes it if it is absent.
    pub fn open_or_init(path: &Path) -> Result<Self, Error> {
        let _ = path;
        todo!()
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps what is added from now on until dropped; `who` is for `elea store leases`.
    pub fn lease(&self, who: &str) -> Result<Lease, Error> {
        let _ = who;
        todo!()
    }

    /// Where an object is or would be.
    pub fn object_path(&self, digest: &Digest) -> PathBuf {
        self.path.join("objects").join(digest.object_path())
    }

    /// Whether an object is there (its content is not looked at).
    pub fn has_object(&self, digest: &Digest) -> bool {
        self.object_path(digest).is_file()
    }

    /// Opens an object; its content is not checked here.
    pub fn open_object(&self, digest: &Digest) -> Result<File, Error> {
        let _ = digest;
        todo!()
    }

    /// An object of at most `limit` bytes whole, checked against its name.
    pub fn read_object(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, Error> {
        let _ = (digest, limit);
        todo!()
    }

    /// Reads a folder as a tree, its larger files as objects. Not yet canonical, not sealed.
    pub fn import_dir(&self, path: &Path, progress: &dyn Progress) -> Result<Tree, Error> {
        let _ = (path, progress);
        todo!()
    }

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

    /// Makes a tree canonical in `form`, writes its image and manifest, and names it, in that
    /// order and durably. The release is read from the tree itself.
    pub fn seal(&self, tree: Tree, form: Form, origin: &Origin) -> Result<ImageManifest, Error> {
        let _ = (tree, form, origin);
        todo!()
    }

    /// Every image, by the time of import.
    pub fn images(&self) -> Result<Vec<ImageManifest>, Error> {
        todo!()
    }

    /// An image's manifest.
    pub fn image(&self, digest: &Digest) -> Result<ImageManifest, Error> {
        let _ = digest;
        todo!()
    }

    /// An image's bytes (EROFS), checked against its name.
    pub fn image_bytes(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let _ = digest;
        todo!()
    }

    /// An image's tree, read from its checked bytes.
    pub fn tree(&self, digest: &Digest) -> Result<Tree, Error> {
        let _ = digest;
        todo!()
    }

    /// A regular file of a tree, checked; none if there is none. Symbolic links are followed inside the tree.
    pub fn read_file(&self, tree: &Tree, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let _ = (tree, path, limit);
        todo!()
    }

    /// The signatures that an image was accepted by.
    pub fn signatures(&self, digest: &Digest) -> Result<Vec<Signature>, Error> {
        let _ = digest;
        todo!()
    }

    /// Every object that an image needs, with its size in bytes: its own file and its contents.
    pub fn objects_of(&self, digest: &Digest) -> Result<BTreeMap<Digest, u64>, Error> {
        let _ = digest;
        todo!()
    }

    /// What a person calls an image: a reference, a digest, or the beginning (8 digits or more) of one digest.
    pub fn resolve(&self, name: &str) -> Result<Digest, Error> {
        let _ = name;
        todo!()
    }

    /// All references.
    pub fn refs(&self) -> Result<BTreeMap<String, Digest>, Error> {
        todo!()
    }

    /// Points a reference at an image, durably.
    pub fn set_ref(&self, name: &str, digest: &Digest) -> Result<(), Error> {
        let _ = (name, digest);
        todo!()
    }

    /// Takes a reference away; false if there was none.
    pub fn remove_ref(&self, name: &str) -> Result<bool, Error> {
        let _ = name;
        todo!()
    }

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

    /// Reads every byte and names everything that is wrong.
    pub fn fsck(&self, progress: &dyn Progress) -> Result<Check, Error> {
        let _ = progress;
        todo!()
    }

    /// Mounts an image read-only at a folder: EROFS, and an overlay with the objects as its data.
    /// Needs root; reads are checked by fs-verity where the file system has it.
    pub fn mount(&self, digest: &Digest, target: &Path) -> Result<(), Error> {
        let _ = (digest, target);
        todo!()
    }
}
