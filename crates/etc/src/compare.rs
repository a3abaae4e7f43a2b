//! What differs between two `/etc` as programs see them.

use crate::edits::{MAX_DEPTH, text};
use crate::entry::{Entry, Kind, names};
use crate::{Error, Places, owner};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

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
    folder([Some(old), Some(new)], None, &mut Vec::new(), 0, &mut found)?;
    Ok(found)
}

/// The same of two folders that differ at these places alone: nothing else is looked at.
pub fn differences_at(old: &Path, new: &Path, places: &Places) -> Result<Vec<Difference>, Error> {
    let (mut found, sides) = (Vec::new(), [Some(old), Some(new)]);
    folder(sides, Some(places), &mut Vec::new(), 0, &mut found)?;
    Ok(found)
}

/// `places` are those in the folder, unless all of it is looked at.
fn folder(
    sides: [Option<&Path>; 2],
    places: Option<&Places>,
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
    let mut all = Vec::new();
    if let Some(places) = places {
        all.extend(places.below.keys().cloned());
    } else {
        for side in sides.into_iter().flatten() {
            all.extend(names(side)?);
        }
        all.sort();
        all.dedup();
    }
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
            let entries = [side(sides[0])?, side(sides[1])?];
            let places = places.and_then(|places| places.below.get(&name));
            entry(entries, places, path, depth, found)?;
        }
        path.truncate(length);
    }
    Ok(())
}

fn entry(
    entries: [Option<Entry>; 2],
    places: Option<&Places>,
    path: &mut Vec<u8>,
    depth: usize,
    found: &mut Vec<Difference>,
) -> Result<(), Error> {
    // A program makes its socket again.
    let [old, new] = entries.map(|side| side.filter(|entry| entry.kind != Kind::Socket));
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
    // What only one has differs in all that is in it.
    let places = places.filter(|places| !places.whole && old.is_some() && new.is_some());
    let sides = [&old, &new].map(|side| side.as_ref().map(|entry| &*entry.path));
    folder(sides, places, path, depth + 1, found)
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
