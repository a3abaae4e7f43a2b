//! A build: packages become a tree, the config is laid over it, and the store seals it.

use crate::config::Config;
use crate::debian;
use crate::debian::bases::Bases;
use crate::debian::bootstrap;
use crate::debian::cache::Cache;
use crate::finish;
use crate::known::Known;
use crate::lock::{Error, Lock, Options, Package};
use elea_formats::digest::Digest;
use elea_formats::form::Form;
use elea_formats::release::ImageManifest;
use elea_store::{Origin, Store};
use elea_sys::At as _;
use elea_sys::lock::Lock as FileLock;
use elea_sys::progress::{Progress, Unit};
use std::fs;
use std::path::{Path, PathBuf};

/// What a build made.
#[derive(Debug, Clone)]
pub struct Built {
    /// The image.
    pub image: Digest,
    /// What the store says of it.
    pub manifest: ImageManifest,
    /// The lock with the numbers of accounts that are new in this build.
    pub lock: Lock,
    /// Whether `lock` differs from the one that the build began with.
    pub lock_changed: bool,
}

/// A folder for the work that is removed when dropped, and found by the next build if this
/// one is killed.
#[derive(Debug)]
pub(crate) struct Work {
    folder: tempfile::TempDir,
    _lock: FileLock,
}

impl Work {
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

const PREFIX: &str = "elea-work-";

/// Makes a folder for the work, and removes those that killed builds left.
pub(crate) fn work_folder(parent: &Path) -> Result<Work, Error> {
    fs::create_dir_all(parent).at("make the folder", parent)?;
    for entry in fs::read_dir(parent).at("list", parent)? {
        let entry = entry.at("list", parent)?;
        let path = entry.path();
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if ours
            && path.join("lock").exists()
            && FileLock::try_take(&path.join("lock"), "a sweep").is_ok()
        {
            fs::remove_dir_all(&path).at("remove", &path)?;
        }
    }
    let parent = parent.canonicalize().at("open", parent)?;
    let folder = tempfile::Builder::new()
        .prefix(PREFIX)
        .tempdir_in(&parent)
        .at("make a folder in", &parent)?;
    let path = folder.path().join("lock");
    let lock = FileLock::try_take(&path, "elea build").map_err(|e| match e {
        elea_sys::lock::LockError::Path(e) => Error::Path(e),
        held @ elea_sys::lock::LockError::Held { .. } => Error::Tree(held.to_string()),
    })?;
    Ok(Work {
        folder,
        _lock: lock,
    })
}

/// Makes the image of a config and its lock, and seals it in the store as `os-1`. What was built of the same before,
/// and is in the store still, is not built again.
pub fn build(
    config: &Config,
    lock: &Lock,
    store: &Store,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Built, Error> {
    let known = Known::of(config, lock, options)?;
    let image = known.as_ref().filter(|_| !options.fresh);
    if let Some(image) = image.and_then(|known| known.image(store)) {
        return Ok(Built {
            image,
            manifest: store.image(&image)?,
            lock: lock.clone(),
            lock_changed: false,
        });
    }
    let work = work_folder(&options.work)?;
    let lease = store.lease(&format!("elea build {}", config.system.name))?;
    let (tree, new_lock) = tree(config, lock, options, work.path(), progress)?;
    let imported = store.import_dir(&tree, progress)?;
    progress.start("seal", None, Unit::Items);
    let origin = Origin {
        source: format!("build:{}", config.system.name),
        ..Origin::default()
    };
    let manifest = store.seal(imported, Form::Os1, &origin)?;
    progress.finish();
    // A file that changed meanwhile may be in the image or not.
    if Known::of(config, lock, options)? == known
        && let Some(known) = Known::of(config, &new_lock, options)?
    {
        known.note(&manifest.image)?;
    }
    drop(lease);
    Ok(Built {
        image: manifest.image,
        lock_changed: new_lock != *lock,
        lock: new_lock,
        manifest,
    })
}

/// Makes the finished tree in `work`; returns its folder and the lock with all numbers.
pub(crate) fn tree(
    config: &Config,
    lock: &Lock,
    options: &Options,
    work: &Path,
    progress: &dyn Progress,
) -> Result<(PathBuf, Lock), Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let log = work.join("log");
    let cache = Cache::open(&options.cache)?;
    let all: Vec<&Package> = lock.packages.iter().chain([&lock.loader]).collect();
    let archives = || {
        let mut archives = debian::archives(config, &config.base.suite)?;
        archives.extend(debian::archives(config, &config.loader.suite)?);
        Ok(archives)
    };
    cache.fill(&all, archives, options.locked, &log, progress)?;
    let tree = work.join("tree");
    packages(lock, options, &cache, work, progress)?;
    progress.start("finish", None, Unit::Items);
    let job = finish::Job {
        config,
        lock,
        options,
        tree: &tree,
        work,
        loader: cache.path(&lock.loader.sha256),
        log: &log,
        progress,
    };
    let lock = finish::finish(&job)?;
    Ok((tree, lock))
}

/// Makes the tree of the packages as `tree` in `work`.
fn packages(
    lock: &Lock,
    options: &Options,
    cache: &Cache,
    work: &Path,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let (log, tree) = (work.join("log"), work.join("tree"));
    let folder = options
        .cache
        .parent()
        .unwrap_or(Path::new("."))
        .join("bases");
    let bases = Bases::open(&folder, lock, &log)?;
    if let Some(bases) = bases.as_ref().filter(|_| !options.fresh)
        && bases.take(&tree, &log, progress)?
    {
        return Ok(());
    }
    progress.start("prepare packages", None, Unit::Items);
    let packages: Vec<&Package> = lock.packages.iter().collect();
    bootstrap::repository(&work.join("packages"), &packages, cache, &log, progress)?;
    bootstrap::tree(work, lock, &log, progress)?;
    match bases {
        Some(bases) => bases.keep(&tree, &log, progress),
        None => Ok(()),
    }
}
