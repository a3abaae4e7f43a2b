//! Reads what a verdict vouches for: kernel and initrds on `$BOOT`, the image, and as many
//! objects as a bounded time allows, those first that this generation brought.

use crate::apply;
use crate::entries;
use crate::error::Error;
use crate::machine::Machine;
use crate::view::{State, View};
use elea_formats::bls::Entry;
use elea_formats::booted::{Booted, Verity};
use elea_formats::digest::Digest;
use elea_formats::generation::Generation;
use elea_store::Store;
use elea_sys::disk::Disk;
use elea_sys::progress::Progress;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Bytes of objects that are read.
const BYTES: u64 = 256 << 20;
/// How long reading them may take.
const TIME: Duration = Duration::from_secs(30);
/// Damaged files that are named.
const NAMED: usize = 8;
/// What a machine needs to be mended, read at each boot.
const ESSENTIAL: [&str; 2] = ["usr/lib/elea", "usr/lib/systemd"];

/// What reading found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Damage in what boots the generation.
    pub(super) essential: Option<String>,
    /// Damaged files.
    pub(super) damaged: Vec<String>,
    /// What could not be read for another reason.
    pub(super) notes: Vec<String>,
}

/// Reads it. `counted` says whether the generation is on trial: a good one was read then. What it
/// returns after `progress` was cancelled says nothing.
pub(super) fn look(
    machine: &Machine,
    booted: &Booted,
    generation: &Generation,
    counted: bool,
    progress: &dyn Progress,
) -> Result<Found, Error> {
    let mut found = Found::default();
    let disks = machine.disks()?;
    for payload in generation.payloads() {
        if !apply::is_whole(disks.boot, payload)? {
            found.essential = Some(format!(
                "{} on the boot partition is missing or damaged",
                apply::path_of(payload)
            ));
            return Ok(found);
        }
    }
    let view = machine.view()?;
    if let Some(damage) = changed_entry(disks.boot, &view, generation)? {
        found.essential = Some(damage);
        return Ok(found);
    }
    let store = machine.store()?;
    if let Err(e) = store.check_image(&generation.image) {
        found.essential = Some(format!("the image file is damaged: {e}"));
        return Ok(found);
    }
    let mut budget = Budget::new(progress);
    if counted {
        match new_objects(&store, &view, generation) {
            Ok(objects) => read_objects(&store, booted, &objects, &mut budget, &mut found),
            Err(e) => found.notes.push(format!("new files were not read: {e}")),
        }
    }
    let lower = machine.lower()?;
    for folder in ESSENTIAL {
        read_folder(lower, &lower.join(folder), &mut budget, &mut found.damaged);
    }
    Ok(found)
}

/// What is wrong with what the entry names, where somebody let it name other files than the
/// manifest does: the loader reads the entry.
fn changed_entry(
    boot: &dyn Disk,
    view: &View,
    generation: &Generation,
) -> Result<Option<String>, Error> {
    let own = view.entries.generation(generation.number);
    let Some(entry) = own.and_then(|own| Entry::parse(&own.text).ok()) else {
        return Ok(None);
    };
    let ours = entries::entry(generation);
    if entry.linux == ours.linux && entry.initrds == ours.initrds {
        return Ok(None);
    }
    Ok(entries::damage(boot, &entry)?)
}

/// Objects that this generation has and the good ones have not.
fn new_objects(
    store: &Store,
    view: &View,
    generation: &Generation,
) -> Result<BTreeMap<Digest, u64>, Error> {
    let mut objects = store.objects_of(&generation.image)?;
    let good = view.entries.good().filter(|n| *n != generation.number);
    let good = good.filter(|n| view.state(*n, None) == State::Good);
    let images: Vec<Digest> = good.filter_map(|n| Some(view.manifest(n)?.image)).collect();
    for image in images {
        for digest in store.objects_of(&image)?.keys() {
            objects.remove(digest);
        }
    }
    Ok(objects)
}

fn read_objects(
    store: &Store,
    booted: &Booted,
    objects: &BTreeMap<Digest, u64>,
    budget: &mut Budget<'_>,
    found: &mut Found,
) {
    for (digest, size) in objects {
        if !budget.take(*size) || found.damaged.len() >= NAMED {
            return;
        }
        let path = store.object_path(digest);
        // Where the kernel checks, reading is checking; elsewhere the digest is made anew.
        let read = match booted.verity {
            Verity::Required => read_whole(&path).map_err(|e| e.to_string()),
            Verity::Unsealed | Verity::Unsupported => store
                .read_object(digest, size.saturating_add(1))
                .map(drop)
                .map_err(|e| e.to_string()),
        };
        if let Err(reason) = read {
            found
                .damaged
                .push(format!("the object {digest} cannot be read: {reason}"));
        }
    }
}

/// Reads the files of a folder of the image; what the kernel refuses is damaged.
fn read_folder(root: &Path, folder: &Path, budget: &mut Budget<'_>, damaged: &mut Vec<String>) {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if is_damage(&e) => {
            damaged.push(name(root, folder, &e));
            return;
        }
        Err(_) => return,
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    paths.sort();
    for path in paths {
        if damaged.len() >= NAMED {
            return;
        }
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        if metadata.is_dir() {
            read_folder(root, &path, budget, damaged);
        } else if metadata.is_file() {
            if !budget.take(metadata.len()) {
                return;
            }
            if let Err(e) = read_whole(&path)
                && is_damage(&e)
            {
                damaged.push(name(root, &path, &e));
            }
        }
    }
}

fn name(root: &Path, path: &Path, error: &io::Error) -> String {
    let path = path.strip_prefix(root).unwrap_or(path);
    format!("/{} cannot be read: {error}", path.display())
}

fn is_damage(error: &io::Error) -> bool {
    // EIO and EUCLEAN.
    matches!(error.raw_os_error(), Some(5 | 117))
}

fn read_whole(path: &Path) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    while file.read(&mut buffer)? > 0 {}
    Ok(())
}

/// Bytes and time that are left.
struct Budget<'a> {
    progress: &'a dyn Progress,
    bytes: u64,
    until: Instant,
}

impl<'a> Budget<'a> {
    fn new(progress: &'a dyn Progress) -> Self {
        Self {
            progress,
            bytes: BYTES,
            until: Instant::now() + TIME,
        }
    }

    fn take(&mut self, size: u64) -> bool {
        match self.bytes.checked_sub(size) {
            Some(left) if Instant::now() < self.until && !self.progress.cancelled() => {
                self.bytes = left;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use elea_sys::progress::Silent;

    #[test]
    fn reading_a_folder_is_bounded_and_names_no_sound_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("b")).unwrap();
        fs::write(dir.path().join("a"), [0; 100]).unwrap();
        fs::write(dir.path().join("b/c"), [0; 100]).unwrap();
        let mut budget = Budget::new(&Silent);
        budget.bytes = 150;
        let mut damaged = Vec::new();
        read_folder(dir.path(), dir.path(), &mut budget, &mut damaged);
        assert_eq!((budget.bytes, damaged.len()), (50, 0));
        let error = io::Error::from_raw_os_error(5);
        assert!(is_damage(&error) && !is_damage(&io::Error::from_raw_os_error(13)));
        let said = name(Path::new("/l"), Path::new("/l/usr/bin/x"), &error);
        assert!(said.starts_with("/usr/bin/x cannot be read: "), "{said}");
    }
}
