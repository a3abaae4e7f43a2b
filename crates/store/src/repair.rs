//! Repair: what a check found is put right, from elsewhere where content is missing.
//!
//! [`Plan`] says what is to be done; [`Repair`] does it. No content is believed: what is offered is
//! measured, and only what has the digest that is wanted takes the place of what is damaged.

mod folder;

use crate::fsck::{Damage, PIECE, measure};
use crate::image::load;
use crate::lease;
use crate::object::{MODE, Writer};
use crate::refs::link;
use crate::{Check, Error, Finding, Origin, Store};
use elea_formats::digest::{Digest, Sha256};
use elea_formats::form::{self, Form};
use elea_formats::release::ImageManifest;
use elea_formats::{erofs, verity};
use elea_sys::At as _;
use elea_sys::progress::Progress;
use rustix::fs::{FlockOperation, Mode, OFlags};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Seek as _};
use std::path::{Path, PathBuf};

/// An object that is needed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its size in bytes; none for an image's own file.
    pub size: Option<u64>,
    /// The images that use it.
    pub images: BTreeSet<Digest>,
}

/// What a repair has to do, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// What is taken away: strangers, leftovers, damaged objects that no image uses.
    pub remove: Vec<PathBuf>,
    /// The objects that get their mode back.
    pub modes: Vec<PathBuf>,
    /// The objects that come from elsewhere.
    pub contents: BTreeMap<Digest, Wanted>,
    /// The images whose links are made anew.
    pub links: BTreeSet<Digest>,
    /// The images whose manifests are written anew.
    pub manifests: BTreeSet<Digest>,
}

impl Plan {
    /// What is to be done about a check's findings. What a reference named is never guessed.
    pub fn new(check: &Check) -> Self {
        let mut plan = Self::default();
        let findings = &check.findings;
        // While an image cannot be read, nobody knows what is of no use.
        let unread = |f: &Finding| {
            f.object.is_some_and(|object| f.images.contains(&object)) && f.damage != Damage::Mode
        };
        let all_read = !findings.iter().any(unread);
        // What a lost image's manifest says is all that is left of it.
        let lost: BTreeSet<&Digest> = findings
            .iter()
            .filter(|f| f.damage == Damage::Reference)
            .flat_map(|f| &f.images)
            .collect();
        for finding in findings {
            match (finding.damage, finding.object) {
                (Damage::Stranger, _) => plan.remove.push(finding.path.clone()),
                (Damage::Leftover, _) => {
                    let name = finding.path.file_name().and_then(|name| name.to_str());
                    let image = name.and_then(|name| name.parse::<Digest>().ok());
                    if image.is_none_or(|image| !lost.contains(&image)) {
                        plan.remove.push(finding.path.clone());
                    }
                }
                (Damage::Mode, _) => plan.modes.push(finding.path.clone()),
                (Damage::Content, Some(object)) if !finding.images.is_empty() => {
                    let wanted = Wanted {
                        size: finding.size,
                        images: finding.images.iter().copied().collect(),
                    };
                    plan.contents.insert(object, wanted);
                }
                (Damage::Content, _) if all_read => plan.remove.push(finding.path.clone()),
                (Damage::Link, Some(image)) => {
                    plan.links.insert(image);
                }
                (Damage::Manifest, Some(image)) => {
                    plan.manifests.insert(image);
                }
                _ => {}
            }
        }
        // It is replaced, with the mode that it should have.
        let contents = &plan.contents;
        plan.modes
            .retain(|path| !contents.keys().any(|d| path.ends_with(d.object_path())));
        plan
    }
}

/// Something that a repair did, or could not do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The file.
    pub path: PathBuf,
    /// What was done; or why it was not.
    pub what: String,
}

/// A place beside the store that contents are taken from.
#[derive(Debug, Clone)]
pub enum Source {
    /// Another store: its objects by their names.
    Store(Store),
    /// A folder: its files by their contents.
    Folder(PathBuf),
}

impl Source {
    /// What stands at a path: a store, or else a folder.
    pub fn open(path: &Path) -> Result<Self, Error> {
        match Store::open(path) {
            Ok(store) => Ok(Self::Store(store)),
            Err(Error::NotAStore { .. }) => {
                fs::read_dir(path).at("read", path)?;
                Ok(Self::Folder(path.to_owned()))
            }
            Err(error) => Err(error),
        }
    }
}

/// A repair at work.
#[derive(Debug)]
pub struct Repair {
    store: Store,
    /// What is still wanted.
    wanted: BTreeMap<Digest, Wanted>,
    plan: Plan,
    /// What was done.
    pub done: Vec<Step>,
    /// What failed, and why.
    pub failed: Vec<Step>,
}

impl Repair {
    /// Begins a repair; nothing is changed yet.
    pub fn new(store: &Store, plan: Plan) -> Result<Self, Error> {
        store.check_writable()?;
        Ok(Self {
            store: store.suspecting(plan.contents.keys().copied()),
            wanted: plan.contents.clone(),
            plan,
            done: Vec::new(),
            failed: Vec::new(),
        })
    }

    /// The store, which replaces what is damaged by whatever comes by with the right content.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The objects that are still wanted.
    pub fn wanted(&self) -> &BTreeMap<Digest, Wanted> {
        &self.wanted
    }

    /// Writes down why something could not be done.
    #[expect(clippy::needless_pass_by_value, reason = "errors are given away")]
    pub fn fail(&mut self, path: &Path, why: impl ToString) {
        self.failed.push(Step {
            path: path.to_owned(),
            what: why.to_string(),
        });
    }

    fn note(&mut self, path: &Path, what: impl Into<String>, result: Result<(), Error>) {
        match result {
            Ok(()) => self.done.push(Step {
                path: path.to_owned(),
                what: what.into(),
            }),
            Err(error) => self.fail(path, error),
        }
    }

    /// Takes away what does not belong, and gives objects their mode back.
    pub fn tidy(&mut self) -> Result<(), Error> {
        let remove = std::mem::take(&mut self.plan.remove);
        if !remove.is_empty() {
            // What others use is in their leases.
            let _lock = self.store.lock(FlockOperation::LockExclusive)?;
            let mut leased = BTreeSet::new();
            for held in lease::Reader::default().news(&self.store)? {
                leased.extend(held.objects.iter().map(|d| self.store.object_path(d)));
                leased.extend(held.images.iter().map(|d| self.store.manifest_folder(d)));
            }
            for path in remove {
                if leased.contains(&path) {
                    self.fail(
                        &path,
                        "is used by an operation that runs; repair again after it",
                    );
                    continue;
                }
                // The check was a while ago, and nobody was kept from writing since.
                if is_right_now(&self.store, &path) {
                    continue;
                }
                let removed = crate::gc::remove(&path).map_err(Error::from);
                self.note(&path, "removed; nothing used it", removed);
            }
        }
        for path in std::mem::take(&mut self.plan.modes) {
            let set = set_mode(&path);
            self.note(&path, format!("has the mode {MODE:04o} again"), set);
        }
        Ok(())
    }

    /// Takes what is wanted from another store, or a folder.
    pub fn from(&mut self, source: &Source, progress: &dyn Progress) -> Result<(), Error> {
        match source {
            Source::Store(store) if store.algorithm() == self.store.algorithm() => {
                self.take_from_store(store, progress)
            }
            // Its objects have other names here.
            Source::Store(store) => self.take_from_folder(&store.path().join("objects"), progress),
            Source::Folder(path) => self.take_from_folder(path, progress),
        }
    }

    /// Takes what is wanted from another store.
    fn take_from_store(&mut self, other: &Store, progress: &dyn Progress) -> Result<(), Error> {
        let wanted: Vec<Digest> = self.wanted.keys().copied().collect();
        let from = format!("fetched from the store {}", other.path().display());
        for digest in wanted {
            if progress.cancelled() {
                return Err(Error::Cancelled);
            }
            if let Ok(file) = other.open_object(&digest) {
                self.offer(&file, Some(&digest), &from);
            }
        }
        for image in self.plan.manifests.clone() {
            let Ok(manifest) = other.image(&image) else {
                continue;
            };
            if let Ok(form) = manifest.form.parse()
                && self.store.tree(&image).is_ok()
            {
                let origin = Origin {
                    source: manifest.source.clone(),
                    oci_manifest: manifest.oci_manifest,
                    layers: other.layers_of(&image).unwrap_or_default(),
                    signatures: Vec::new(),
                };
                self.reseal(&image, form, &origin, &from);
            }
        }
        Ok(())
    }

    /// Takes what is wanted from the files below a folder, whatever their names.
    fn take_from_folder(&mut self, path: &Path, progress: &dyn Progress) -> Result<(), Error> {
        let sizes: BTreeSet<u64> = self.wanted.values().filter_map(|w| w.size).collect();
        let images = self.wanted.values().any(|wanted| wanted.size.is_none());
        let mut error = None;
        folder::files(path, &mut |path, file, size| {
            if progress.cancelled() {
                error = Some(Error::Cancelled);
            } else if sizes.contains(&size) || images && folder::may_be_image(file, size) {
                let from = format!("copied from {}", path.display());
                self.offer(file, None, &from);
            }
            error.is_none() && !self.wanted.is_empty()
        })?;
        error.map_or(Ok(()), Err)
    }

    /// Makes images anew of the layers that are known, and what can be known of images themselves.
    pub fn rebuild(&mut self) {
        for image in self.wanted.keys().copied().collect::<Vec<_>>() {
            if !self.wanted[&image].images.contains(&image) {
                continue;
            }
            match self.store.assembled(&image) {
                Ok(Some(bytes)) => {
                    let path = self.store.object_path(&image);
                    let added = self.add(&bytes);
                    if added.is_ok() {
                        self.wanted.remove(&image);
                    }
                    self.note(&path, "made anew of the image's layers", added);
                }
                Ok(None) => {}
                Err(error) => self.fail(&self.store.object_path(&image), error),
            }
        }
    }

    /// Names that follow from what is there: links of images that are whole, and manifests.
    pub fn rename(&mut self) {
        for image in std::mem::take(&mut self.plan.links) {
            let path = self.store.image_link(&image);
            // A link names the image; whether its file is that image can be told.
            if let Err(error) = self.store.read_object(&image, crate::image::MAX_IMAGE) {
                self.fail(&path, error);
                continue;
            }
            let to = Path::new("../objects").join(image.object_path());
            let made = clear(&path).and_then(|()| link(&self.store, &to, &path));
            self.note(&path, "links to its image again", made);
        }
        for image in self.plan.manifests.clone() {
            // In the form that gives this digest. Where it came from, nothing says any more.
            let Ok(tree) = self.store.tree(&image) else {
                continue;
            };
            let mut canonical = tree;
            form::canonical(&mut canonical, Form::Os1);
            let is_os = erofs::digest(&canonical, erofs::Version::V1) == image;
            let form = if is_os { Form::Os1 } else { Form::Raw };
            let origin = Origin {
                source: "unknown".into(),
                ..Origin::default()
            };
            self.reseal(
                &image,
                form,
                &origin,
                "made anew; where the image came from is lost",
            );
        }
    }

    /// Makes everything durable.
    pub fn finish(&self) -> Result<(), Error> {
        self.store.sync()
    }

    /// Strikes out what was written anew meanwhile, and says where it came from.
    pub fn settle(&mut self, from: &str) {
        let there = |digest: &&Digest| !self.store.suspects(digest);
        let found: Vec<Digest> = self.wanted.keys().filter(there).copied().collect();
        for digest in found {
            self.wanted.remove(&digest);
            self.note(&self.store.object_path(&digest), from, Ok(()));
        }
    }

    /// What an image's manifest says of it, though its file may be lost.
    pub fn about(&self, image: &Digest) -> Result<ImageManifest, Error> {
        let path = self.store.manifest_folder(image).join("image.json");
        load(&path)?.ok_or_else(|| Error::NoImage {
            name: image.to_string(),
        })
    }

    /// The layers of an image that hold what is wanted for it; those whose contents nothing says, if the
    /// others do not hold it all.
    pub fn layers_for(&self, image: &Digest) -> Result<Vec<Sha256>, Error> {
        let used = self.wanted.iter().filter(|(_, w)| w.images.contains(image));
        let mut missing: BTreeSet<Digest> = used.map(|(digest, _)| *digest).collect();
        let (mut holding, mut unknown) = (Vec::new(), Vec::new());
        for blob in self.store.layers_of(image)? {
            let Some(layer) = self.store.recorded_layer(&blob)? else {
                unknown.push(blob);
                continue;
            };
            let before = missing.len();
            for (object, _) in layer.objects() {
                missing.remove(&object);
            }
            if missing.len() < before {
                holding.push(blob);
            }
        }
        if !missing.is_empty() {
            holding.extend(unknown);
        }
        Ok(holding)
    }

    /// Takes a file's content if it is wanted.
    fn offer(&mut self, file: &File, named: Option<&Digest>, from: &str) {
        let measured = measure(file, self.store.algorithm(), &mut vec![0; PIECE]);
        let Ok((digest, _)) = measured else {
            return;
        };
        if named.is_some_and(|named| *named != digest) || !self.wanted.contains_key(&digest) {
            return;
        }
        let path = self.store.object_path(&digest);
        let taken = clear(&path).and_then(|()| copy(&self.store, file, &path));
        if taken.is_ok() {
            self.wanted.remove(&digest);
        }
        self.note(&path, from, taken);
    }

    fn add(&self, content: &[u8]) -> Result<(), Error> {
        let writer = self.store.writer()?;
        writer.add(content)?;
        Ok(())
    }

    /// Writes the manifest of an image that is there; its content gives its digest, or nothing is done.
    fn reseal(&mut self, image: &Digest, form: Form, origin: &Origin, what: &str) {
        let path = self.store.manifest_folder(image);
        let sealed = self.store.tree(image).and_then(|mut tree| {
            form::canonical(&mut tree, form);
            if erofs::digest(&tree, erofs::Version::V1) != *image {
                return Err(Error::NoImage {
                    name: image.to_string(),
                });
            }
            // A damaged one would be taken for a document of this version.
            if !matches!(load::<ImageManifest>(&path.join("image.json")), Ok(Some(m)) if m.image == *image)
            {
                let _ = crate::gc::remove(&path.join("image.json"));
            }
            self.store.seal(tree, form, origin).map(drop)
        });
        if sealed.is_ok() {
            self.plan.manifests.remove(image);
        }
        self.note(&path, what, sealed);
    }
}

impl Store {
    /// An image's bytes, made of the layers that it was assembled from; none if they are not all known, or
    /// give something else.
    fn assembled(&self, image: &Digest) -> Result<Option<Vec<u8>>, Error> {
        let blobs = self.layers_of(image)?;
        let mut layers = Vec::with_capacity(blobs.len());
        for blob in &blobs {
            match self.recorded_layer(blob)? {
                Some(layer) => layers.push(layer),
                None => return Ok(None),
            }
        }
        if layers.is_empty() {
            return Ok(None);
        }
        let tree = self.assemble(&layers)?;
        drop(layers);
        for form in [Form::Os1, Form::Raw] {
            let mut tree = tree.clone();
            form::canonical(&mut tree, form);
            let bytes = erofs::write(&tree, erofs::Version::V1);
            if verity::measure(self.algorithm(), &bytes) == *image {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

/// Whether an operation has put something right, or finished it, that a check found wrong before.
fn is_right_now(store: &Store, path: &Path) -> bool {
    let folder = path.parent().unwrap_or(path);
    if let Some(digest) = store.object_name(folder, path) {
        return File::open(path)
            .and_then(|file| measure(&file, store.algorithm(), &mut vec![0; PIECE]))
            .is_ok_and(|(found, _)| found == digest);
    }
    folder.ends_with("manifests")
        && store
            .image_name(path)
            .is_some_and(|image| store.names_image(&image))
}

/// Copies a file into the store, where it replaces what is suspected.
fn copy(store: &Store, mut file: &File, path: &Path) -> Result<(), Error> {
    let writer: Writer<'_> = store.writer()?;
    let mut stream = writer.stream()?;
    file.rewind().at("read", path)?;
    io::copy(&mut file, &mut stream).at("write", path)?;
    stream.finish()?;
    Ok(())
}

/// Sets the mode of a regular file, never through a link.
fn set_mode(path: &Path) -> Result<(), Error> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => {
            rustix::fs::fchmod(file, Mode::from_raw_mode(MODE)).at("set the mode of", path)?;
        }
        // Its owner may not read it, and may change that.
        Err(rustix::io::Errno::ACCESS) => {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(MODE);
            fs::set_permissions(path, mode).at("set the mode of", path)?;
        }
        Err(e) => Err(e).at("open", path)?,
    }
    Ok(())
}

/// Takes a folder away that stands where a file belongs: a file is renamed over, a folder is not.
fn clear(path: &Path) -> Result<(), Error> {
    if fs::symlink_metadata(path).is_ok_and(|status| status.is_dir()) {
        crate::gc::remove(path)?;
    }
    Ok(())
}
