//! Images: listed, described, read.

mod file;
mod seal;

use crate::store::list;
use crate::trust::Signature;
use crate::{Error, Store};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use elea_formats::digest::{Digest, Sha256};
use elea_formats::release::ImageManifest;
use elea_formats::tree::{Content, ContentRef, Node, Tree};
use elea_sys::{At as _, durable};
pub use file::{Compared, ImageFile};
pub use seal::Unnamed;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// The largest image file that is read, in bytes.
pub(crate) const MAX_IMAGE: u64 = 2 << 30;
/// The largest document beside an image that is read, in bytes.
const MAX_DOCUMENT: u64 = 64 << 20;

/// Where an image came from; kept in its manifest.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// `dir:/srv/tree`, `registry:…@sha256:…`, `build:hello`.
    pub source: String,
    /// SHA-256 of its OCI manifest, if it has one.
    pub oci_manifest: Option<Sha256>,
    /// The OCI layers that it was assembled from, lowest first.
    pub layers: Vec<Sha256>,
    /// The signatures that it was accepted by.
    pub signatures: Vec<Signature>,
}

/// `manifests/<image digest>/layers.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Layers {
    schema: String,
    layers: Vec<Sha256>,
}

/// `manifests/<image digest>/signatures.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Signatures {
    schema: String,
    signatures: Vec<StoredSignature>,
}

/// Both members in base64.
#[derive(Debug, Serialize, Deserialize)]
struct StoredSignature {
    payload: String,
    signature: String,
}

impl Store {
    /// Writes down the OCI layers that make an image, lowest first: they are in the store, and
    /// kept as long as the image is.
    pub fn note_layers(&self, digest: &Digest, layers: &[Sha256]) -> Result<(), Error> {
        let writer = self.writer()?;
        writer.keep("image", [*digest])?;
        self.image(digest)?;
        // What is written down of them has its name before it is named.
        self.sync()?;
        save_layers(&self.manifest_folder(digest), layers)
    }

    /// Every image, by the time of import.
    pub fn images(&self) -> Result<Vec<ImageManifest>, Error> {
        let mut images = Vec::new();
        for digest in self.image_names()? {
            images.extend(load::<ImageManifest>(&self.manifest_file(&digest))?);
        }
        images.sort_by(|a, b| (&a.imported, a.image).cmp(&(&b.imported, b.image)));
        Ok(images)
    }

    /// An image's manifest.
    pub fn image(&self, digest: &Digest) -> Result<ImageManifest, Error> {
        let manifest = if self.has_image(digest) {
            load(&self.manifest_file(digest))?
        } else {
            None
        };
        manifest.ok_or_else(|| Error::NoImage {
            name: digest.to_string(),
        })
    }

    /// Reads an image's file to its end and compares it with its name.
    pub fn check_image(&self, digest: &Digest) -> Result<(), Error> {
        self.copy_image(digest, &mut io::sink())
    }

    /// Copies an image's file (EROFS); that it is what its name says is known at the end.
    pub fn copy_image(&self, digest: &Digest, out: &mut dyn io::Write) -> Result<(), Error> {
        if !self.names_image(digest) {
            return Err(Error::NoImage {
                name: digest.to_string(),
            });
        }
        self.copy_object(digest, MAX_IMAGE, out)
    }

    /// An image's tree, read from its checked bytes.
    pub fn tree(&self, digest: &Digest) -> Result<Tree, Error> {
        self.open_image(digest)?.tree()
    }

    /// A regular file of a tree, checked; none if there is none. Symbolic links are followed inside the tree.
    pub fn read_file(&self, tree: &Tree, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        self.bytes_of(content(tree, path)?, path, limit)
    }

    /// The bytes of a regular file, checked; none if it is something else.
    fn bytes_of(
        &self,
        content: Option<ContentRef<'_>>,
        path: &str,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, Error> {
        let too_large = |size| Error::TooLarge {
            what: format!("`{path}` of the image"),
            size,
            limit,
        };
        match content {
            Some(Content::Inline(bytes)) if bytes.len() as u64 > limit => {
                Err(too_large(bytes.len() as u64))
            }
            Some(Content::Inline(bytes)) => Ok(Some(bytes.to_vec())),
            Some(Content::Object { size, .. }) if size > limit => Err(too_large(size)),
            Some(Content::Object { digest, .. }) => self.read_object(&digest, limit).map(Some),
            _ => Ok(None),
        }
    }

    /// Copies a regular file of a tree of at most `limit` bytes; whether there is one. That it is what the tree says
    /// is known at the end. Symbolic links are followed inside the tree.
    pub(crate) fn copy_file(
        &self,
        tree: &Tree,
        path: &str,
        limit: u64,
        out: &mut dyn io::Write,
    ) -> Result<bool, Error> {
        match content(tree, path)? {
            Some(Content::Inline(bytes)) => out.write_all(bytes).at("write a copy of", path)?,
            Some(Content::Object { digest, .. }) => self.copy_object(&digest, limit, out)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The signatures that an image was accepted by.
    pub fn signatures(&self, digest: &Digest) -> Result<Vec<Signature>, Error> {
        let path = self.manifest_folder(digest).join("signatures.json");
        let Some(stored) = load::<Signatures>(&path)? else {
            return Ok(Vec::new());
        };
        let decode = |text: &str| {
            BASE64.decode(text).map_err(|e| Error::Document {
                path: path.clone(),
                source: serde::de::Error::custom(e),
            })
        };
        stored
            .signatures
            .iter()
            .map(|one| {
                Ok(Signature {
                    payload: decode(&one.payload)?,
                    signature: decode(&one.signature)?,
                })
            })
            .collect()
    }

    /// Every object that an image needs, with its size in bytes: its own file and its contents.
    pub fn objects_of(&self, digest: &Digest) -> Result<BTreeMap<Digest, u64>, Error> {
        Ok(self.objects_in(digest, &self.tree(digest)?))
    }

    /// The same of an image whose tree is at hand.
    pub fn objects_in(&self, digest: &Digest, tree: &Tree) -> BTreeMap<Digest, u64> {
        let mut objects = BTreeMap::new();
        self.each_object_in(digest, tree, |digest, size| {
            objects.insert(digest, size);
        });
        objects
    }

    /// Calls `take` with each of them and its size in bytes; one may come more than once.
    pub(crate) fn each_object_of(
        &self,
        image: &Digest,
        take: impl FnMut(Digest, u64),
    ) -> Result<(), Error> {
        self.each_object_in(image, &self.tree(image)?, take);
        Ok(())
    }

    fn each_object_in(&self, image: &Digest, tree: &Tree, mut take: impl FnMut(Digest, u64)) {
        take(*image, self.object_size(image).unwrap_or_default());
        for id in tree.leaves() {
            if let Content::Object { digest, size } = tree.content(id) {
                take(digest, size);
            }
        }
    }

    /// The OCI layers that an image was assembled from, lowest first; empty if it was not.
    pub fn layers_of(&self, digest: &Digest) -> Result<Vec<Sha256>, Error> {
        let layers: Option<Layers> = load(&self.manifest_folder(digest).join("layers.json"))?;
        Ok(layers.map_or_else(Vec::new, |layers| layers.layers))
    }

    /// Whether an image has its name here, and a file behind it.
    pub(crate) fn has_image(&self, digest: &Digest) -> bool {
        self.image_link(digest).exists()
    }

    /// Whether an image has its name here, with a file behind it or not.
    pub(crate) fn names_image(&self, digest: &Digest) -> bool {
        self.image_link(digest).is_symlink()
    }

    /// The images that have names, and files behind them.
    pub(crate) fn image_names(&self) -> Result<Vec<Digest>, Error> {
        let mut names = Vec::new();
        for path in list(&self.path().join("images"))? {
            names.extend(self.image_name(&path).filter(|_| path.exists()));
        }
        Ok(names)
    }

    /// The image of this store that a file or folder is named by.
    pub(crate) fn image_name(&self, path: &Path) -> Option<Digest> {
        self.parse_digest(path.file_name()?.to_str()?)
    }

    pub(crate) fn image_link(&self, digest: &Digest) -> PathBuf {
        self.path().join(format!("images/{digest}"))
    }

    pub(crate) fn manifest_folder(&self, digest: &Digest) -> PathBuf {
        self.path().join(format!("manifests/{digest}"))
    }

    fn manifest_file(&self, digest: &Digest) -> PathBuf {
        self.manifest_folder(digest).join("image.json")
    }
}

fn save_layers(folder: &Path, layers: &[Sha256]) -> Result<(), Error> {
    let layers = Layers {
        schema: "elea.layers/1".into(),
        layers: layers.to_vec(),
    };
    save(&folder.join("layers.json"), &layers)
}

/// What stands at a path, links followed; none if there is nothing, or a folder.
fn content<'t>(tree: &'t Tree, path: &str) -> Result<Option<ContentRef<'t>>, Error> {
    Ok(match tree.follow(path.as_bytes())? {
        Some(Node::Leaf(id)) => Some(tree.content(id)),
        _ => None,
    })
}

fn stored(signatures: &[Signature]) -> Signatures {
    Signatures {
        schema: "elea.signatures/1".into(),
        signatures: signatures
            .iter()
            .map(|one| StoredSignature {
                payload: BASE64.encode(&one.payload),
                signature: BASE64.encode(&one.signature),
            })
            .collect(),
    }
}

fn save<T: Serialize>(path: &Path, document: &T) -> Result<(), Error> {
    let mut bytes = serde_json::to_vec_pretty(document).map_err(|source| Error::Document {
        path: path.to_owned(),
        source,
    })?;
    bytes.push(b'\n');
    // Whoever may read the store may read what is in it.
    Ok(durable::write_public(path, &bytes)?)
}

/// A document of the store; none if it is absent.
pub(crate) fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.at("open", path)?,
    }
    .take(MAX_DOCUMENT)
    .read_to_end(&mut bytes)
    .at("read", path)?;
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|source| Error::Document {
            path: path.to_owned(),
            source,
        })
}
