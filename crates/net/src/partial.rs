//! The folder for what is on its way: partial blobs, and layers that are being packed.

use crate::NetError;
use elea_store::Store;
use elea_sys::{At as _, PathError};
use rustix::fs::FlockOperation;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a partial blob waits for another try.
const KEPT: Duration = Duration::from_hours(7 * 24);
/// Folders of layers that are being packed.
const PACKING: &str = "packing-";

/// The folder, made if it is absent. What others have left behind in it is removed: folders that no
/// process holds, and blobs that nobody has continued for a week.
pub(crate) fn folder(store: &Store) -> Result<PathBuf, NetError> {
    let path = store.path().join("partial");
    fs::create_dir_all(&path).at("create", &path)?;
    for entry in fs::read_dir(&path).at("read", &path)? {
        // Leavings that cannot be removed are no reason to fail.
        let _ = entry.map(|entry| sweep(&entry));
    }
    Ok(path)
}

fn sweep(entry: &fs::DirEntry) -> std::io::Result<()> {
    let path = entry.path();
    let about = entry.metadata()?;
    let old = about.modified()?.elapsed().is_ok_and(|age| age > KEPT);
    let packing = entry.file_name().to_string_lossy().starts_with(PACKING);
    if !(about.is_dir() && packing || about.is_file() && old) {
        return Ok(());
    }
    let held = File::open(&path)?;
    rustix::fs::flock(&held, FlockOperation::NonBlockingLockExclusive)?;
    if about.is_dir() {
        fs::remove_dir_all(&path)
    } else {
        fs::remove_file(&path)
    }
}

/// A folder for packed layers, held while it lives and removed with it.
#[derive(Debug)]
pub(crate) struct Packing {
    folder: tempfile::TempDir,
    _held: File,
}

impl Packing {
    pub(crate) fn new(store: &Store) -> Result<Self, NetError> {
        let parent = folder(store)?;
        let folder = tempfile::Builder::new()
            .prefix(PACKING)
            .tempdir_in(&parent)
            .at("create a folder in", &parent)?;
        let held = hold(folder.path())?;
        Ok(Self {
            folder,
            _held: held,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

fn hold(path: &Path) -> Result<File, PathError> {
    let held = File::open(path).at("open", path)?;
    rustix::fs::flock(&held, FlockOperation::NonBlockingLockExclusive).at("lock", path)?;
    Ok(held)
}
