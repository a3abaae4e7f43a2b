//! Collection: mark what is kept, sweep the rest.
//!
//! Others go on meanwhile. The lock is held for moments: each time, what names and leases say by then is looked
//! at first, and then a few things are taken away. What is kept only grows during a collection.

use crate::fsck::is_unfinished;
use crate::layer::layer_name;
use crate::lease;
use crate::store::{in_parallel, list};
use crate::{Error, Store};
use elea_formats::digest::{Digest, Sha256};
use elea_formats::table::Map;
use elea_sys::progress::{Progress, Unit};
use elea_sys::{At as _, PathError, durable};
use rayon::prelude::*;
use rustix::fs::FlockOperation;
use serde::Serialize;
use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirEntryExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// A download that nobody went on with for so long is given up.
const PARTIAL: Duration = Duration::from_hours(7 * 24);
/// How long objects are removed before the others have the lock again.
const TURN: Duration = Duration::from_millis(10);
/// How long they have for taking it: whoever is woken has it only if nobody asks for it again at once.
const BREATH: Duration = Duration::from_micros(200);

/// As many objects are removed in the order of their inodes.
const WINDOW: usize = 1 << 18;
/// How many of them a thread takes at once.
const RUN: usize = 4;

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

/// What stays, as far as it is known.
#[derive(Debug)]
struct Kept<'s> {
    store: &'s Store,
    leases: lease::Reader,
    images: BTreeSet<Digest>,
    layers: BTreeSet<Sha256>,
    objects: Map,
    /// The images and layers whose objects are among these.
    read_images: HashSet<Digest>,
    read_layers: HashSet<Sha256>,
    /// Whether images without a keeper have lost their names: what has a name since then got it meanwhile.
    swept: bool,
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
        let mut kept = Kept::new(self, roots);
        // Most is read before anybody has to wait.
        kept.look()?;
        kept.read(dry_run)?;
        let mut collected = Collected {
            schema: "elea.gc/1",
            ..Collected::default()
        };
        // Names go before what they name, so that a power cut leaves nothing that dangles.
        if !dry_run {
            // A name that is gone may come back after a power cut, as long as that is not durable.
            durable::sync_folder(&self.path().join("refs"))?;
        }
        self.sweep_images(&mut kept, dry_run, &mut collected)?;
        if !dry_run {
            self.sweep_documents(&mut kept)?;
        }
        in_parallel(|| self.sweep_objects(&mut kept, dry_run, &mut collected, progress))?;
        progress.finish();
        Ok(collected)
    }

    fn sweep_images(
        &self,
        kept: &mut Kept<'_>,
        dry_run: bool,
        collected: &mut Collected,
    ) -> Result<(), Error> {
        let folder = self.path().join("images");
        let lock = if dry_run { None } else { Some(kept.lock()?) };
        for path in list(&folder)? {
            if let Some(image) = self.image_name(&path)
                && !kept.images.contains(&image)
            {
                collected.images.push(image);
                if !dry_run {
                    fs::remove_file(&path).at("remove", &path)?;
                }
            }
        }
        kept.swept = !dry_run;
        drop(lock);
        if !dry_run {
            durable::sync_folder(&folder)?;
        }
        Ok(())
    }

    /// Manifests of images that are gone, layers, and what killed processes left.
    fn sweep_documents(&self, kept: &mut Kept<'_>) -> Result<(), Error> {
        let _lock = kept.lock()?;
        for path in list(&self.path().join("manifests"))? {
            let is_kept = |image| kept.images.contains(&image) || self.names_image(&image);
            if self.image_name(&path).is_some_and(|image| !is_kept(image)) {
                fs::remove_dir_all(&path).at("remove", &path)?;
            }
        }
        for path in list(&self.path().join("manifests/layers"))? {
            if layer_name(&path).is_none_or(|blob| !kept.layers.contains(&blob)) {
                fs::remove_file(&path).at("remove", &path)?;
            }
        }
        // Whoever makes a lease, or a new name in these folders, holds the lock.
        // Whoever ends one takes it away without.
        for path in lease::void(self)? {
            remove(&path)?;
        }
        let alive = lease::processes(self)?;
        for path in list(&self.path().join("tmp"))? {
            if lease::process(&path).is_none_or(|process| !alive.contains(&process)) {
                remove(&path)?;
            }
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
            match fs::symlink_metadata(&path) {
                // A download that came to its end.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                status => {
                    let status = status.at("look at", &path)?;
                    if status.modified().at("look at", &path)? < old {
                        remove(&path)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn sweep_objects(
        &self,
        kept: &mut Kept<'_>,
        dry_run: bool,
        collected: &mut Collected,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let mut unkept = Vec::new();
        let folders = list(&self.path().join("objects"))?;
        for (number, folder) in folders.iter().enumerate() {
            unkept.extend(self.unkept(folder, &kept.objects)?);
            if unkept.len() < WINDOW && number + 1 < folders.len() {
                continue;
            }
            // File systems keep inodes in tables: each block of them is changed once, and freed space is
            // next to what was freed before.
            unkept.sort_unstable_by_key(|object| object.inode);
            let next = AtomicUsize::new(0);
            while next.load(Ordering::Relaxed) < unkept.len() {
                let lock = if dry_run { None } else { Some(kept.lock()?) };
                let turn = Turn {
                    begun: Instant::now(),
                    store: self,
                    kept: &kept.objects,
                    unkept: &unkept,
                    next: &next,
                    dry_run,
                    progress,
                };
                let swept = (0..rayon::current_num_threads())
                    .into_par_iter()
                    .map(|_| turn.sweep());
                let (objects, bytes) =
                    swept.try_reduce(|| (0, 0), |a, b| Ok((a.0 + b.0, a.1 + b.1)))?;
                collected.objects += objects;
                collected.bytes += bytes;
                if lock.is_some() {
                    drop(lock);
                    std::thread::sleep(BREATH);
                }
            }
            unkept.clear();
        }
        Ok(())
    }

    /// The objects of a folder that nothing is known to keep.
    fn unkept(&self, folder: &Path, kept: &Map) -> Result<Vec<Unkept>, PathError> {
        let mut unkept = Vec::new();
        let entries = match fs::read_dir(folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(unkept),
            entries => entries.at("list", folder)?,
        };
        for entry in entries {
            let entry = entry.at("list", folder)?;
            if let Some(digest) = self.object_name(folder, Path::new(&entry.file_name()))
                && !kept.contains(digest.as_bytes())
            {
                let inode = entry.ino();
                unkept.push(Unkept { inode, digest });
            }
        }
        Ok(unkept)
    }
}

/// An object that nothing was known to keep when it was listed.
struct Unkept {
    inode: u64,
    digest: Digest,
}

/// A while with the lock.
struct Turn<'a> {
    begun: Instant,
    store: &'a Store,
    kept: &'a Map,
    unkept: &'a [Unkept],
    /// The first of them that no thread has taken.
    next: &'a AtomicUsize,
    dry_run: bool,
    progress: &'a dyn Progress,
}

impl Turn<'_> {
    /// Removes objects until none is left or others have to have the lock; how many, and their size in bytes.
    fn sweep(&self) -> Result<(u64, u64), Error> {
        let (mut objects, mut bytes) = (0, 0);
        while self.begun.elapsed() < TURN {
            let first = self.next.fetch_add(RUN, Ordering::Relaxed);
            let rest = self.unkept.get(first..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            for Unkept { digest, .. } in rest.iter().take(RUN) {
                if self.progress.cancelled() {
                    return Err(Error::Cancelled);
                }
                if self.kept.contains(digest.as_bytes()) {
                    continue;
                }
                let path = self.store.object_path(digest);
                let status = match fs::symlink_metadata(&path) {
                    // Another collection was here.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                    status => status.at("look at", &path)?,
                };
                objects += 1;
                bytes += status.len();
                self.progress.advance(1);
                if !self.dry_run {
                    fs::remove_file(&path).at("remove", &path)?;
                }
            }
        }
        Ok((objects, bytes))
    }
}

impl<'s> Kept<'s> {
    fn new(store: &'s Store, roots: &[Digest]) -> Self {
        Self {
            store,
            leases: lease::Reader::default(),
            images: roots.iter().copied().collect(),
            layers: BTreeSet::new(),
            objects: Map::new(&store.room(), store.algorithm().bytes(), 0),
            read_images: HashSet::new(),
            read_layers: HashSet::new(),
            swept: false,
        }
    }

    /// The lock, with everything known that is kept by then.
    fn lock(&mut self) -> Result<File, Error> {
        let lock = self.store.lock(FlockOperation::LockExclusive)?;
        if self.look()? {
            return Ok(lock);
        }
        // An image that was made meanwhile is read while others go on.
        drop(lock);
        self.read(false)?;
        let lock = self.store.lock(FlockOperation::LockExclusive)?;
        if !self.look()? {
            self.read(true)?;
        }
        Ok(lock)
    }

    /// Takes in what names and leases say now; whether that is all that is kept, or something of it has to be read.
    fn look(&mut self) -> Result<bool, Error> {
        // Leases first: a reference is made before its lease ends.
        for held in self.leases.news(self.store)? {
            self.images.extend(held.images);
            self.layers.extend(held.layers);
            for object in held.objects {
                self.objects.entry(object.as_bytes());
            }
        }
        self.images.extend(self.store.refs()?.into_values());
        if self.swept {
            // Whoever made it may be gone by now. Without this its objects would go before its name.
            let links = list(&self.store.path().join("images"))?;
            self.images
                .extend(links.iter().filter_map(|path| self.store.image_name(path)));
        }
        Ok(self.unread_images().next().is_none() && self.unread_layers().next().is_none())
    }

    /// An image that is being made has no name yet; its lease has all of its objects.
    fn unread_images(&self) -> impl Iterator<Item = Digest> {
        let unread =
            |image: &&Digest| !self.read_images.contains(*image) && self.store.names_image(image);
        self.images.iter().filter(unread).copied()
    }

    fn unread_layers(&self) -> impl Iterator<Item = Sha256> {
        let unread = |blob: &&Sha256| {
            !self.read_layers.contains(*blob) && self.store.layer_path(blob).exists()
        };
        self.layers.iter().filter(unread).copied()
    }

    /// Reads images and layers that are kept, and do not change; those that cannot be read are an error only
    /// if nobody else can be at work on them.
    fn read(&mut self, must: bool) -> Result<(), Error> {
        for image in self.unread_images().collect::<Vec<_>>() {
            let objects = &mut self.objects;
            let read = self.store.each_object_of(&image, |object, _| {
                objects.entry(object.as_bytes());
            });
            match read {
                Ok(()) => {}
                // It was kept a moment ago; another collection may have taken it.
                Err(_) if !must => continue,
                // A kept image that cannot be read ends the collection: nobody knows what it needs.
                Err(error) => return Err(error),
            }
            self.layers.extend(self.store.layers_of(&image)?);
            self.read_images.insert(image);
        }
        for blob in self.unread_layers().collect::<Vec<_>>() {
            if let Some(layer) = self.store.recorded_layer(&blob)? {
                for (object, _) in layer.objects() {
                    self.objects.entry(object.as_bytes());
                }
            }
            self.read_layers.insert(blob);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Origin;
    use elea_formats::form::Form;
    use elea_formats::tree::Tree;
    use elea_sys::progress::Silent;

    /// An image gets its name while another collection is on, and nobody keeps it any more when the collection
    /// looks again: its name stays, so its file has to.
    #[test]
    fn what_came_and_lost_its_keepers_meanwhile_stays_whole() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::init(&dir.path().join("store")).unwrap();
        let mut kept = Kept::new(&store, &[]);
        let mut collected = Collected::default();
        store
            .sweep_images(&mut kept, false, &mut collected)
            .unwrap();
        let sealed = store.seal(Tree::new(), Form::Os1, &Origin::default());
        let image = sealed.unwrap().image;
        drop(kept.lock().unwrap());
        store
            .sweep_objects(&mut kept, false, &mut collected, &Silent)
            .unwrap();
        assert_eq!(collected.objects, 0);
        assert_eq!(store.fsck(&Silent).unwrap().findings, []);
        assert_eq!(store.gc(&[], false, &Silent).unwrap().images, [image]);
    }
}
