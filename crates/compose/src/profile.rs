//! The packages of a home: a tree of them, which needs no root to be made, and the programs that it offers.
//!
//! [`resolve`] pins them as packages of a system are, [`make`] has apt and dpkg install them in a tree of their own, and
//! lays out what a session finds of it. `docs/formats/home.md` says what is where.

mod offers;

use crate::build::work_folder;
use crate::config::home::OneHome;
use crate::debian;
use crate::debian::bootstrap;
use crate::debian::cache::Cache;
use crate::lock::{self, Asked, Error, Lock, Options, Package};
use crate::program::Clock;
use elea_formats::digest::Sha256;
use elea_sys::progress::{Progress, Unit};
use elea_sys::root::Root;
use elea_sys::{At as _, durable};
use serde::Serialize;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What every profile has besides what is asked for: programs find a shell, and whom to trust.
const SYSTEM: [&str; 2] = ["?essential", "ca-certificates"];
/// Changes when a profile of the same packages is made in another way.
const VERSION: u32 = 1;
/// Files of `/etc` that are the machine's; a profile has a place for each.
const MACHINES: [&str; 9] = [
    "group",
    "host.conf",
    "hostname",
    "hosts",
    "localtime",
    "machine-id",
    "passwd",
    "resolv.conf",
    "timezone",
];
/// The same of `/var`: where some machines have their homes, and what programs pass on.
const SHARED: [&str; 8] = [
    "home", "log", "mail", "mnt", "opt", "roothome", "spool", "tmp",
];

/// `profile.json`.
#[derive(Serialize)]
struct Record<'a> {
    schema: &'static str,
    /// Names that were asked for.
    asked: &'a [String],
    /// What is installed.
    packages: &'a [Package],
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
pub fn resolve(
    home: &OneHome,
    path: &Path,
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
    lock::settle(&asked, request(home), old, path, options, progress)
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
    let packages = lock.packages.iter();
    let files = packages.map(|p| (&p.name, &p.version, p.sha256.to_string()));
    let all = serde_json::json!({
        "asked": home.home.packages,
        "epoch": lock.epoch,
        "packages": files.collect::<Vec<_>>(),
        "version": VERSION,
    });
    Sha256::of(all.to_string().as_bytes())
}

/// Makes a profile in `folder`, which is new and empty: `tree`, `bin`, `share`, `root` (where it is mounted) and
/// `profile.json`.
pub fn make(
    home: &OneHome,
    lock: &Lock,
    folder: &Path,
    options: &Options,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let cache = Cache::open(&options.cache)?;
    let packages: Vec<&Package> = lock.packages.iter().collect();
    let archives = || debian::archives(&home.base, &home.base.suite);
    {
        let work = work_folder(folder)?;
        let (work, log) = (work.path(), work.path().join("log"));
        cache.fill(&packages, archives, options.locked, &log, progress)?;
        progress.start("prepare packages", None, Unit::Items);
        bootstrap::repository(&work.join("packages"), &packages, &cache, &log, progress)?;
        let clock = Clock {
            epoch: lock.epoch,
            ahead: options.clock_ahead,
        };
        bootstrap::tree(work, &packages, clock, &log, progress)?;
        let (from, to) = (work.join("tree"), folder.join("tree"));
        fs::rename(&from, &to).at("rename into place", &to)?;
    }
    progress.start("finish", None, Unit::Items);
    let tree = Root::open(&folder.join("tree"))?;
    places(&tree)?;
    let programs = offers::lay_out(&tree, &home.home.packages, folder, &options.elea)?;
    let record = Record {
        schema: "elea.home-profile/1",
        asked: &home.home.packages,
        packages: &lock.packages,
        programs,
        machine: {
            let etc = MACHINES.iter().map(|name| format!("etc/{name}"));
            etc.chain(SHARED.iter().map(|name| format!("var/{name}")))
                .collect()
        },
    };
    let path = folder.join("profile.json");
    // Texts and numbers; nothing that can fail.
    let text = serde_json::to_vec_pretty(&record).unwrap_or_default();
    durable::write_private(&path, &text)?;
    progress.finish();
    Ok(())
}

/// Makes places for what is the machine's, and takes out what the build left.
fn places(tree: &Root) -> Result<(), Error> {
    let here = tree.path().to_owned();
    for name in [
        "dev",
        "proc",
        "run",
        "sys",
        "tmp",
        "var/cache/apt",
        "var/lib/apt/lists",
    ] {
        let path = here.join(name);
        // Whatever the packages made of it: what is there is never followed.
        if fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir()) {
            fs::remove_dir_all(&path).at("remove", &path)?;
        }
    }
    tree.create_dir_all(Path::new("etc"), 0o755)?;
    for name in MACHINES {
        let path = Path::new("etc").join(name);
        match tree.kind(&path) {
            Ok(kind) if kind.is_file() => continue,
            Ok(_) => tree.remove(&path)?,
            Err(_) => {}
        }
        tree.create(&path, b"", 0o644)?;
    }
    tree.create_dir_all(Path::new("var"), 0o755)?;
    for name in SHARED {
        let path = Path::new("var").join(name);
        match tree.kind(&path) {
            Ok(kind) if kind.is_dir() => continue,
            Ok(_) => tree.remove(&path)?,
            Err(_) => {}
        }
        tree.create_dir(&path, 0o755)?;
    }
    let folder = Path::new("run");
    Ok(tree.create_dir_all(folder, 0o755)?)
}
