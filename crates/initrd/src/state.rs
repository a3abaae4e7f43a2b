//! What may change and belongs to the machine: `/var`, homes and the rest, and the machine-id.

use crate::console;
use crate::disk::{elea, make_folder};
use crate::error::Error;
use elea_sys::mount::{Attributes, bind};
use elea_sys::root::Root;
use elea_sys::{At as _, PathError, durable};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// A folder of state: its name below `/elea/state`, where it shows, and its mode when it is
/// made. `seeded` ones begin as a copy of what the image has there.
struct Folder {
    name: &'static str,
    at: &'static str,
    mode: u32,
    seeded: bool,
}

const fn folder(name: &'static str, at: &'static str, mode: u32, seeded: bool) -> Folder {
    Folder {
        name,
        at,
        mode,
        seeded,
    }
}

/// `/var` is filled by tmpfiles from the image's factory copy, not here.
const FOLDERS: [Folder; 6] = [
    folder("var", "var", 0o755, false),
    folder("home", "home", 0o755, false),
    folder("root", "root", 0o700, true),
    folder("srv", "srv", 0o755, true),
    folder("usr-local", "usr/local", 0o755, true),
    folder("opt", "opt", 0o755, false),
];

/// How many entries a seeded folder may begin with, and how large its files may be.
pub(crate) const SEED_ENTRIES: u32 = 2000;
const SEED_BYTES: u64 = 1 << 20;

/// Shows the state in the new root; `var` is what is at `/var`, if it is not the machine's.
pub(crate) fn mount(
    root: &Path,
    var: Option<&Path>,
    warnings: &mut Vec<String>,
) -> Result<(), Error> {
    make_folder(&elea("state"))?;
    for folder in &FOLDERS {
        let at = root.join(folder.at);
        if !fs::symlink_metadata(&at).is_ok_and(|m| m.is_dir()) {
            warnings.push(format!("the image has no folder /{}", folder.at));
            continue;
        }
        // An image that ships software in /opt keeps it.
        if folder.name == "opt" && fs::read_dir(&at).is_ok_and(|mut d| d.next().is_some()) {
            continue;
        }
        if let Some(var) = var.filter(|_| folder.name == "var") {
            bind(var, &at, Attributes::NONE)?;
            continue;
        }
        let state = elea("state").join(folder.name);
        if !state.is_dir() {
            make(folder, &at, &state)?;
        }
        bind(&state, &at, Attributes::NONE)?;
    }
    Ok(())
}

fn make(folder: &Folder, image: &Path, state: &Path) -> Result<(), PathError> {
    let new = elea("state").join(format!(".new-{}", folder.name));
    if new.exists() {
        fs::remove_dir_all(&new).at("remove", &new)?;
    }
    fs::create_dir(&new).at("create", &new)?;
    if folder.seeded {
        seed(image, &new, &mut SEED_ENTRIES.clone())?;
        let owner = fs::metadata(image).at("look at", image)?;
        std::os::unix::fs::chown(&new, Some(owner.uid()), Some(owner.gid())).at("own", &new)?;
    }
    fs::set_permissions(&new, fs::Permissions::from_mode(folder.mode)).at("set", &new)?;
    durable::sync_filesystem(&new)?;
    fs::rename(&new, state).at("rename", &new)?;
    durable::sync_folder(&elea("state"))
}

/// Copies folders, links and small files over what is there; the image is trusted, its size is not.
pub(crate) fn seed(from: &Path, to: &Path, left: &mut u32) -> Result<(), PathError> {
    for entry in fs::read_dir(from).at("list", from)? {
        let entry = entry.at("list", from)?;
        let Some(rest) = left.checked_sub(1) else {
            return Ok(());
        };
        *left = rest;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let meta = fs::symlink_metadata(&source).at("look at", &source)?;
        let there = fs::symlink_metadata(&target).ok();
        if there.is_some_and(|there| !(there.is_dir() && meta.is_dir())) {
            fs::remove_file(&target).at("remove", &target)?;
        }
        if meta.is_dir() {
            if !target.is_dir() {
                fs::create_dir(&target).at("create", &target)?;
            }
            seed(&source, &target, left)?;
        } else if meta.is_symlink() {
            let link = fs::read_link(&source).at("read", &source)?;
            std::os::unix::fs::symlink(link, &target).at("create", &target)?;
        } else if meta.is_file() && meta.len() <= SEED_BYTES {
            fs::copy(&source, &target).at("copy", &source)?;
        } else {
            continue;
        }
        std::os::unix::fs::lchown(&target, Some(meta.uid()), Some(meta.gid()))
            .at("own", &target)?;
        if !meta.is_symlink() {
            fs::set_permissions(&target, meta.permissions()).at("set", &target)?;
        }
    }
    Ok(())
}

/// Makes `/etc/machine-id` the machine's: the id is state, made once, and the same in every
/// generation.
pub(crate) fn machine_id(root: &Path) -> Result<(), Error> {
    let path = elea("state/machine-id");
    let id = match fs::read_to_string(&path).ok().filter(|t| is_id(t.trim())) {
        Some(text) => text.trim().to_owned(),
        None => make_id(&path)?,
    };
    let root = Root::open(root)?;
    let place = Path::new("etc/machine-id");
    let wanted = format!("{id}\n").into_bytes();
    if root.read(place, 64).is_ok_and(|have| have == wanted) {
        return Ok(());
    }
    Ok(root.write(place, &wanted, 0o444)?)
}

fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// A random UUID (version 4), as `systemd-machine-id-setup` makes it.
fn make_id(path: &Path) -> Result<String, PathError> {
    let random = Path::new("/proc/sys/kernel/random/uuid");
    let id = fs::read_to_string(random)
        .at("read", random)?
        .trim()
        .replace('-', "");
    durable::write(path, format!("{id}\n").as_bytes())?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o444)).at("set", path)?;
    console::note("made the machine's id");
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_bounded_copy() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("a/f"), "text").unwrap();
        fs::set_permissions(from.join("a/f"), fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("a/f", from.join("link")).unwrap();
        let large = fs::File::create(from.join("large")).unwrap();
        large.set_len(SEED_BYTES + 1).unwrap();
        seed(&from, &to, &mut 100).unwrap();
        assert_eq!(fs::read(to.join("link")).unwrap(), b"text");
        let mode = fs::metadata(to.join("a/f")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o640);
        assert!(to.join("a/b").is_dir() && !to.join("large").exists());
        let few = dir.path().join("few");
        fs::create_dir(&few).unwrap();
        seed(&from, &few, &mut 1).unwrap();
        assert_eq!(fs::read_dir(&few).unwrap().count(), 1);
    }

    #[test]
    fn ids_are_32_digits() {
        assert!(is_id(&"0af".repeat(11)[..32]));
        for bad in ["", "uninitialized", &"0".repeat(31), &"A".repeat(32)] {
            assert!(!is_id(bad), "{bad}");
        }
    }
}
