//! Programs that change a kept tree, of which only what they change is written and read.
//!
//! The tree's image is mounted, an overlay that keeps what is new in a folder of its own is mounted over it, and that folder
//! is laid over the tree in memory. The result is the tree that a copy of it would have become, bit for bit; where that
//! cannot be promised, or the machine lets nobody mount, there is none, and the caller makes the copy.

mod lay;

pub(crate) use lay::clean;

use crate::lock::Error;
use crate::program::ProgramError;
use crate::steps::Kept;
use elea_formats::tree::{DirId, Meta, Tree};
use elea_store::{Backing, Store};
use elea_sys::At as _;
use elea_sys::mount::{Filesystem, MountError};
use elea_sys::namespace::apart;
use elea_sys::progress::Progress;
use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use std::fs;
use std::path::Path;

/// Runs something that changes the tree, which it finds as `tree` in `work`, and gives the changed one; or says why that
/// could not be done, and nothing of it is left then.
pub(crate) fn changed(
    store: &Store,
    below: &Kept,
    work: &Path,
    run: impl FnOnce() -> Result<(), Error> + Send,
    progress: &dyn Progress,
) -> Result<Result<Tree, String>, Error> {
    if !lay::is_plain(&below.tree) {
        return Ok(Err("it has files that mean something to overlays".into()));
    }
    // What is written over with the rest of a damaged file would be sealed as if it were whole.
    store.check_contents(&below.image, progress)?;
    let folder = tempfile::tempdir_in(work).at("make a folder in", work)?;
    let [lower, upper, scratch] = ["lower", "upper", "scratch"].map(|n| folder.path().join(n));
    let at = work.join("tree");
    for path in [&lower, &upper, &scratch, &at] {
        fs::create_dir(path).at("make the folder", path)?;
    }
    become_root_of(&below.tree, &upper)?;
    let mounted = || -> Result<(), elea_store::Error> {
        // Not the file itself: it would be one level of overlays too many.
        store.mount_by(&below.image, &lower, Backing::Loop)?;
        Ok(over(&lower, &upper, &scratch, &at)?)
    };
    let ran = apart(|| match mounted() {
        Ok(()) => Ok(run()),
        Err(e) => Err(e.to_string()),
    });
    fs::remove_dir(&at).at("remove", &at)?;
    match ran {
        Err(e) => return Ok(Err(e.to_string())),
        Ok(Err(why)) => return Ok(Err(why)),
        // Folders of the kept tree cannot be renamed over there (EXDEV), and some program may insist.
        Ok(Ok(Err(Error::Program(e @ ProgramError::Failed { .. })))) => {
            return Ok(Err(e.to_string()));
        }
        Ok(Ok(ran)) => ran?,
    }
    let new = store.import_dir(&upper, progress)?;
    let mut tree = store.tree(&below.image)?;
    let laid = lay::lay(&mut tree, &new).map_err(|path| {
        let path = String::from_utf8_lossy(&path);
        format!("`{}` has other names too", path.escape_debug())
    });
    Ok(laid.map(|()| tree))
}

/// Mounts the overlay. Nothing waits for the disk in it, and every file in `upper` is whole.
fn over(lower: &Path, upper: &Path, scratch: &Path, at: &Path) -> Result<(), MountError> {
    Filesystem::new("overlay")
        .source("elea")
        .flag("volatile")
        .value("metacopy", "off")
        .value("redirect_dir", "off")
        .value("index", "off")
        .value("lowerdir+", lower)
        .value("upperdir", upper)
        .value("workdir", scratch)
        .mount(at)
}

/// Gives a folder what the root of a tree has: the root of an overlay is that of its upper folder.
fn become_root_of(tree: &Tree, folder: &Path) -> Result<(), Error> {
    let Meta {
        mode,
        uid,
        gid,
        mtime,
        xattrs,
    } = tree.meta(DirId::ROOT);
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::fs::chown(folder, Some(uid), Some(gid)).at("set the owner of", folder)?;
    rustix::fs::chmod(folder, Mode::from_raw_mode(mode)).at("set the mode of", folder)?;
    for (name, value) in xattrs.iter() {
        let set = rustix::fs::lsetxattr(folder, name, value, XattrFlags::empty());
        set.at("set an attribute of", folder)?;
    }
    let time = Timespec {
        tv_sec: mtime.seconds,
        tv_nsec: mtime.nanoseconds.into(),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, folder, &times, AtFlags::empty()).at("set the time of", folder)?;
    Ok(())
}

#[cfg(test)]
mod tests;
