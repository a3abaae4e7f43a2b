//! Another root folder for this process and what it becomes, without being root.

use crate::{At as _, PathError};
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use rustix::process::{getegid, geteuid};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::fs;
use std::path::Path;

/// Gives this process mounts of its own; what is mounted outside later shows inside too. Who is not root gets a
/// namespace of users for it, with that user alone. No other thread may run.
pub fn own_mounts() -> Result<(), PathError> {
    let (user, group) = (geteuid(), getegid());
    let root = Path::new("/");
    let flags = if user.is_root() {
        UnshareFlags::NEWNS
    } else {
        UnshareFlags::NEWNS | UnshareFlags::NEWUSER
    };
    // SAFETY: neither touches memory or file descriptors of this process, which has one thread.
    unsafe { unshare_unsafe(flags) }.at("make a namespace with the mounts of", root)?;
    if !user.is_root() {
        let (user, group) = (user.as_raw(), group.as_raw());
        for (name, text) in [
            ("setgroups", "deny".to_owned()),
            ("uid_map", format!("{user} {user} 1")),
            ("gid_map", format!("{group} {group} 1")),
        ] {
            let path = Path::new("/proc/self").join(name);
            fs::write(&path, text).at("write", &path)?;
        }
    }
    let follow = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change(root, follow).at("change how mounts spread to", root)
}

/// Makes a mount that is at a folder the root folder, and lets go of the old one.
pub fn change_root(new: &Path) -> Result<(), PathError> {
    std::env::set_current_dir(new).at("go to", new)?;
    // Both at one place: the old root is on top of the new one then, and is what is detached.
    rustix::process::pivot_root(".", ".")
        .and_then(|()| rustix::mount::unmount(".", UnmountFlags::DETACH))
        .at("make / of", new)?;
    std::env::set_current_dir("/").at("go to", new)
}
