//! The regular files below a folder.

use crate::Error;
use crate::import::is_kernels;
use elea_sys::At as _;
use rustix::fs::{Mode, OFlags};
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// The bytes of an EROFS block, and where its superblock and magic number stand (`fs/erofs/erofs_fs.h`).
const BLOCK: u64 = 4096;
const SUPERBLOCK: u64 = 1024;
const MAGIC: [u8; 4] = [0xe2, 0xe1, 0xf5, 0xe0];

/// Shows every regular file below a folder with its size in bytes, until told to stop. Links are not
/// followed, the kernel's own file systems are left out, and what may not be read is passed over.
pub(super) fn files(
    root: &Path,
    show: &mut dyn FnMut(&Path, &File, u64) -> bool,
) -> Result<(), Error> {
    let mut folders = vec![root.to_owned()];
    // The one that was asked for must be there.
    fs::read_dir(root).at("read", root)?;
    while let Some(folder) = folders.pop() {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(opened) = rustix::fs::open(&folder, flags, Mode::empty()) else {
            continue;
        };
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        if is_kernels(&opened, &folder).unwrap_or(true) {
            continue;
        }
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(status) = fs::symlink_metadata(&path) else {
                continue;
            };
            if status.is_dir() {
                folders.push(path);
                continue;
            }
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            if status.is_file()
                && let Ok(file) = rustix::fs::open(&path, flags, Mode::empty())
                && !show(&path, &File::from(file), status.len())
            {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Whether a file looks like an image.
pub(super) fn may_be_image(file: &File, size: u64) -> bool {
    let mut magic = [0; 4];
    size.is_multiple_of(BLOCK)
        && file.read_exact_at(&mut magic, SUPERBLOCK).is_ok()
        && magic == MAGIC
}
