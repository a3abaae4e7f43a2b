//! Images made: written, looked at, named.

use super::{Origin, load, save, save_layers, stored};
use crate::object::{Writer, are_there};
use crate::refs::link;
use crate::store::in_parallel;
use crate::{Error, Store};
use elea_formats::digest::Digest;
use elea_formats::form::{self, Form, INLINE_LIMIT};
use elea_formats::release::{ImageManifest, Release};
use elea_formats::tree::{Content, Node, Tree};
use elea_formats::{erofs, release};
use elea_sys::{At as _, durable};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;

/// The largest release that is read, in bytes.
const MAX_RELEASE: u64 = 16 << 20;
/// As many missing objects are named in an error.
const SHOWN: usize = 5;

/// An image whose file is in the store and that has no name yet. No collection takes what it needs while this
/// lives; dropped, it is garbage.
#[derive(Debug)]
pub struct Unnamed<'s> {
    writer: Writer<'s>,
    digest: Digest,
    form: Form,
    files: u64,
    bytes: u64,
    release: Option<Release>,
}

impl Store {
    /// Makes a tree canonical in `form`, writes its image and manifest, and names it, in that
    /// order and durably. The release is read from the tree itself.
    pub fn seal(&self, tree: Tree, form: Form, origin: &Origin) -> Result<ImageManifest, Error> {
        self.write_image(tree, form)?.name(origin)
    }

    /// The first half of [`Store::seal`], for those who look at an image before it gets its name.
    pub fn write_image(&self, mut tree: Tree, form: Form) -> Result<Unnamed<'_>, Error> {
        self.require(tree.algorithm())?;
        let writer = self.writer()?;
        form::canonical(&mut tree, form);
        if form == Form::Os1 {
            self.settle(&writer, &mut tree)?;
        }
        let image = || {
            let mut image = writer.stream()?;
            let path = image.path();
            erofs::write_to(&tree, erofs::Version::V1, |piece| {
                image.write_all(piece).at("write", &path)
            })?;
            Ok::<_, Error>(image)
        };
        let (counted, image) =
            in_parallel(|| Ok(rayon::join(|| self.count(&writer, &tree), image)))?;
        let (files, bytes) = counted?;
        let release = self.release(&tree)?;
        drop(tree);
        let (digest, _) = image?.finish()?;
        Ok(Unnamed {
            writer,
            digest,
            form,
            files,
            bytes,
            release,
        })
    }

    /// Puts small contents into the tree and larger ones into objects.
    fn settle(&self, writer: &Writer<'_>, tree: &mut Tree) -> Result<(), Error> {
        let load = |digest: &Digest| self.read_object(digest, INLINE_LIMIT as u64);
        let settled = form::settle(tree, load, |bytes| writer.add(bytes));
        match settled {
            // Says what else is missing.
            Err(Error::NoObject { .. }) => Err(self.missing(tree)),
            settled => settled,
        }
    }

    /// Counts a tree's leaves and the bytes of its contents, and sees to it that every object is there and stays.
    fn count(&self, writer: &Writer<'_>, tree: &Tree) -> Result<(u64, u64), Error> {
        let objects = tree.leaves().filter_map(|id| tree.object(id));
        writer.keep("object", objects.map(|(digest, _)| digest))?;
        let several = tree.repeated_objects();
        let mut seen = BTreeSet::new();
        let (mut files, mut bytes) = (0, 0);
        let objects = tree
            .leaves()
            .zip(tree.count_names())
            .filter_map(|(id, names)| {
                if names == 0 {
                    return None;
                }
                files += 1;
                let (digest, size) = tree.object(id)?;
                if several.contains(&digest.start()) && !seen.insert((digest, size)) {
                    return None;
                }
                bytes += size;
                Some((digest, size))
            });
        // One that is named with another size is refused, too.
        if !are_there(objects, |digest, size| {
            self.object_size(digest) == Some(size)
        })? {
            return Err(self.missing(tree));
        }
        Ok((files, bytes))
    }

    /// What a tree needs and the store does not have.
    fn missing(&self, tree: &Tree) -> Error {
        let mut missing = BTreeSet::new();
        let mut first = Vec::new();
        let walked = tree.walk(|path, node| {
            let Node::Leaf(id) = node else {
                return Ok(());
            };
            if let Content::Object { digest, size } = tree.content(id) {
                match self.object_size(&digest) {
                    None => {
                        if missing.insert(digest) && first.len() < SHOWN {
                            first.push(format!("`{}` ({})", path.escape_ascii(), digest.short()));
                        }
                    }
                    Some(found) if found != size => {
                        return Err(Error::Archive {
                            reason: format!(
                                "`{}` says that the object {digest} has {size} bytes, and it has {found}; import the tree again",
                                path.escape_ascii()
                            ),
                        });
                    }
                    Some(_) => {}
                }
            }
            Ok(())
        });
        let count = missing.len();
        walked.err().unwrap_or(Error::NoObjects { first, count })
    }

    fn release(&self, tree: &Tree) -> Result<Option<Release>, Error> {
        let bytes = self.read_file(tree, release::PATH, MAX_RELEASE)?;
        bytes
            .map(|bytes| {
                serde_json::from_slice(&bytes).map_err(|source| Error::Document {
                    path: Path::new("/").join(release::PATH),
                    source,
                })
            })
            .transpose()
    }
}

impl Unnamed<'_> {
    /// Its digest, and name.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The release that is in it.
    pub fn release(&self) -> Option<&Release> {
        self.release.as_ref()
    }

    /// Makes it durable with all that it needs, writes its manifest, and names it.
    pub fn name(self, origin: &Origin) -> Result<ImageManifest, Error> {
        let (store, digest) = (self.writer.store, self.digest);
        // From here on a collection leaves its manifest and link alone.
        self.writer.keep("image", [digest])?;
        let folder = store.manifest_folder(&digest);
        let before: Option<ImageManifest> = load(&folder.join("image.json")).unwrap_or(None);
        let imported = before.as_ref().map(|manifest| manifest.imported.clone());
        let manifest = ImageManifest {
            schema: "elea.image/1".into(),
            image: digest,
            form: self.form.name().into(),
            source: origin.source.clone(),
            imported: imported.unwrap_or_else(now),
            files: self.files,
            bytes: self.bytes,
            oci_manifest: origin.oci_manifest,
            release: self.release,
        };
        // What is found here is durable after the sync; what another process makes after this look may
        // not be.
        let (is_described, is_named) = (folder.is_dir(), store.has_image(&digest));
        // Everything that the name will stand for, then what describes it, then the name.
        store.sync()?;
        if !is_described {
            fs::create_dir_all(&folder).at("create", &folder)?;
            durable::sync_folder(&store.path().join("manifests"))?;
        }
        if !origin.layers.is_empty() {
            save_layers(&folder, &origin.layers)?;
        }
        if !origin.signatures.is_empty() {
            save(&folder.join("signatures.json"), &stored(&origin.signatures))?;
        }
        // What was read above is durable with the rest.
        if before.as_ref() != Some(&manifest) {
            save(&folder.join("image.json"), &manifest)?;
        }
        if !is_named {
            let to = Path::new("../objects").join(digest.object_path());
            link(store, &to, &store.image_link(&digest))?;
        }
        Ok(manifest)
    }
}

/// Now, to the second, in UTC.
fn now() -> String {
    jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}
