//! Files of packages and of images, put into a tree that has no program yet that could do it.
//!
//! It runs with that tree as the root folder, so that whatever a package says leads nowhere else.

use crate::debian::deb;
use std::fs::{self, File, Permissions};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};
use tar::EntryType;

/// What no program needs before dpkg brings it.
const LATER: [&str; 4] = [
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
];

/// Unpacks a package, or a tar file (`.tar`), below a folder. Owners, times and devices are left out: dpkg gives them to
/// the files of a package, and those of an image are the user's.
pub(super) fn unpack(path: &Path, to: &Path) -> io::Result<()> {
    let file = BufReader::new(File::open(path)?);
    if path.extension().is_some_and(|end| end == "tar") {
        tree(file, to, &[])
    } else {
        tree(deb::data(file)?, to, &LATER)
    }
}

fn tree(tar: impl Read, to: &Path, left_out: &[&str]) -> io::Result<()> {
    for entry in tar::Archive::new(tar).entries()? {
        let mut entry = entry?;
        let Some(path) = plain(&entry.path()?)? else {
            continue;
        };
        if left_out.iter().any(|folder| path.starts_with(folder)) {
            continue;
        }
        let at = to.join(&path);
        let mode = Permissions::from_mode(entry.header().mode()? & 0o7777);
        match entry.header().entry_type() {
            // `/lib` is a link to a folder on most, and something is mounted at others.
            EntryType::Directory | EntryType::Symlink if at.is_dir() => {}
            EntryType::Directory => {
                fs::create_dir_all(&at)?;
                fs::set_permissions(&at, mode)?;
            }
            EntryType::Regular | EntryType::Continuous => {
                make_way(&at)?;
                let mut file = File::options().write(true).create_new(true).open(&at)?;
                io::copy(&mut entry, &mut file)?;
                file.set_permissions(mode)?;
            }
            EntryType::Symlink => {
                make_way(&at)?;
                let target = entry.link_name()?.unwrap_or_default();
                symlink(target, &at)?;
            }
            EntryType::Link => {
                let target = plain(&entry.link_name()?.unwrap_or_default())?;
                make_way(&at)?;
                fs::hard_link(to.join(target.unwrap_or_default()), &at)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Removes what is no folder, and makes the folder that it is in.
fn make_way(at: &Path) -> io::Result<()> {
    match fs::remove_file(at) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => match at.parent() {
            Some(above) => fs::create_dir_all(above),
            None => Ok(()),
        },
        removed => removed,
    }
}

/// A path without what leads up; none for the root itself.
fn plain(path: &Path) -> io::Result<Option<PathBuf>> {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                let why = format!("`{}` leads out of it", path.display());
                return Err(io::Error::other(why));
            }
        }
    }
    Ok((!out.as_os_str().is_empty()).then_some(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tar file of these entries: path, kind, content or target.
    fn tar(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, kind, text) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o750);
            // As it stands: the library refuses to write `..`.
            let field = &mut header.as_gnu_mut().unwrap().name;
            field[..path.len()].copy_from_slice(path.as_bytes());
            let content = match kind {
                EntryType::Symlink | EntryType::Link => {
                    header.set_link_name(text).unwrap();
                    ""
                }
                _ => text,
            };
            header.set_size(content.len() as u64);
            header.set_cksum();
            tar.append(&header, content.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap()
    }

    #[test]
    fn files_come_over_links_of_the_merged_usr() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("usr/lib")).unwrap();
        symlink("usr/lib", at("lib")).unwrap();
        fs::write(at("usr/old"), "old").unwrap();
        let all = tar(&[
            ("./", EntryType::Directory, ""),
            ("./lib/", EntryType::Directory, ""),
            ("./lib/a", EntryType::Regular, "a"),
            ("./usr/b", EntryType::Link, "./usr/lib/a"),
            ("./usr/old", EntryType::Symlink, "lib/a"),
            ("./lib", EntryType::Symlink, "usr/lib"),
            ("./usr/share/doc/x", EntryType::Regular, "x"),
            ("./dev/null", EntryType::Char, ""),
        ]);
        tree(&*all, folder.path(), &LATER).unwrap();
        assert_eq!(fs::read_to_string(at("usr/lib/a")).unwrap(), "a");
        let mode = fs::metadata(at("usr/b")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o750);
        assert_eq!(fs::read_to_string(at("usr/old")).unwrap(), "a");
        assert!(fs::symlink_metadata(at("lib")).unwrap().is_symlink());
        assert!(!at("usr/share").exists() && !at("dev/null").exists());
        let bad = tar(&[("./a/../../x", EntryType::Regular, "")]);
        assert!(tree(&*bad, folder.path(), &[]).is_err());
    }
}
