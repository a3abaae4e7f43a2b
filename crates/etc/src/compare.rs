//! What differs between two `/etc` as programs see them.

use crate::edits::text;
use crate::entry::{Entry, Kind, names};
use crate::{Error, owner};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Folders that are deeper are not looked into.
const MAX_DEPTH: usize = 256;

/// An entry that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Path below the folder, without a leading slash; bytes that are not UTF-8 are shown as `\xNN`.
    pub path: String,
    /// Whether the old one has it, and the new one.
    pub sides: (bool, bool),
    /// What differs where both have it: `type`, `content`, `target`, `mode`, `owner`, `xattrs`.
    pub fields: Vec<&'static str>,
}

/// What differs between two folders, folders before what is in them, names in byte order. Times, sockets and
/// files that tools derive from others are no difference.
pub fn differences(old: &Path, new: &Path) -> Result<Vec<Difference>, Error> {
    let mut found = Vec::new();
    folder(Some(old), Some(new), &mut Vec::new(), 0, &mut found)?;
    Ok(found)
}

fn folder(
    old: Option<&Path>,
    new: Option<&Path>,
    path: &mut Vec<u8>,
    depth: usize,
    found: &mut Vec<Difference>,
) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::TooMuch {
            path: text(path),
            limit: "256 folders deep",
        });
    }
    let list = |side: Option<&Path>| side.map_or_else(|| Ok(Vec::new()), names);
    let mut all = list(old)?;
    all.extend(list(new)?);
    all.sort();
    all.dedup();
    for name in all {
        let length = path.len();
        if length > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(&name);
        if !owner::is_derived(path) {
            let side = |side: Option<&Path>| match side {
                Some(side) => Entry::load(&side.join(OsStr::from_bytes(&name))),
                None => Ok(None),
            };
            entry(side(old)?, side(new)?, path, depth, found)?;
        }
        path.truncate(length);
    }
    Ok(())
}

fn entry(
    old: Option<Entry>,
    new: Option<Entry>,
    path: &mut Vec<u8>,
    depth: usize,
    found: &mut Vec<Difference>,
) -> Result<(), Error> {
    // A program makes its socket again.
    let [old, new] = [old, new].map(|side| side.filter(|entry| entry.kind != Kind::Socket));
    let fields = match (&old, &new) {
        (Some(old), Some(new)) => fields(old, new)?,
        _ => Vec::new(),
    };
    let sides = (old.is_some(), new.is_some());
    if !fields.is_empty() || sides.0 != sides.1 {
        found.push(Difference {
            path: text(path),
            sides,
            fields,
        });
    }
    let [old, new] = [old, new].map(|side| side.filter(|entry| entry.kind == Kind::Directory));
    if old.is_none() && new.is_none() {
        return Ok(());
    }
    let [old, new] = [&old, &new].map(|side| side.as_ref().map(|entry| &*entry.path));
    folder(old, new, path, depth + 1, found)
}

fn fields(old: &Entry, new: &Entry) -> Result<Vec<&'static str>, Error> {
    if !old.kind.same_type(&new.kind) {
        return Ok(vec!["type"]);
    }
    let mut fields = Vec::new();
    let is_link = matches!(old.kind, Kind::Symlink(_));
    if !old.same_content(new)? {
        fields.push(if is_link { "target" } else { "content" });
    }
    let (a, b) = (&old.attributes, &new.attributes);
    // The permission bits of a link mean nothing and differ between file systems.
    if a.mode != b.mode && !is_link {
        fields.push("mode");
    }
    if (a.uid, a.gid) != (b.uid, b.gid) {
        fields.push("owner");
    }
    if a.xattrs != b.xattrs {
        fields.push("xattrs");
    }
    Ok(fields)
}
