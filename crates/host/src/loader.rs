//! The boot loader on `$BOOT`: replaced only after a commit, one copy at a time, each read back.

use crate::apply::append;
use crate::error::Error;
use crate::machine::Machine;
use crate::upgrade::release_of;
use elea_formats::oplog::Event;
use elea_formats::version;
use elea_sys::At as _;
use elea_sys::disk::Disk;
use std::cmp::Ordering;
use std::fs;
use std::io::ErrorKind;

/// Where copies may be: systemd-boot's own place, and the one that firmware tries by itself.
pub const COPIES: [&str; 2] = ["EFI/systemd/systemd-bootx64.efi", "EFI/BOOT/BOOTX64.EFI"];
/// The largest loader.
const MAX_LOADER: u64 = 16 << 20;
/// What stands before the version in the program (systemd's `sdmagic`).
const MAGIC: &[u8] = b"#### LoaderInfo: systemd-boot ";

/// The version of a systemd-boot program: `262.1-1`. None for any other.
pub fn version_of(program: &[u8]) -> Option<String> {
    let at = program
        .windows(MAGIC.len())
        .position(|window| window == MAGIC)?;
    let rest = &program[at + MAGIC.len()..];
    let end = rest.iter().take(64).position(|b| *b == b' ')?;
    let version = std::str::from_utf8(&rest[..end]).ok()?;
    (!version.is_empty()).then(|| version.to_owned())
}

/// Whether a copy is to be replaced: an older systemd-boot, never another program.
fn is_older(copy: &[u8], new: &str) -> Option<String> {
    let old = version_of(copy)?;
    (version::compare(&old, new) == Ordering::Less).then_some(old)
}

/// Replaces each copy that is older than the one in the running image. The lock is held.
pub(crate) fn update(machine: &Machine) -> Result<(), Error> {
    let Some(number) = machine.number() else {
        return Ok(());
    };
    let view = machine.view()?;
    let generation = view.manifest(number).ok_or(Error::Unknown(number))?;
    let release = release_of(machine, generation)?;
    let path = machine
        .lower()?
        .join(release.loader.trim_start_matches('/'));
    let size = fs::metadata(&path).at("look at", &path)?.len();
    if size > MAX_LOADER {
        return Err(Error::Release(format!("its boot loader has {size} bytes")));
    }
    let program = fs::read(&path).at("read", &path)?;
    let Some(new) = version_of(&program) else {
        return Ok(());
    };
    let disks = machine.disks()?;
    for copy in COPIES {
        if disks.boot.size(copy)?.is_none() {
            continue;
        }
        if let Some(from) = is_older(&disks.boot.read(copy, MAX_LOADER)?, &new) {
            replace(disks.boot, copy, &program)?;
            let event = Event::Loader {
                path: copy.to_owned(),
                from: Some(from),
                to: new.clone(),
            };
            append(disks.state, &machine.context(), &event)?;
        }
    }
    Ok(())
}

/// Writes the new program beside the old one, reads it back, and lets them change places.
fn replace(boot: &dyn Disk, copy: &str, program: &[u8]) -> Result<(), Error> {
    let folder = copy.rsplit_once('/').map_or("", |(folder, _)| folder);
    let new = format!("{folder}/elea-new.efi");
    if boot.size(&new)?.is_some() {
        boot.remove(&new)?;
    }
    let needed = program.len() as u64;
    let free = boot.free()?;
    if free < needed {
        return Err(crate::apply::Error::BootFull { free, needed }.into());
    }
    boot.write_new(&new, program)?;
    boot.sync_folder(folder)?;
    boot.sync_all()?;
    if boot.read_back(&new, MAX_LOADER)? != program {
        return Err(crate::apply::Error::ReadBack { path: new }.into());
    }
    match boot.exchange(&new, copy) {
        Ok(()) => {}
        Err(e) if matches!(e.kind(), ErrorKind::Unsupported | ErrorKind::InvalidInput) => {
            boot.rename(&new, copy)?;
        }
        Err(e) => return Err(e.into()),
    }
    boot.sync_folder(folder)?;
    boot.sync_all()?;
    if boot.size(&new)?.is_some() {
        boot.remove(&new)?;
        boot.sync_folder(folder)?;
    }
    Ok(boot.sync_all()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use elea_sys::disk::Folder;

    fn program(version: &str) -> Vec<u8> {
        let magic = format!("MZ....#### LoaderInfo: systemd-boot {version} ####\0code");
        magic.into_bytes()
    }

    #[test]
    fn only_an_older_systemd_boot_is_replaced() {
        assert_eq!(version_of(&program("262.1-1")).as_deref(), Some("262.1-1"));
        assert_eq!(version_of(b"GRUB"), None);
        assert!(is_older(&program("257.13-1~deb13u1"), "262.1-1").is_some());
        assert_eq!(is_older(&program("262.1-1"), "262.1-1"), None);
        assert_eq!(is_older(b"somebody's loader", "262.1-1"), None);
    }

    #[test]
    fn a_copy_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let boot = Folder::new(dir.path());
        fs::create_dir_all(dir.path().join("EFI/BOOT")).unwrap();
        let copy = COPIES[1];
        fs::write(dir.path().join(copy), program("257")).unwrap();
        fs::write(dir.path().join("EFI/BOOT/elea-new.efi"), "cut short").unwrap();
        replace(&boot, copy, &program("262")).unwrap();
        assert_eq!(fs::read(dir.path().join(copy)).unwrap(), program("262"));
        assert_eq!(
            fs::read_dir(dir.path().join("EFI/BOOT")).unwrap().count(),
            1
        );
    }
}
