//! The end of the initrd: the new root becomes `/`, and its init takes over.

use crate::disk::PHYSICAL;
use crate::error::Error;
use elea_formats::generation::MEMORY;
use elea_sys::At as _;
use elea_sys::mount::{Attributes, change, relocate};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use std::convert::Infallible;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// Where the new root is put together.
pub(crate) const ROOT: &str = "/sysroot";

/// Shows the physical root in the new one, read-only, and moves the kernel's file systems.
fn move_mounts(root: &Path) -> Result<(), Error> {
    let physical = root.join("sysroot");
    relocate(Path::new(PHYSICAL), &physical)?;
    change(&physical, Attributes::READ_ONLY, Attributes::NONE)?;
    let _ = fs::remove_dir(PHYSICAL);
    for name in ["dev", "proc", "sys", "run"] {
        relocate(&Path::new("/").join(name), &root.join(name))?;
    }
    Ok(())
}

/// Hands over; comes back only with an error, and then there is no way but a reboot.
pub(crate) fn hand_over() -> Result<Infallible, Error> {
    let root = Path::new(ROOT);
    let initramfs = rustix::fs::open(
        "/",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .at("open", "/")?;
    move_mounts(root)?;
    std::env::set_current_dir(root).at("enter", root)?;
    // move_mount(2) does not take "/" of the initramfs as a target on every kernel.
    rustix::mount::mount_move(".", "/").at("move to /", root)?;
    rustix::process::chroot(".").at("make / of", root)?;
    std::env::set_current_dir("/").at("enter", "/")?;
    // The initramfs lives in memory: give it back.
    if let Ok(status) = rustix::fs::fstat(&initramfs) {
        empty(&initramfs, status.st_dev, 0);
    }
    let error = Command::new("/sbin/init")
        .args(std::env::args_os().skip(1))
        .exec();
    Err(Error::NoInit(error))
}

/// Removes what is in a folder, without leaving its file system.
fn empty(folder: &OwnedFd, device: u64, depth: u32) {
    let Ok(entries) = Dir::read_from(folder.as_fd()) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        // The physical root of a machine without a disk stays.
        let stays = depth == 0 && name.to_bytes() == MEMORY.as_bytes();
        if matches!(name.to_bytes(), b"." | b"..") || depth > 32 || stays {
            continue;
        }
        let Ok(status) = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        if status.st_dev != device {
            continue;
        }
        if FileType::from_raw_mode(status.st_mode) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            if let Ok(below) = rustix::fs::openat(folder, name, flags, Mode::empty()) {
                empty(&below, device, depth + 1);
            }
            let _ = rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR);
        } else {
            let _ = rustix::fs::unlinkat(folder, name, AtFlags::empty());
        }
    }
}
