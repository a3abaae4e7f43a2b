//! Trees that packages made, kept for the next build of the same packages.
//!
//! A change of the config alone then costs neither unpacking nor configuring. They are kept for
//! as long as the machine runs: without a sync of each, nothing else could vouch for them.

use super::bootstrap::BOOT_CONTROL;
use crate::lock::{Error, Lock};
use crate::program;
use elea_formats::digest::Sha256;
use elea_sys::At as _;
use elea_sys::lock::Lock as FileLock;
use elea_sys::progress::{Progress, Unit};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How many are kept.
const MOST: usize = 3;
/// Changes when the same packages give another tree.
const VERSION: &str = "elea.base/1";

/// The folder of kept trees, and the lock that its users hold.
#[derive(Debug)]
pub(crate) struct Bases {
    folder: PathBuf,
    name: String,
    _lock: FileLock,
}

impl Bases {
    /// Opens the folder for the tree of a lock; none if another build is using it.
    pub(crate) fn open(folder: &Path, lock: &Lock, log: &Path) -> Result<Option<Self>, Error> {
        fs::create_dir_all(folder).at("make the folder", folder)?;
        let Ok(held) = FileLock::try_take(&folder.join("lock"), "elea build") else {
            return Ok(None);
        };
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot = boot.trim();
        let mut command = program::program("mmdebstrap");
        command.arg("--version");
        let engine = program::run(command, "mmdebstrap", log, &elea_sys::progress::Silent)?;
        let key = serde_json::json!({
            "version": VERSION,
            "boot-package": BOOT_CONTROL,
            "engine": String::from_utf8_lossy(&engine),
            "epoch": lock.epoch,
            "packages": lock.packages,
        });
        let key = Sha256::of(key.to_string().as_bytes());
        let bases = Self {
            folder: folder.to_owned(),
            name: format!("{boot}-{key}"),
            _lock: held,
        };
        bases.sweep(boot)?;
        Ok(Some(bases))
    }

    /// Removes what an earlier run of the machine left, what a killed build left, and the
    /// oldest of those that are too many.
    fn sweep(&self, boot: &str) -> Result<(), Error> {
        let mut kept: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.folder).at("list", &self.folder)? {
            let entry = entry.at("list", &self.folder)?;
            let (path, name) = (entry.path(), entry.file_name());
            let meta = entry.metadata().at("look at", &path)?;
            if !meta.is_dir() {
                continue;
            }
            if !boot.is_empty() && name.to_string_lossy().starts_with(boot) {
                kept.push((meta.modified().at("look at", &path)?, path));
            } else {
                fs::remove_dir_all(&path).at("remove", &path)?;
            }
        }
        kept.sort();
        let over = kept.len().saturating_sub(MOST);
        for (_, path) in &kept[..over] {
            fs::remove_dir_all(path).at("remove", path)?;
        }
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    /// Copies the kept tree to `target`; false if there is none.
    pub(crate) fn take(
        &self,
        target: &Path,
        log: &Path,
        progress: &dyn Progress,
    ) -> Result<bool, Error> {
        let tree = self.path().join("tree");
        if !tree.is_dir() {
            return Ok(false);
        }
        progress.start("copy the kept packages", None, Unit::Items);
        copy(&tree, target, log, progress)?;
        // The newest use decides which ones are kept.
        let used = fs::File::open(self.path()).at("open", self.path())?;
        used.set_modified(SystemTime::now())
            .at("set the time of", self.path())?;
        Ok(true)
    }

    /// Keeps a copy of a tree. Nothing depends on it, so a full disk is no failure.
    pub(crate) fn keep(
        &self,
        tree: &Path,
        log: &Path,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let new = tempfile::Builder::new()
            .prefix("new-")
            .tempdir_in(&self.folder)
            .at("make a folder in", &self.folder)?;
        match copy(tree, &new.path().join("tree"), log, progress) {
            Err(Error::Program(program::ProgramError::Failed { words, .. })) => {
                progress.note(&format!("the packages' tree is not kept: {words}"));
                return Ok(());
            }
            result => result?,
        }
        let path = self.path();
        if !path.exists() {
            fs::rename(new.keep(), &path).at("rename into place", &path)?;
        }
        Ok(())
    }
}

/// Copies a tree with owners, times, links and attributes.
fn copy(from: &Path, to: &Path, log: &Path, progress: &dyn Progress) -> Result<(), Error> {
    let mut command = program::program("cp");
    command
        .args(["-a", "--reflink=auto", "--"])
        .arg(from)
        .arg(to);
    program::run(command, "coreutils", log, progress)?;
    Ok(())
}
