//! No file is newer than the lock's epoch.

use elea_sys::{At as _, PathError};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Sets back what is newer, below a folder and the folder itself.
pub(super) fn clamp(folder: &Path, epoch: i64) -> Result<(), PathError> {
    for entry in fs::read_dir(folder).at("list", folder)? {
        let path = entry.at("list", folder)?.path();
        let meta = fs::symlink_metadata(&path).at("look at", &path)?;
        if meta.is_dir() {
            clamp(&path, epoch)?;
        } else if meta.mtime() > epoch {
            set(&path, epoch)?;
        }
    }
    // Last: what happened inside has changed it.
    if fs::symlink_metadata(folder).at("look at", folder)?.mtime() > epoch {
        set(folder, epoch)?;
    }
    Ok(())
}

fn set(path: &Path, epoch: i64) -> Result<(), PathError> {
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: epoch,
            tv_nsec: 0,
        },
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).at("set the time of", path)
}
