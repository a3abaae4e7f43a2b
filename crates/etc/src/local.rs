//! What stands at the places of local edits, as a config can say it.

use crate::edits::text;
use crate::{Change, Edit};
use elea_sys::root::Root;
use elea_sys::{At as _, PathError};
use rustix::fs::FileType;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// The largest file of accounts.
const MAX_ACCOUNTS: u64 = 16 << 20;

/// A local edit and what stands there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// The absolute path; bytes that are not UTF-8 are shown as `\xNN`, and then `found` says that no config can name it.
    pub path: String,
    /// What stands there.
    pub found: Found,
    /// Whether the image has nothing there.
    pub is_new: bool,
}

/// What stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A file.
    File(Vec<u8>, Owned),
    /// A link's target.
    Link(String),
    /// A folder.
    Folder(Owned),
    /// Nothing.
    Gone,
    /// What cannot be taken, in words.
    Other(String),
}

/// Mode, and owner and group by name where they have one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// The permission bits.
    pub mode: u32,
    /// The user.
    pub owner: String,
    /// The group.
    pub group: String,
}

/// What stands at these edits in `etc`, whose accounts give the names. Files are read up to `largest` bytes.
pub fn locals(etc: &Root, edits: &[Edit], largest: u64) -> Result<Vec<Local>, PathError> {
    let names = Names {
        users: names(etc, "passwd")?,
        groups: names(etc, "group")?,
    };
    edits
        .iter()
        .map(|edit| local(etc, edit, &names, largest))
        .collect()
}

struct Names {
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
}

/// The names of an account file by their numbers; the first of each counts.
fn names(root: &Root, file: &str) -> Result<BTreeMap<u32, String>, PathError> {
    let text = root.read(Path::new(file), MAX_ACCOUNTS)?;
    let mut out = BTreeMap::new();
    for line in String::from_utf8_lossy(&text).lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(id)) = (fields.next(), fields.nth(1))
            && let Ok(id) = id.parse()
        {
            out.entry(id).or_insert_with(|| name.to_owned());
        }
    }
    Ok(out)
}

fn local(root: &Root, edit: &Edit, names: &Names, largest: u64) -> Result<Local, PathError> {
    let relative = Path::new(OsStr::from_bytes(&edit.path));
    let found = if edit.change == Change::Deleted {
        Found::Gone
    } else if std::str::from_utf8(&edit.path).is_err() {
        Found::Other("a name that is not UTF-8".into())
    } else {
        stands(root, relative, names, largest)?
    };
    Ok(Local {
        path: format!("/etc/{}", text(&edit.path)),
        found,
        is_new: edit.change == Change::Added,
    })
}

fn stands(root: &Root, path: &Path, names: &Names, largest: u64) -> Result<Found, PathError> {
    let kind = match root.kind(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Gone),
        kind => kind?,
    };
    // Links on the way must not lead out of /etc, and the last name is not followed.
    let (_held, parent) = root.folder(path.parent().unwrap_or(Path::new("")))?;
    let here = parent.join(path.file_name().unwrap_or_default());
    let status = fs::symlink_metadata(&here).at("look at", path)?;
    let name = |names: &BTreeMap<u32, String>, id: u32| {
        names.get(&id).cloned().unwrap_or_else(|| id.to_string())
    };
    let owned = Owned {
        mode: status.permissions().mode() & 0o7777,
        owner: name(&names.users, status.uid()),
        group: name(&names.groups, status.gid()),
    };
    Ok(match kind {
        FileType::RegularFile if status.len() > largest => {
            Found::Other(format!("a file of more than {} MiB", largest >> 20))
        }
        FileType::RegularFile => Found::File(root.read(path, largest)?, owned),
        FileType::Directory => Found::Folder(owned),
        FileType::Symlink => match root.read_link(path)?.into_os_string().into_string() {
            Ok(target) => Found::Link(target),
            Err(_) => Found::Other("a link to a name that is not UTF-8".into()),
        },
        FileType::Fifo => Found::Other("a pipe".into()),
        FileType::Socket => Found::Other("a socket".into()),
        _ => Found::Other("a device".into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_there_is_read_without_following_links() {
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("etc");
        fs::create_dir_all(etc.join("a.d")).unwrap();
        fs::write(
            etc.join("passwd"),
            "root:x:0:0:::\ntwin:x:0:0:::\nada:x:1000:1000:::\n",
        )
        .unwrap();
        fs::write(etc.join("group"), "wheel:x:0:\n").unwrap();
        fs::write(dir.path().join("secret"), "outside").unwrap();
        fs::write(etc.join("a.d/f"), "text").unwrap();
        fs::set_permissions(etc.join("a.d/f"), fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("../../secret", etc.join("a.d/link")).unwrap();
        std::os::unix::fs::symlink("..", etc.join("out")).unwrap();
        let root = Root::open(&etc).unwrap();
        let names = Names {
            users: names(&root, "passwd").unwrap(),
            groups: names(&root, "group").unwrap(),
        };
        assert_eq!(names.users[&0], "root");
        let look = |path: &str, change, most| {
            let edit = Edit {
                path: path.into(),
                change,
                machine: false,
            };
            local(&root, &edit, &names, most).unwrap()
        };
        let file = look("a.d/f", Change::Added, 10);
        assert!(file.is_new && file.path == "/etc/a.d/f");
        let Found::File(bytes, owned) = file.found else {
            panic!("a file")
        };
        assert_eq!((&bytes[..], owned.mode), (&b"text"[..], 0o640));
        let link = look("a.d/link", Change::Replaced, 10).found;
        assert_eq!(link, Found::Link("../../secret".into()));
        assert!(matches!(
            look("a.d/f", Change::Modified, 3).found,
            Found::Other(_)
        ));
        assert_eq!(look("a.d/gone", Change::Deleted, 3).found, Found::Gone);
        // A link on the way stays inside.
        assert_eq!(look("out/secret", Change::Added, 10).found, Found::Gone);
    }
}
