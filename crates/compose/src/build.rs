//! A build: packages become a tree, the config is laid over it, and the store seals it.

use crate::config::Config;
use crate::debian;
use crate::debian::bootstrap;
use crate::debian::cache::Cache;
use crate::debian::stage;
use crate::finish::tree::Tree;
use crate::finish::{self, clean, times};
use crate::known::Known;
use crate::lock::{Error, Lock, Options, Package, Staged};
use crate::overlay;
use crate::own::Programs;
use crate::program::{self, Clock};
use crate::ramdisk;
use crate::source;
use crate::steps::{Kept, Kind, Steps};
use crate::written;
use elea_formats::digest::Digest;
use elea_formats::form::Form;
use elea_formats::release::ImageManifest;
use elea_formats::tree::Tree as Nodes;
use elea_store::{Origin, Store};
use elea_sys::At as _;
use elea_sys::lock::Lock as FileLock;
use elea_sys::progress::{Progress, Unit};
use std::cell::RefCell;
use std::fs;
use std::path::Path;

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
    let programs = Programs::of(options)?;
    let known = Known::of(config, lock, options, &programs)?;
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
    let build = Build {
        config,
        lock,
        store,
        options,
        programs: &programs,
        work: work.path(),
        log: &work.path().join("log"),
        progress,
    };
    let (tree, new_lock) = build.tree()?;
    progress.start("seal", None, Unit::Items);
    let origin = Origin {
        source: format!("build:{}", config.system.name),
        ..Origin::default()
    };
    let manifest = store.seal(tree, Form::Os1, &origin)?;
    progress.finish();
    // A file that changed meanwhile may be in the image or not.
    if options.clock_ahead.is_zero()
        && programs.are_same()?
        && Known::of(config, lock, options, &programs)? == known
        && let Some(known) = Known::of(config, &new_lock, options, &programs)?
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

/// The tree that packages made, before anything is laid over it: of a whole system, and of one with more packages.
const PACKAGES: Kind = Kind {
    word: "packages",
    version: 2,
    most: 3,
};
const MORE: Kind = Kind {
    word: "more-packages",
    version: 2,
    most: 6,
};

/// What a build begins with.
struct Build<'a> {
    config: &'a Config,
    lock: &'a Lock,
    store: &'a Store,
    options: &'a Options,
    programs: &'a Programs,
    work: &'a Path,
    log: &'a Path,
    progress: &'a dyn Progress,
}

impl Build<'_> {
    /// The finished tree, and the lock with all numbers.
    fn tree(&self) -> Result<(Nodes, Lock), Error> {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        let steps = Steps {
            store: self.store,
            fresh: self.options.fresh,
            keeps: self.options.clock_ahead.is_zero(),
            source: Path::new(source::HERE),
        };
        let stages = self.lock.staged();
        let inputs = inputs(&stages.iter().collect::<Vec<_>>());
        let (packages, part) = match stages.as_slice() {
            [] => (self.store.empty_tree(), None),
            [before @ .., last] => {
                let kept = self.packages(steps, before, last)?;
                let part = kept.part();
                (kept.tree, Some(part))
            }
        };
        self.progress.start("finish", None, Unit::Items);
        let loader = || {
            let loader = self.lock.loader()?;
            let cache = self.packages_of(&[loader])?;
            Ok(cache.path(&loader.sha256))
        };
        let job = finish::Job {
            config: self.config,
            lock: self.lock,
            options: self.options,
            store: self.store,
            steps,
            packages: inputs.to_string(),
            parts: RefCell::new(part.into_iter().collect()),
            programs: self.programs,
            work: self.work,
            log: self.log,
            loader: &loader,
            progress: self.progress,
        };
        let mut tree = Tree::new(self.store, packages, self.lock.epoch)?;
        let lock = finish::finish(&job, &mut tree)?;
        let mut nodes = tree.into_nodes();
        times::clamp(&mut nodes, lock.epoch);
        Ok((nodes, lock))
    }

    /// The tree of the packages of these stages.
    fn packages(
        &self,
        steps: Steps<'_>,
        before: &[Staged<'_>],
        last: &Staged<'_>,
    ) -> Result<Kept, Error> {
        let kind = if before.is_empty() { PACKAGES } else { MORE };
        let stages: Vec<&Staged<'_>> = before.iter().chain([last]).collect();
        steps.take(kind, &inputs(&stages), || {
            // Only now: who has the last tree needs none of those before.
            let below = match before {
                [] => None,
                [before @ .., last] => Some(self.packages(steps, before, last)?),
            };
            self.install(last, below.as_ref())
        })
    }

    /// Installs packages: in a tree, or as a new one.
    fn install(&self, stage: &Staged<'_>, below: Option<&Kept>) -> Result<Nodes, Error> {
        let Staged { epoch, packages } = stage;
        if below.is_none() {
            program::require("mmdebstrap", "mmdebstrap")?;
        }
        let cache = self.packages_of(packages)?;
        self.progress.start("prepare packages", None, Unit::Items);
        // Work of its own: the stages before have theirs.
        let work = tempfile::tempdir_in(self.work).at("make a folder in", self.work)?;
        let work = work.path();
        let folder = work.join("packages");
        let tools = program::Tools::of(self.options);
        let room =
            bootstrap::repository(&folder, packages, &cache, &tools, self.log, self.progress)?;
        let mut nodes = match below {
            None => ramdisk::inside(&work.join("tree"), room, || {
                bootstrap::tree(work, packages, self.clock(*epoch), self.log, self.progress)?;
                Ok(self.store.import_dir(&work.join("tree"), self.progress)?)
            })?,
            Some(below) => self.add(work, packages, *epoch, below)?,
        };
        overlay::clean(&mut nodes);
        let mut tree = Tree::new(self.store, nodes, *epoch)?;
        clean::leftovers(&mut tree)?;
        let mut nodes = tree.into_nodes();
        times::clamp(&mut nodes, *epoch);
        Ok(nodes)
    }

    fn clock(&self, epoch: i64) -> Clock {
        Clock {
            epoch,
            ahead: self.options.clock_ahead,
        }
    }

    /// Adds packages to a kept tree.
    fn add(
        &self,
        work: &Path,
        packages: &[&Package],
        epoch: i64,
        below: &Kept,
    ) -> Result<Nodes, Error> {
        let install = || stage::install(work, packages, self.clock(epoch), self.log, self.progress);
        match overlay::changed(self.store, below, work, install, self.progress)? {
            Ok(nodes) => return Ok(nodes),
            Err(why) => {
                let note = format!("the kept packages are copied, which takes longer: {why}");
                self.progress.note(&note);
            }
        }
        let tree = work.join("tree");
        written::write(self.store, &below.tree, &tree, self.log, self.progress)?;
        install()?;
        Ok(self.store.import_dir(&tree, self.progress)?)
    }

    /// The cache, with these packages in it.
    fn packages_of(&self, packages: &[&Package]) -> Result<Cache, Error> {
        let cache = Cache::open(&self.options.cache)?;
        let archives = || {
            let mut archives =
                debian::archives(&self.config.base, &self.config.base.suite, Path::new("/"))?;
            archives.extend(debian::archives(
                &self.config.base,
                &self.config.loader.suite,
                Path::new("/"),
            )?);
            Ok(archives)
        };
        let locked = self.options.locked;
        cache.fill(packages, archives, locked, self.log, self.progress)?;
        Ok(cache)
    }
}

/// What goes into the tree of the packages. The programs of the build machine are no part of it: who has others makes it
/// with `--check`, and compares.
fn inputs(stages: &[&Staged<'_>]) -> serde_json::Value {
    let stages = stages.iter().map(|stage| {
        let packages = stage.packages.iter();
        let files = packages.map(|p| (&p.name, &p.version, p.sha256.to_string()));
        serde_json::json!({ "epoch": stage.epoch, "packages": files.collect::<Vec<_>>() })
    });
    serde_json::json!({
        "boot-package": bootstrap::BOOT_CONTROL,
        "stages": stages.collect::<Vec<_>>(),
    })
}
