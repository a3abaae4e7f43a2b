//! `elea state snapshot`: numbered copies of what is kept.

use super::copy::{Method, copy, method};
use super::versions::Versions;
use super::{Error, Kept, Services, stopped};
use elea_formats::state::{Keep, Kind};
use elea_sys::{At as _, durable};
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// The value of `schema`.
pub const SCHEMA: &str = "elea.state-snapshot/1";
/// Where they are, below `/elea/state`.
const FOLDER: &str = "snapshots";
/// The name of one that is not complete.
const NEW: &str = ".new";
/// So many that boots made stay.
const AUTOMATIC: usize = 8;
/// A copy leaves at least so many bytes free.
const RESERVE: u64 = 256 << 20;
/// The largest record.
const LARGEST: u64 = 4 << 20;
/// More are not looked at.
const LISTED: usize = 10_000;

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// [`SCHEMA`].
    pub schema: String,
    /// Its number.
    pub number: u64,
    /// When it was made.
    pub about: About,
    /// How it was copied.
    pub method: Method,
    /// What it holds.
    pub entries: Vec<Entry>,
}

/// When, why and by whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// Why, for people.
    pub reason: String,
    /// What made it: `elea state snapshot`.
    pub by: String,
    /// The generation that ran.
    pub generation: Option<u64>,
    /// Whether a boot made it by itself.
    pub automatic: bool,
}

/// Something that it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The path.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// The version of the data.
    pub version: Option<u64>,
    /// The service that writes it.
    pub service: Option<String>,
    /// Bytes on the disk.
    pub bytes: u64,
}

impl Snapshot {
    /// What it holds of a path.
    pub fn entry(&self, path: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.path == path)
    }
}

/// The folder of a snapshot's copies.
pub(super) fn data(folder: &Path, number: u64) -> PathBuf {
    folder.join(FOLDER).join(number.to_string()).join("data")
}

/// All snapshots, oldest first. One whose record cannot be read is left out.
pub fn load(folder: &Path) -> Vec<Snapshot> {
    let snapshots = folder.join(FOLDER);
    let entries = fs::read_dir(&snapshots).into_iter().flatten().take(LISTED);
    let mut all: Vec<Snapshot> = entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            let number: u64 = name.parse().ok()?;
            let record = snapshots.join(name).join("snapshot.json");
            if fs::metadata(&record).ok()?.len() > LARGEST {
                return None;
            }
            let found: Snapshot = serde_json::from_slice(&fs::read(&record).ok()?).ok()?;
            (found.number == number && found.schema == SCHEMA).then_some(found)
        })
        .collect();
    all.sort_by_key(|one| one.number);
    all
}

/// What a snapshot of these paths (all, if there are none) would hold.
pub fn plan(kept: &Kept<'_>, paths: &[String]) -> Result<Vec<Entry>, Error> {
    let versions = Versions::load(kept.folder)?;
    let mut entries = Vec::new();
    for one in kept.placed(paths)? {
        let Some(held) = kept.held(&one.path)? else {
            continue;
        };
        entries.push(Entry {
            path: one.path.clone(),
            kind: one.kind,
            version: versions.of(&one.path).or(one.version),
            service: one.service.clone(),
            bytes: held.size()?.bytes,
        });
    }
    if entries.is_empty() {
        return Err(Error::Nothing);
    }
    Ok(entries)
}

/// Makes a snapshot, while the services that write what is in it are stopped.
pub fn take(
    kept: &Kept<'_>,
    paths: &[String],
    about: About,
    services: &dyn Services,
) -> Result<Snapshot, Error> {
    let entries = plan(kept, paths)?;
    let method = method(kept.folder)?;
    if method == Method::Copy {
        let need: u64 = entries.iter().map(|entry| entry.bytes).sum();
        let stat = rustix::fs::statvfs(kept.folder).at("ask for the free space of", kept.folder)?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if need.saturating_add(RESERVE) > free {
            return Err(Error::NoRoom { need, free });
        }
    }
    let snapshots = kept.folder.join(FOLDER);
    let new = snapshots.join(NEW);
    folder(&snapshots)?;
    remove_all(&new)?;
    folder(&new)?;
    let snapshot = Snapshot {
        schema: SCHEMA.to_owned(),
        number: next(&snapshots)?,
        about,
        method,
        entries,
    };
    let written: Vec<&Keep> = {
        let of = |keep: &&Keep| snapshot.entry(&keep.path).is_some();
        kept.list.keep.iter().filter(of).collect()
    };
    let copied = stopped(&written, services, || fill(kept, &snapshot, &new));
    if copied.is_err() {
        // What is left of it is removed the next time, too.
        let _ = remove_all(&new);
    }
    copied?;
    let named = snapshots.join(snapshot.number.to_string());
    fs::rename(&new, &named).at("rename", &new)?;
    durable::sync_folder(&snapshots)?;
    if snapshot.about.automatic {
        for number in surplus(&load(kept.folder)) {
            remove(kept.folder, number)?;
        }
    }
    Ok(snapshot)
}

fn fill(kept: &Kept<'_>, snapshot: &Snapshot, new: &Path) -> Result<(), Error> {
    for entry in &snapshot.entries {
        let Some(held) = kept.held(&entry.path)? else {
            continue;
        };
        let to = new.join("data").join(&entry.path[1..]);
        let parent = to.parent().unwrap_or(new);
        fs::create_dir_all(parent).at("create", parent)?;
        copy(&held.path, &to)?;
    }
    let path = new.join("snapshot.json");
    let text = serde_json::to_vec_pretty(snapshot).unwrap_or_default();
    fs::write(&path, text).at("write", &path)?;
    Ok(durable::sync_filesystem(new)?)
}

/// Removes a snapshot.
pub fn remove(folder: &Path, number: u64) -> Result<(), Error> {
    let snapshots = folder.join(FOLDER);
    let (path, gone) = (
        snapshots.join(number.to_string()),
        snapshots.join(format!(".gone-{number}")),
    );
    match fs::rename(&path, &gone) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::NoSnapshot(number));
        }
        renamed => renamed.at("rename", &path)?,
    }
    durable::sync_folder(&snapshots)?;
    remove_all(&gone)
}

/// The automatic ones that are more than stay, oldest first.
fn surplus(all: &[Snapshot]) -> Vec<u64> {
    let automatic: Vec<u64> = all
        .iter()
        .filter(|one| one.about.automatic)
        .map(|one| one.number)
        .collect();
    let over = automatic.len().saturating_sub(AUTOMATIC);
    automatic.into_iter().take(over).collect()
}

/// A number that no snapshot has, be it one whose record cannot be read.
fn next(snapshots: &Path) -> Result<u64, Error> {
    let mut highest = 0;
    for entry in fs::read_dir(snapshots).at("list", snapshots)? {
        let name = entry.at("list", snapshots)?.file_name();
        let name = name.to_string_lossy();
        let number = name.trim_start_matches(".gone-").parse().unwrap_or(0);
        highest = highest.max(number);
    }
    Ok(highest + 1)
}

/// A folder that root alone looks into.
fn folder(path: &Path) -> Result<(), Error> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => Ok(made.at("create", path)?),
    }
}

pub(super) fn remove_all(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => Ok(removed.at("remove", path)?),
    }
}
