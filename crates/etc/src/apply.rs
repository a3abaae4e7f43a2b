//! Writes a new upper.

use crate::entry::{Attributes, Entry, Kind};
use crate::plan::{Action, Put};
use crate::{Error, Plan, Sides};
use elea_sys::At;
use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, makedev};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Fills the empty folder `new_upper` as planned. Parents that no edit names get the metadata
/// of the new image's folder, so that the overlay shows them unchanged.
pub fn apply(
    plan: &Plan,
    from: &Sides<'_>,
    new_lower: &Path,
    new_upper: &Path,
) -> Result<(), Error> {
    if let Some(root) = Entry::load(new_lower)? {
        set_attributes(new_upper, &root.attributes, &root)?;
    }
    for action in &plan.actions {
        parents(action, from, new_lower, new_upper)?;
        let target = new_upper.join(OsStr::from_bytes(&action.path));
        match &action.put {
            Put::Whiteout => rustix::fs::mknodat(
                CWD,
                &target,
                rustix::fs::FileType::CharacterDevice,
                Mode::empty(),
                makedev(0, 0),
            )
            .at("hide", &target)?,
            Put::Copy(entry, attributes) => copy(entry, attributes, &target)?,
            Put::Write(content, attributes) => {
                std::fs::write(&target, content).at("write", &target)?;
                set_owner(&target, attributes)?;
            }
        }
    }
    Ok(())
}

pub(crate) fn parents(
    action: &Action,
    from: &Sides<'_>,
    new_lower: &Path,
    new_upper: &Path,
) -> Result<(), Error> {
    for end in action
        .path
        .iter()
        .enumerate()
        .filter(|(_, b)| **b == b'/')
        .map(|(i, _)| i)
    {
        let parent = &action.path[..end];
        let target = new_upper.join(OsStr::from_bytes(parent));
        if Entry::load(&target)?.is_some() {
            continue;
        }
        let like = |entry: Option<Entry>| entry.filter(|e| e.kind == Kind::Directory);
        let model = match like(Entry::below(new_lower, parent)?) {
            Some(model) => Some(model),
            None => like(Entry::below(from.upper, parent)?),
        };
        std::fs::create_dir(&target).at("create", &target)?;
        if let Some(model) = model {
            set_attributes(&target, &model.attributes, &model)?;
        }
    }
    Ok(())
}

pub(crate) fn copy(entry: &Entry, attributes: &Attributes, target: &Path) -> Result<(), Error> {
    match &entry.kind {
        Kind::Directory => {
            if Entry::load(target)?.is_none() {
                std::fs::create_dir(target).at("create", target)?;
            }
        }
        Kind::File { .. } => {
            std::fs::copy(&entry.path, target).at("copy to", target)?;
        }
        Kind::Symlink(to) => {
            std::os::unix::fs::symlink(OsStr::from_bytes(to), target).at("link", target)?;
        }
        Kind::Device { block, number } => {
            let kind = if *block {
                rustix::fs::FileType::BlockDevice
            } else {
                rustix::fs::FileType::CharacterDevice
            };
            rustix::fs::mknodat(CWD, target, kind, Mode::empty(), *number).at("create", target)?;
        }
        Kind::Fifo => {
            rustix::fs::mknodat(CWD, target, rustix::fs::FileType::Fifo, Mode::empty(), 0)
                .at("create", target)?;
        }
        // A socket is its program's, which makes it again.
        Kind::Socket | Kind::Whiteout => return Ok(()),
    }
    set_attributes(target, attributes, entry)
}

/// Owner, mode, attributes, and the times of `like`, in the order in which the kernel keeps
/// them: a change of owner clears set-id bits and capabilities.
fn set_attributes(target: &Path, attributes: &Attributes, like: &Entry) -> Result<(), Error> {
    set_owner(target, attributes)?;
    let times = rustix::fs::lstat(&like.path).at("read", &like.path)?;
    let time = Timespec {
        tv_sec: times.st_mtime,
        tv_nsec: i64::try_from(times.st_mtime_nsec).unwrap_or_default(),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, target, &times, AtFlags::SYMLINK_NOFOLLOW)
        .at("set the times of", target)?;
    Ok(())
}

pub(crate) fn set_owner(target: &Path, attributes: &Attributes) -> Result<(), Error> {
    let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
    rustix::fs::chownat(CWD, target, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .at("set the owner of", target)?;
    if !target.is_symlink() {
        rustix::fs::chmod(target, Mode::from_raw_mode(attributes.mode))
            .at("set the mode of", target)?;
    }
    for (name, value) in &attributes.xattrs {
        rustix::fs::lsetxattr(target, OsStr::from_bytes(name), value, XattrFlags::empty())
            .at("set an attribute of", target)?;
    }
    Ok(())
}
