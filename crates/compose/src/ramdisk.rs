//! Temporary trees in memory, where there is plenty: nothing of them is written to the disk, nor removed from it.

use crate::lock::Error;
use crate::program::ProgramError;
use elea_sys::At as _;
use elea_sys::mount::Filesystem;
use elea_sys::namespace::apart;
use std::fs;
use std::path::Path;

/// Memory is plenty if so many times as much is available as the tree takes.
const PLENTY: u64 = 4;

/// Makes a new tree in a folder that is in memory if there is plenty, else on the disk; `room` are the bytes that it takes
/// by what its packages say. The folder is there for `make` alone, which may be called a second time, without anything of
/// the first in it, after a program failed in a folder that was full.
pub(crate) fn inside<T: Send>(
    folder: &Path,
    room: u64,
    make: impl Fn() -> Result<T, Error> + Sync,
) -> Result<T, Error> {
    match elea_sys::memory::available() {
        Some(available) if available / PLENTY > room => {}
        _ => return make(),
    }
    fs::create_dir(folder).at("make the folder", folder)?;
    // Packages say roughly what they take, and what they make afterwards comes to it.
    let size = room.saturating_mul(2).saturating_add(64 << 20);
    let made = apart(|| {
        let mounted = Filesystem::new("tmpfs")
            .source("elea")
            .value("mode", "0755")
            .value("size", size.to_string())
            .mount(folder);
        mounted.is_ok().then(|| match make() {
            Err(Error::Program(ProgramError::Failed { .. } | ProgramError::Full { .. }))
                if is_full(folder) =>
            {
                None
            }
            made => Some(made),
        })
    });
    if let Ok(Some(Some(made))) = made {
        return made;
    }
    // Nobody may mount here, or it was too small.
    fs::remove_dir(folder).at("remove", folder)?;
    make()
}

/// Whether less is free than what a program may have asked for in vain.
fn is_full(folder: &Path) -> bool {
    let status = rustix::fs::statvfs(folder);
    status.is_ok_and(|status| status.f_bavail * status.f_frsize < 16 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program;
    use elea_sys::progress::Silent;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Whether a folder is in memory (`TMPFS_MAGIC`).
    fn is_memory(folder: &Path) -> bool {
        rustix::fs::statfs(folder).unwrap().f_type == 0x0102_1994
    }

    #[test]
    fn what_fits_is_made_in_memory_and_what_does_not_on_the_disk() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: not root");
            return;
        }
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let folder = dir.path().join("tree");
        let make = || {
            let _ = fs::create_dir(&folder);
            fs::write(folder.join("file"), "x").unwrap();
            Ok(is_memory(&folder))
        };
        assert!(inside(&folder, 1 << 20, make).unwrap());
        // It is gone, and what was below it is as it was.
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        fs::remove_dir(&folder).unwrap();
        assert!(!inside(&folder, u64::MAX / 2, make).unwrap());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn one_that_is_full_is_made_again_on_the_disk() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: not root");
            return;
        }
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let (folder, log) = (dir.path().join("tree"), dir.path().join("log"));
        let calls = AtomicUsize::new(0);
        let make = |bytes: &str| {
            let (folder, log, bytes) = (folder.clone(), log.clone(), bytes.to_owned());
            let calls = &calls;
            move || {
                calls.fetch_add(1, Ordering::Relaxed);
                let _ = fs::create_dir(&folder);
                assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
                let script =
                    format!("head -c {bytes} /dev/zero > \"$0\"/file && test {bytes} != 1");
                let mut command = program::program("sh");
                command.args(["-c", &script]).arg(&folder);
                program::run(command, "coreutils", &log, &Silent)?;
                Ok(is_memory(&folder))
            }
        };
        assert!(!inside(&folder, 1 << 10, make("100000000")).unwrap());
        assert_eq!(calls.swap(0, Ordering::Relaxed), 2);
        fs::remove_dir_all(&folder).unwrap();
        // Another failure is one.
        assert!(inside(&folder, 1 << 10, make("1")).is_err());
        assert_eq!(calls.into_inner(), 1);
    }
}
