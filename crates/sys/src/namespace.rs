//! The mounts that another process sees.
//!
//! A command works in a mount namespace of its own ([`crate::mount::own_namespace`]). What it does
//! to the running system, and the programs that it starts for it, belong into that of process 1.

use crate::mount::{MountError, own_namespace};
use crate::{At as _, PathError};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};
use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

/// A mount namespace.
#[derive(Debug)]
pub struct Namespace {
    file: File,
    path: PathBuf,
}

impl Namespace {
    /// That of process 1, the one that the running system is in.
    pub fn of_init() -> Result<Self, PathError> {
        Self::open(Path::new("/proc/1/ns/mnt"))
    }

    /// That of the calling thread.
    pub fn own() -> Result<Self, PathError> {
        Self::open(Path::new("/proc/thread-self/ns/mnt"))
    }

    fn open(path: &Path) -> Result<Self, PathError> {
        let file = File::open(path).at("open the mounts of", path)?;
        let path = path.to_owned();
        Ok(Self { file, path })
    }

    /// Does something in it, on a thread that ends afterwards; programs that are started there see its mounts.
    /// Paths are looked up from its root.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, PathError> {
        let entered = || {
            // SAFETY: CLONE_FS touches no memory and no file descriptor; the thread gets a root, a working
            // folder and a umask of its own, which is what entering another namespace needs.
            unsafe { unshare_unsafe(UnshareFlags::FS) }
                .and_then(|()| {
                    move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Mount))
                })
                .at("enter the mounts of", &self.path)?;
            Ok(work())
        };
        std::thread::scope(|scope| match scope.spawn(entered).join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }
}

/// Does something in a thread with mounts of its own, and of the programs that it starts: what it mounts goes with it,
/// whatever becomes of this process. It begins with the mounts of the caller.
pub fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, MountError> {
    let entered = || own_namespace().map(|()| work());
    std::thread::scope(|scope| match scope.spawn(entered).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mount::{Filesystem, own_namespace};
    use std::fs;

    #[test]
    fn work_and_programs_see_the_other_mounts() {
        let dir = tempfile::tempdir().unwrap();
        let joined = std::thread::scope(|scope| {
            let inside = || {
                let outside = Namespace::own().unwrap();
                if !rustix::process::geteuid().is_root() || own_namespace().is_err() {
                    eprintln!("skipped: not root");
                    return;
                }
                Filesystem::new("tmpfs").mount(dir.path()).unwrap();
                fs::write(dir.path().join("here"), "").unwrap();
                let list = || {
                    let ls = std::process::Command::new("ls").arg(dir.path()).output();
                    ls.unwrap().stdout
                };
                assert_eq!(list(), b"here\n");
                let seen = outside.run(|| (dir.path().join("here").exists(), list()));
                assert_eq!(seen.unwrap(), (false, Vec::new()));
                assert_eq!(list(), b"here\n");
            };
            scope.spawn(inside).join()
        });
        joined.unwrap();
    }
}
