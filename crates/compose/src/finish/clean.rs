//! What a build leaves behind and no image should have.

use super::tree::{Kind, Tree};
use crate::lock::Error;

/// Files that tell of the build: logs, caches, locks, old copies, keys of one machine.
pub(crate) const GONE: [&str; 26] = [
    "etc/.pwd.lock",
    "etc/apt/sources.list",
    "etc/group-",
    "etc/gshadow-",
    "etc/passwd-",
    "etc/resolv.conf",
    "etc/shadow-",
    "etc/subgid-",
    "etc/subuid-",
    "initrd.img",
    "initrd.img.old",
    "root/.bash_history",
    "var/cache/apt/archives/lock",
    "var/cache/debconf/config.dat-old",
    "var/cache/debconf/passwords.dat-old",
    "var/cache/debconf/templates.dat-old",
    "var/lib/dbus/machine-id",
    "var/lib/systemd/random-seed",
    "var/lib/dpkg/diversions-old",
    "var/lib/dpkg/lock",
    "var/lib/dpkg/lock-frontend",
    "var/lib/dpkg/statoverride-old",
    "var/lib/dpkg/status-old",
    "var/lib/dpkg/triggers/Lock",
    "vmlinuz",
    "vmlinuz.old",
];

/// Folders whose content is made anew, or not needed.
pub(crate) const EMPTIED: [&str; 8] = [
    "run",
    "tmp",
    "var/backups",
    "var/cache/apt",
    "var/cache/ldconfig",
    "var/lib/apt/lists",
    "var/lib/wtmpdb",
    "var/tmp",
];

/// Removes them, before anything of ours is in the tree.
pub(crate) fn leftovers(tree: &mut Tree<'_>) -> Result<(), Error> {
    for path in GONE {
        tree.remove(path)?;
    }
    for path in EMPTIED {
        tree.empty(path);
    }
    for name in tree.names("etc/ssh") {
        if name.starts_with("ssh_host_") {
            tree.remove(&format!("etc/ssh/{name}"))?;
        }
    }
    logs(tree, "var/log")
}

/// Logs go; the folders that programs write them to stay.
fn logs(tree: &mut Tree<'_>, folder: &str) -> Result<(), Error> {
    for name in tree.names(folder) {
        let path = format!("{folder}/{name}");
        if tree.kind(&path) == Some(Kind::Folder) {
            logs(tree, &path)?;
        } else {
            tree.remove(&path)?;
        }
    }
    Ok(())
}
