//! Another root folder, and more of its own, for this process and what it becomes, without being root.

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
        map(user.as_raw(), user.as_raw(), group.as_raw(), group.as_raw())?;
    }
    let follow = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change(root, follow).at("change how mounts spread to", root)
}

/// Gives this process a namespace of its own of every kind, as root of one of users with its own user alone. The next
/// program that it starts is the first process of its own tree of them, and all of them end with that one. No other
/// thread may run.
pub fn own_machine() -> Result<(), PathError> {
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    let root = Path::new("/");
    let flags = UnshareFlags::NEWUSER
        | UnshareFlags::NEWNS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWUTS
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWCGROUP;
    // SAFETY: none touches memory or file descriptors of this process, which has one thread.
    unsafe { unshare_unsafe(flags) }.at("make namespaces beside those of", root)?;
    map(0, user, 0, group)?;
    let apart = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change(root, apart).at("change how mounts spread from", root)
}

/// Leaves what this process mounted as it is, for itself too: it becomes root of one more namespace of users, which
/// owns none of these mounts. No other thread may run.
pub fn give_up_mounts() -> Result<(), PathError> {
    let flags = UnshareFlags::NEWUSER | UnshareFlags::NEWNS;
    // SAFETY: neither touches memory or file descriptors of this process, which has one thread.
    unsafe { unshare_unsafe(flags) }.at("make a namespace of users in", Path::new("/"))?;
    map(0, 0, 0, 0)
}

/// Ends this process as soon as the one that started it ends.
pub fn end_with_parent() -> Result<(), PathError> {
    let signal = Some(rustix::process::Signal::KILL);
    rustix::process::set_parent_process_death_signal(signal)
        .at("ask for a signal from", Path::new("/proc/self"))
}

/// Says who the one user and group of a new namespace are, inside and outside.
fn map(user: u32, user_outside: u32, group: u32, group_outside: u32) -> Result<(), PathError> {
    for (name, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{user} {user_outside} 1")),
        ("gid_map", format!("{group} {group_outside} 1")),
    ] {
        let path = Path::new("/proc/self").join(name);
        fs::write(&path, text).at("write", &path)?;
    }
    Ok(())
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
