//! The packages of a home: a tree of them, which needs no root to be made, and the programs that it offers.
//!
//! [`resolve`] pins them as packages of a system are, [`make`] has apt and dpkg install them in a tree of their own, and
//! lays out what a session finds of it. `docs/formats/home.md` says what is where.

mod grown;
pub mod inside;
mod install;
mod offers;
mod order;
mod places;
pub(crate) mod tools;
mod unpack;

use crate::build::work_folder;
use crate::config::home::OneHome;
use crate::debian;
use crate::debian::cache::Cache;
use crate::lock::{self, Asked, Error, Lock, Options, Package, Update};
use crate::program;
use elea_formats::digest::Sha256;
use elea_sys::progress::{Progress, Unit};
use elea_sys::root::Root;
use elea_sys::{At as _, durable};
use install::Install;
use serde::Serialize;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What every profile has besides what is asked for: programs find a shell, and whom to trust.
const SYSTEM: [&str; 2] = ["?essential", "ca-certificates"];
/// Changes when a profile of the same packages is made in another way.
const VERSION: u32 = 2;
/// `profile.json`.
#[derive(Serialize)]
struct Record<'a> {
    schema: &'static str,
    /// Names that were asked for.
    asked: &'a [String],
    /// What is installed.
    packages: &'a [Package],
    /// What the tree was after each stage of the lock.
    stages: Vec<Sha256>,
    /// The programs that it offers, with where they are.
    programs: Vec<(String, String)>,
    /// What of the machine is in their places in the tree.
    machine: Vec<String>,
}

/// Where the lock of a home is: beside its config, or in `own` if the config is somebody else's.
pub fn lock_path(config: &Path, user: &str, own: &Path) -> PathBuf {
    let name = config.with_extension(format!("home-{user}.lock"));
    let folder = match name.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let me = rustix::process::geteuid().as_raw();
    if fs::metadata(folder).is_ok_and(|folder| folder.uid() == me) {
        return name;
    }
    own.join(name.file_name().unwrap_or_default())
}

/// The lock that the packages of a home have, if it still fits.
pub fn current(home: &OneHome, path: &Path) -> Result<Option<Lock>, Error> {
    let lock = lock::load_at(path)?;
    Ok(lock.filter(|lock| lock.request == request(home)))
}

/// The lock for the packages of a home: the one at `path`, if it still fits, or a new one. Nothing is written there.
/// A machine without apt asks that of the image that the config names, which is kept in the folder `kept`.
pub fn resolve(
    home: &OneHome,
    path: &Path,
    kept: &Path,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Lock, Error> {
    let asked = Asked {
        base: &home.base,
        system: &SYSTEM,
        install: &home.home.packages,
        key: format!("home.{}.packages", home.user),
        recommends: false,
        kernel: None,
        loader: None,
        errors: &|found| home.errors(found),
    };
    let old = lock::load_at(path)?.map(|lock| lock::Loaded { lock, own: true });
    let request = request(home);
    let fits = old.as_ref().is_some_and(|old| old.lock.request == request);
    let is_asked = !(options.locked || fits && options.update == Update::Keep);
    let mut options = options.clone();
    if is_asked {
        options.tools = tools_of(home, kept, &options, progress)?;
        if options.tools.is_none() && program::require("apt-get", "apt").is_err() {
            return Err(Error::NoApt);
        }
    }
    lock::settle(&asked, request, old, path, &options, progress)
}

/// The tree of the image that has apt, if the config names one.
fn tools_of(
    home: &OneHome,
    kept: &Path,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Option<PathBuf>, Error> {
    let image = home.base.tools.as_deref();
    image
        .map(|image| tools::obtain(image, kept, options, progress))
        .transpose()
}

/// Writes the lock.
pub fn save(path: &Path, lock: &Lock) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).at("make the folder", folder)?;
    lock::save_at(path, folder, lock)
}

/// The digest of everything that a home asks of archives.
fn request(home: &OneHome) -> Sha256 {
    let asked = serde_json::json!({
        "architecture": home.base.architecture,
        "components": home.base.components,
        "packages": home.home.packages,
        "suite": home.base.suite,
        "system": SYSTEM,
    });
    Sha256::of(asked.to_string().as_bytes())
}

/// What tells a profile from others.
pub fn key(home: &OneHome, lock: &Lock) -> Sha256 {
    let all = serde_json::json!({
        "asked": home.home.packages,
        "stages": grown::stages(lock, VERSION),
    });
    Sha256::of(all.to_string().as_bytes())
}

/// Makes a profile in `folder`, which is new and empty: `tree`, `bin`, `share`, `root` (where it is mounted) and
/// `profile.json`. Another profile beside it that begins in the same way is gone on from. `kept` is as for [`resolve`].
pub fn make(
    home: &OneHome,
    lock: &Lock,
    folder: &Path,
    kept: &Path,
    options: &Options,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let tree = folder.join("tree");
    let stages = grown::stages(lock, VERSION);
    {
        let work = work_folder(&options.work)?;
        let log = work.path().join("log");
        let beside = folder.parent().unwrap_or(folder);
        let done = if let Some((older, done)) = grown::longest(beside, &stages) {
            progress.start("copy the older packages", None, Unit::Items);
            grown::copy(&older, &tree)?;
            done
        } else {
            fs::create_dir(&tree).at("make the folder", &tree)?;
            0
        };
        let staged = lock.staged();
        let new = staged.iter().skip(done);
        let packages: Vec<&Package> = new.clone().flat_map(|s| s.packages.clone()).collect();
        let cache = Cache::open(&options.cache)?;
        let archives = || {
            let mut options = options.clone();
            if home.base.mirror.is_none() {
                options.tools = tools_of(home, kept, &options, progress)?;
            }
            debian::archives(&home.base, &home.base.suite, &options.system())
        };
        cache.fill(&packages, archives, options.locked, &log, progress)?;
        for stage in new {
            let install = Install {
                tree: &tree,
                cache: &options.cache,
                options,
                log: &log,
                progress,
            };
            install.stage(stage)?;
            // After each one: who goes on from here begins with the same.
            let tree = Root::open(&tree)?;
            places::clean(&tree)?;
            places::make(&tree)?;
        }
    }
    progress.start("finish", None, Unit::Items);
    let tree = Root::open(&tree)?;
    let programs = offers::lay_out(&tree, &home.home.packages, folder, &options.elea)?;
    let text = record(&home.home.packages, &lock.packages, stages, programs);
    durable::write_private(&folder.join("profile.json"), &text)?;
    progress.finish();
    Ok(())
}

/// `profile.json`.
fn record(
    asked: &[String],
    packages: &[Package],
    stages: Vec<Sha256>,
    programs: Vec<(String, String)>,
) -> Vec<u8> {
    let record = Record {
        schema: "elea.home-profile/1",
        asked,
        packages,
        stages,
        programs,
        machine: places::all(),
    };
    // Texts and numbers; nothing that can fail.
    serde_json::to_vec_pretty(&record).unwrap_or_default()
}
