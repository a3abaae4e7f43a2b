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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_what_is_newer_is_set_back() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path();
        fs::create_dir(top.join("d")).unwrap();
        fs::write(top.join("d/new"), "").unwrap();
        fs::write(top.join("d/old"), "").unwrap();
        symlink("/nonexistent", top.join("d/link")).unwrap();
        set(&top.join("d/old"), 1000).unwrap();
        clamp(top, 2000).unwrap();
        let time = |path: &str| fs::symlink_metadata(top.join(path)).unwrap().mtime();
        assert_eq!(time("d/old"), 1000);
        for path in ["d/new", "d/link", "d", ""] {
            assert_eq!(time(path), 2000, "{path}");
        }
    }
}
