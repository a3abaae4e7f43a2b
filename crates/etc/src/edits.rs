//! What the machine changed: the entries of an upper that differ from its lower.

use crate::entry::{Entry, Kind, names};
use crate::{Error, Sides, owner};
use serde::{Serialize, Serializer};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What happened to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// The image has none.
    Added,
    /// Another content, mode, owner or attribute.
    Modified,
    /// Another type: a link in place of a file.
    Replaced,
    /// The image's is hidden.
    Deleted,
}

/// One local edit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Edit {
    /// Path below `/etc`, without a leading slash; bytes that are not UTF-8 are shown as `\xNN`.
    #[serde(serialize_with = "as_text")]
    pub path: Vec<u8>,
    /// What happened to it.
    pub change: Change,
    /// Whether it is the machine's identity (`machine-id`, ssh host keys), which is carried
    /// but is no edit of a person's.
    pub machine: bool,
}

fn as_text<S: Serializer>(path: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(path))
}

/// A path for people and JSON.
pub fn text(path: &[u8]) -> String {
    match std::str::from_utf8(path) {
        Ok(text) => text.to_owned(),
        Err(_) => path.escape_ascii().to_string(),
    }
}

/// Folders that are deeper are not looked into.
pub(crate) const MAX_DEPTH: usize = 256;
const MAX_EDITS: usize = 1_000_000;

/// The local edits of one generation, parents before their entries, names in byte order.
/// Copies that the overlay made without a change and files that tools derive are left out.
pub fn edits(sides: &Sides<'_>) -> Result<Vec<Edit>, Error> {
    let mut found = Vec::new();
    let lower = Entry::load(sides.lower)?.filter(|entry| entry.kind == Kind::Directory);
    folder(
        sides.upper,
        lower.as_ref(),
        false,
        &mut Vec::new(),
        0,
        &mut found,
    )?;
    Ok(found)
}

/// The edits in one folder. `opaque`: the image's entries that the upper lacks are hidden too.
fn folder(
    upper: &Path,
    lower: Option<&Entry>,
    opaque: bool,
    path: &mut Vec<u8>,
    depth: usize,
    found: &mut Vec<Edit>,
) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::TooMuch {
            path: text(path),
            limit: "256 folders deep",
        });
    }
    let here = names(upper)?;
    let mut all = here.clone();
    if let Some(lower) = lower.filter(|_| opaque) {
        all.extend(
            names(&lower.path)?
                .into_iter()
                .filter(|name| !here.contains(name)),
        );
        all.sort();
    }
    for name in all {
        let length = path.len();
        if length > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(&name);
        let os = OsStr::from_bytes(&name);
        let below = match lower {
            Some(lower) => Entry::load(&lower.path.join(os))?,
            None => None,
        };
        if !owner::is_derived(path) {
            entry(Entry::load(&upper.join(os))?, below, path, depth, found)?;
        }
        path.truncate(length);
    }
    Ok(())
}

fn entry(
    upper: Option<Entry>,
    lower: Option<Entry>,
    path: &mut Vec<u8>,
    depth: usize,
    found: &mut Vec<Edit>,
) -> Result<(), Error> {
    let upper = upper.filter(|entry| entry.kind != Kind::Whiteout);
    let change = match (&upper, &lower) {
        (None, None) => None,
        (None, Some(_)) => Some(Change::Deleted),
        (Some(_), None) => Some(Change::Added),
        (Some(u), Some(l)) if !u.kind.same_type(&l.kind) => Some(Change::Replaced),
        (Some(u), Some(l)) => (!u.same(l)?).then_some(Change::Modified),
    };
    if let Some(change) = change {
        if found.len() >= MAX_EDITS {
            return Err(Error::TooMuch {
                path: text(path),
                limit: "1000000 edits",
            });
        }
        found.push(Edit {
            path: path.clone(),
            change,
            machine: owner::is_machines(path),
        });
    }
    if let Some(upper) = upper.filter(|u| u.kind == Kind::Directory) {
        let lower = lower.filter(|l| l.kind == Kind::Directory);
        folder(
            &upper.path,
            lower.as_ref(),
            upper.opaque,
            path,
            depth + 1,
            found,
        )?;
    }
    Ok(())
}
