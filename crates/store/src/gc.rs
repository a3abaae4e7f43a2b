//! Collection: mark what is kept, sweep the rest.

use crate::fsck::is_unfinished;
use crate::image::target_name;
use crate::lease;
use crate::store::list;
use crate::{Error, Store};
use elea_formats::digest::Digest;
use elea_sys::progress::{Progress, Unit};
use elea_sys::{At as _, PathError, durable};
use rustix::fs::FlockOperation;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A download that nobody went on with for so long is given up.
const PARTIAL: Duration = Duration::from_hours(7 * 24);

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

/// What stays.
#[derive(Debug, Default)]
struct Kept {
    images: BTreeSet<Digest>,
    layers: BTreeSet<Digest>,
    objects: HashSet<Digest>,
}

impl Store {
    /// Removes every image that neither a reference nor `roots` nor a lease keeps, and every object that
    /// no image is left for. Layers stay, with their objects, while an image that they made does.
    pub fn gc(
        &self,
        roots: &[Digest],
        dry_run: bool,
        progress: &dyn Progress,
    ) -> Result<Collected, Error> {
        if dry_run {
            self.check_known()?;
        } else {
            self.make_folders()?;
        }
        let streams = self.path().join("streams");
        if !list(&streams)?.is_empty() {
            return Err(Error::Meta {
                path: self.path().to_owned(),
                what: "another program keeps streams in it, whose objects elea does not know; collect with that program".into(),
            });
        }
        progress.start("collect", None, Unit::Items);
        // Images are read before the lock is taken: they do not change, only which are kept.
        let mut known = HashMap::new();
        let mut kept = self.mark(roots, &mut known)?;
        let mut lock = None;
        if !dry_run {
            lock = Some(self.lock(FlockOperation::LockExclusive)?);
            kept = self.mark(roots, &mut known)?;
            // A name that is gone may come back after a power cut, as long as that is not durable.
            durable::sync_folder(&self.path().join("refs"))?;
        }
        let collected = self.sweep(&kept, dry_run, progress)?;
        drop(lock);
        progress.finish();
        Ok(collected)
    }

    fn mark(
        &self,
        roots: &[Digest],
        known: &mut HashMap<Digest, BTreeMap<Digest, u64>>,
    ) -> Result<Kept, Error> {
        let mut kept = Kept::default();
        let leases = lease::live(self)?;
        kept.images.extend(self.refs()?.into_values());
        kept.images.extend(roots);
        for held in leases {
            kept.images.extend(held.images);
            kept.layers.extend(held.layers);
            kept.objects.extend(held.objects);
        }
        kept.images.retain(|image| self.names_image(image));
        for image in &kept.images {
            // A kept image that cannot be read ends the collection: nobody knows what it needs.
            if !known.contains_key(image) {
                known.insert(*image, self.objects_of(image)?);
            }
            kept.objects.extend(known[image].keys());
            kept.layers.extend(self.layers_of(image)?);
        }
        for blob in &kept.layers {
            if let Some(layer) = self.load_layer(blob)? {
                kept.objects
                    .extend(layer.objects().map(|(digest, _)| digest));
            }
        }
        Ok(kept)
    }

    /// Takes names away before what they name, so that a power cut leaves nothing that dangles.
    fn sweep(
        &self,
        kept: &Kept,
        dry_run: bool,
        progress: &dyn Progress,
    ) -> Result<Collected, Error> {
        let mut collected = Collected {
            schema: "elea.gc/1",
            ..Collected::default()
        };
        let images = self.path().join("images");
        for path in list(&images)? {
            if let Some(image) = target_name(&path)
                && !kept.images.contains(&image)
            {
                collected.images.push(image);
                if !dry_run {
                    fs::remove_file(&path).at("remove", &path)?;
                }
            }
        }
        if !dry_run {
            durable::sync_folder(&images)?;
            self.sweep_documents(kept)?;
            self.sweep_leavings()?;
        }
        for folder in list(&self.path().join("objects"))? {
            for path in list(&folder)? {
                if progress.cancelled() {
                    return Err(Error::Cancelled);
                }
                let Some(digest) = object_name(&folder, &path) else {
                    continue;
                };
                if kept.objects.contains(&digest) {
                    continue;
                }
                collected.objects += 1;
                collected.bytes += fs::symlink_metadata(&path).at("look at", &path)?.len();
                progress.advance(1);
                if !dry_run {
                    fs::remove_file(&path).at("remove", &path)?;
                }
            }
        }
        Ok(collected)
    }

    fn sweep_documents(&self, kept: &Kept) -> Result<(), PathError> {
        for path in list(&self.path().join("manifests"))? {
            if target_name(&path).is_some_and(|image| !kept.images.contains(&image)) {
                fs::remove_dir_all(&path).at("remove", &path)?;
            }
        }
        for path in list(&self.path().join("manifests/layers"))? {
            if target_name(&path).is_none_or(|blob| !kept.layers.contains(&blob)) {
                fs::remove_file(&path).at("remove", &path)?;
            }
        }
        Ok(())
    }

    /// What killed processes left. The exclusive lock says that nobody is writing.
    fn sweep_leavings(&self) -> Result<(), Error> {
        for path in lease::void(self)? {
            fs::remove_file(&path).at("remove", &path)?;
        }
        for path in list(&self.path().join("tmp"))? {
            remove(&path)?;
        }
        for folder in ["", "images", "refs", "cache"] {
            for path in list(&self.path().join(folder))? {
                if is_unfinished(&path) {
                    remove(&path)?;
                }
            }
        }
        let Some(old) = SystemTime::now().checked_sub(PARTIAL) else {
            return Ok(());
        };
        for path in list(&self.path().join("partial"))? {
            let status = fs::symlink_metadata(&path).at("look at", &path)?;
            if status.modified().at("look at", &path)? < old {
                remove(&path)?;
            }
        }
        Ok(())
    }
}

/// Removes a file or a folder; one that is gone is gone.
pub(crate) fn remove(path: &Path) -> Result<(), PathError> {
    let status = match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        status => status.at("look at", path)?,
    };
    let removed = if status.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.at("remove", path),
    }
}

/// The digest that an object's folder and file spell.
pub(crate) fn object_name(folder: &Path, file: &Path) -> Option<Digest> {
    let head = folder.file_name()?.to_str()?;
    let rest = file.file_name()?.to_str()?;
    (head.len() == 2).then(|| format!("{head}{rest}").parse().ok())?
}
