//! Places of a tree that are the machine's where programs run in it.

use crate::finish::clean;
use crate::lock::Error;
use elea_sys::At as _;
use elea_sys::root::Root;
use rustix::fs::FileType;
use std::fs;
use std::path::Path;

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

/// Their paths in the tree.
pub(super) fn all() -> Vec<String> {
    let etc = MACHINES.iter().map(|name| format!("etc/{name}"));
    etc.chain(SHARED.iter().map(|name| format!("var/{name}")))
        .collect()
}

/// Takes out what an installation left.
pub(super) fn clean(tree: &Root) -> Result<(), Error> {
    for name in clean::GONE {
        let path = Path::new(name);
        if tree.kind(path).is_ok_and(|kind| !kind.is_dir()) {
            tree.remove(path)?;
        }
    }
    for name in clean::EMPTIED.into_iter().chain(["var/log"]) {
        let path = Path::new(name);
        if tree.kind(path).is_ok_and(FileType::is_dir) {
            empty(tree, path, name == "var/log")?;
        }
    }
    Ok(())
}

/// Makes the places.
pub(super) fn make(tree: &Root) -> Result<(), Error> {
    let here = tree.path().to_owned();
    for name in ["dev", "proc", "run", "sys", "tmp"] {
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

/// Removes what is in a folder; of logs the folders stay.
fn empty(tree: &Root, folder: &Path, keep_folders: bool) -> Result<(), Error> {
    for name in tree.list(folder, 1 << 20)? {
        let path = folder.join(name);
        if tree.kind(&path)?.is_dir() {
            empty(tree, &path, keep_folders)?;
            if !keep_folders {
                tree.remove_dir(&path)?;
            }
        } else {
            tree.remove(&path)?;
        }
    }
    Ok(())
}
