//! What is written to an upper while another takes its place.
//!
//! Between the copy of the edits and the moment in which the new overlay shows, and afterwards through files that
//! were open, programs still write into the old upper. [`late`] carries that too.

use crate::apply::{copy, parents, set_owner};
use crate::edits::text;
use crate::entry::{Entry, Kind, names};
use crate::plan::{Action, Put, plan};
use crate::{Error, Sides, owner};
use elea_sys::At;
use rustix::fs::{CWD, RenameFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What stood in an upper at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen(BTreeMap<Vec<u8>, Stamp>);

/// What tells that an entry was written to. A folder's own times change with what is in it.
type Stamp = (u64, u32, u32, u32, Option<(i64, i64, i64)>);

/// Looks through an upper.
pub fn seen(upper: &Path) -> Result<Seen, Error> {
    let mut found = BTreeMap::new();
    let mut folders = vec![Vec::new()];
    while let Some(folder) = folders.pop() {
        let here = upper.join(OsStr::from_bytes(&folder));
        for name in names(&here)? {
            let mut path = folder.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            let full = upper.join(OsStr::from_bytes(&path));
            let stat = match rustix::fs::lstat(&full) {
                Ok(stat) => stat,
                Err(rustix::io::Errno::NOENT) => continue,
                Err(e) => Err(e).at("read", &full)?,
            };
            let is_folder = stat.st_mode & 0o170_000 == 0o040_000;
            let nanoseconds = i64::try_from(stat.st_ctime_nsec).unwrap_or_default();
            let written = (stat.st_ctime, nanoseconds, stat.st_size);
            let stamp = (
                stat.st_ino,
                stat.st_mode,
                stat.st_uid,
                stat.st_gid,
                (!is_folder).then_some(written),
            );
            if is_folder {
                folders.push(path.clone());
            }
            found.insert(path, stamp);
        }
    }
    Ok(Seen(found))
}

/// Carries what was written to `from.upper` since `before` into `shown`, the new overlay as it is mounted; gives the
/// paths. `new_lower` is what that overlay is over.
pub fn late(
    from: &Sides<'_>,
    before: &Seen,
    new_lower: &Path,
    shown: &Path,
) -> Result<Vec<String>, Error> {
    let now = seen(from.upper)?;
    let all: BTreeSet<&Vec<u8>> = before.0.keys().chain(now.0.keys()).collect();
    let differs = |path: &&Vec<u8>| before.0.get(*path) != now.0.get(*path);
    let written: Vec<&Vec<u8>> = all
        .into_iter()
        .filter(differs)
        .filter(|path| !owner::is_derived(path))
        .collect();
    if written.is_empty() {
        return Ok(Vec::new());
    }
    let plan = plan(from, new_lower)?;
    for path in &written {
        let action = plan.actions.iter().find(|action| action.path == **path);
        put(action, path, from, new_lower, shown)?;
    }
    Ok(written.into_iter().map(|path| text(path)).collect())
}

/// Brings one entry of the new overlay to what is planned, or to the image's where nothing is.
fn put(
    action: Option<&Action>,
    path: &[u8],
    from: &Sides<'_>,
    new_lower: &Path,
    shown: &Path,
) -> Result<(), Error> {
    let target = shown.join(OsStr::from_bytes(path));
    let image = match action {
        None => Entry::below(new_lower, path)?,
        Some(_) => None,
    };
    let (entry, attributes) = match (action.map(|action| &action.put), &image) {
        (Some(Put::Copy(entry, attributes)), _) => (Some(entry), attributes),
        (None, Some(entry)) => (Some(entry), &entry.attributes),
        (Some(Put::Write(_, attributes)), _) => (None, attributes),
        (Some(Put::Whiteout), _) | (None, None) => {
            if clear_way(path, shown, false)? {
                remove(&target)?;
            }
            return Ok(());
        }
    };
    if !clear_way(path, shown, action.is_some())? {
        return Ok(());
    }
    let made = Action {
        path: path.to_owned(),
        put: Put::Whiteout,
    };
    parents(&made, from, new_lower, shown)?;
    let is_folder = entry.is_some_and(|entry| entry.kind == Kind::Directory);
    if is_folder {
        if Entry::load(&target)?.is_some_and(|there| there.kind != Kind::Directory) {
            remove(&target)?;
        }
        // A folder's entries come by themselves.
        return entry.map_or(Ok(()), |entry| copy(entry, attributes, &target));
    }
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".elea-late");
    let temporary = target.with_file_name(name);
    remove(&temporary)?;
    match (action.map(|action| &action.put), entry) {
        (Some(Put::Write(content, attributes)), _) => {
            std::fs::write(&temporary, content).at("write", &temporary)?;
            set_owner(&temporary, attributes)?;
        }
        (_, Some(entry)) => copy(entry, attributes, &temporary)?,
        _ => {}
    }
    // A socket is not copied.
    if Entry::load(&temporary)?.is_none() {
        return Ok(());
    }
    if Entry::load(&target)?.is_some_and(|there| there.kind == Kind::Directory) {
        remove(&target)?;
    }
    Ok(
        rustix::fs::renameat_with(CWD, &temporary, CWD, &target, RenameFlags::empty())
            .at("rename into place", &target)?,
    )
}

/// Whether only folders lead to an entry: a link belongs to one side and must not lead the other elsewhere. With
/// `make` what is in the way goes, as the machine's edit below it says.
fn clear_way(path: &[u8], shown: &Path, make: bool) -> Result<bool, Error> {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    for (end, _) in ends {
        let parent = shown.join(OsStr::from_bytes(&path[..end]));
        match Entry::load(&parent)? {
            Some(entry) if entry.kind == Kind::Directory => {}
            Some(_) if make => remove(&parent)?,
            None if make => return Ok(true),
            _ => return Ok(false),
        }
    }
    Ok(true)
}

fn remove(path: &Path) -> Result<(), Error> {
    let removed = match Entry::load(path)? {
        None => Ok(()),
        Some(entry) if entry.kind == Kind::Directory => std::fs::remove_dir_all(path),
        Some(_) => std::fs::remove_file(path),
    };
    Ok(removed.at("remove", path)?)
}
