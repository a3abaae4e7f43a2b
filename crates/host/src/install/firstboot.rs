//! What a machine does to its own disk when it first runs from it: the root grows to the end
//! of the disk, and objects that were not born sealed are sealed. Both may be cut short at any moment
//! and are done again at the next boot; when there is nothing to do they cost a few reads.

use super::error::Error;
use super::layout::ALIGN;
use super::table;
use crate::machine::ALGORITHM;
use elea_formats::digest::Digest;
use elea_formats::superblock::{self, Kind};
use elea_sys::device::{self, Device};
use elea_sys::progress::{Progress, Unit};
use elea_sys::verity::{self, VerityError};
use elea_sys::{At as _, PathError, durable, partition};
use serde::Serialize;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

/// Less than this is not worth a change, in bytes.
const LEAST: u64 = 64 << 20;
/// Where the marker stands below `/elea`: objects are not sealed yet.
pub const SEALING: &str = "state/sealing";

/// What grew, in bytes before and after; nothing if it was as large as it can be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Grown {
    /// The partition of the physical root.
    pub partition: Option<(u64, u64)>,
    /// Its file system.
    pub filesystem: Option<(u64, u64)>,
}

/// Grows the last partition to the end of its disk, if that is the physical root's, and then
/// the file system in it.
///
/// `root` is the physical root, mounted so that it can be written; `device` is its `major:minor`
/// where it is known (`/run/elea/booted`; btrfs does not tell). Nothing is done, and that is no error, on
/// a disk without GPT, on a mapped device, and where another partition lies behind.
///
/// The partition table is written first, its copy at the end of the disk before the one at
/// the beginning; then the kernel is told; then the mounted file system grows.
pub fn grow(root: &Path, device: Option<&str>) -> Result<Grown, Error> {
    let mut grown = Grown::default();
    let Some(part) = physical(root, device)? else {
        return Ok(grown);
    };
    let (Some(number), Some(disk)) = (part.partition, part.disk.as_deref().and_then(device::named))
    else {
        return Ok(grown);
    };
    let path = disk.path();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .at("open", &path)?;
    let end = (disk.size / ALIGN * ALIGN).saturating_sub(ALIGN);
    let size = end.saturating_sub(part.start);
    let mut now = part.size;
    if let Some(listed) = table::extend(&file, &path, disk.size, &part, size, LEAST)?
        && listed > now
    {
        // The partition was told to the kernel with its old size, now or before a power cut.
        partition::resize(&file, number, part.start, listed).at("enlarge partitions of", &path)?;
        grown.partition = Some((now, listed));
        now = listed;
    }
    grown.filesystem = grow_filesystem(root, &part, now)?;
    Ok(grown)
}

/// The device of the physical root.
fn physical(root: &Path, number: Option<&str>) -> Result<Option<Device>, PathError> {
    let Some(number) = number else {
        return device::of_path(root);
    };
    let folder = fs::canonicalize(Path::new("/sys/dev/block").join(number));
    Ok(folder
        .ok()
        .and_then(|f| device::named(f.file_name()?.to_str()?)))
}

fn grow_filesystem(root: &Path, part: &Device, size: u64) -> Result<Option<(u64, u64)>, PathError> {
    let Some(before) = superblock::read(&part.start_bytes(superblock::NEEDED)?) else {
        return Ok(None);
    };
    if size < before.size.saturating_add(LEAST) {
        return Ok(None);
    }
    let file = File::open(root).at("open", root)?;
    match before.kind {
        Kind::Ext4 => partition::grow_ext4(&file, size / u64::from(before.block.max(1))),
        Kind::Btrfs => partition::grow_btrfs(&file),
        Kind::Xfs => return Ok(None),
    }
    .at("enlarge the file system of", root)?;
    durable::sync_filesystem(root)?;
    Ok(Some((before.size, size)))
}

/// What sealing did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Sealed {
    /// Objects that were sealed now.
    pub sealed: u64,
    /// Objects that were sealed before.
    pub before: u64,
    /// Objects whose content is not what their name says; they cannot be read from the next
    /// boot on, and `elea store fsck` names the images that use them.
    pub damaged: Vec<Digest>,
}

/// Seals every object if the marker below `elea` (`/elea` of the physical root, which can be
/// written) says that they are not, makes that durable, and takes the marker away: from the next boot
/// on the kernel refuses objects that are not what the image names. `None` without a marker.
pub fn seal(elea: &Path, progress: &dyn Progress) -> Result<Option<Sealed>, Error> {
    let marker = elea.join(SEALING);
    if !marker.try_exists().at("look for", &marker)? {
        return Ok(None);
    }
    let objects = list(&elea.join("store/objects"))?;
    progress.start("sealing objects", Some(objects.len() as u64), Unit::Items);
    let mut result = Sealed::default();
    for (digest, path) in &objects {
        super::check(progress)?;
        let file = File::open(path).at("open", path)?;
        let failed = |source: VerityError| Error::Seal {
            path: path.clone(),
            source,
        };
        if verity::enable(&file, ALGORITHM.number()).map_err(failed)? {
            result.sealed += 1;
        } else {
            result.before += 1;
        }
        if verity::measure(&file).map_err(failed)? != digest.as_bytes() {
            result.damaged.push(*digest);
        }
        progress.advance(1);
    }
    durable::sync_filesystem(elea)?;
    fs::remove_file(&marker).at("remove", &marker)?;
    durable::sync_folder(&elea.join("state"))?;
    progress.finish();
    Ok(Some(result))
}

/// The objects; files with other names are leftovers of imports.
fn list(objects: &Path) -> Result<Vec<(Digest, PathBuf)>, PathError> {
    let mut found = Vec::new();
    for folder in fs::read_dir(objects).at("list", objects)? {
        let folder = folder.at("list", objects)?.path();
        if !folder.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&folder).at("list", &folder)? {
            let path = entry.at("list", &folder)?.path();
            let name = |p: &Path| Some(p.file_name()?.to_str()?.to_owned());
            let digest = name(&folder).zip(name(&path)).map(|(a, b)| a + &b);
            if let Some(digest) = digest.and_then(|d| d.parse().ok()) {
                found.push((digest, path));
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use elea_formats::digest::Sha256;
    use elea_sys::progress::Silent;

    #[test]
    fn nothing_is_sealed_without_the_marker() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(seal(dir.path(), &Silent).unwrap(), None);
    }

    #[test]
    fn what_cannot_be_sealed_keeps_its_marker() {
        // tmpfs has no fs-verity on any kernel.
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let digest = Digest::from(Sha256::of(b"x"));
        let path = dir.path().join("store/objects").join(digest.object_path());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "x").unwrap();
        fs::create_dir(dir.path().join("state")).unwrap();
        fs::write(dir.path().join(SEALING), "").unwrap();
        let error = seal(dir.path(), &Silent).unwrap_err();
        assert!(matches!(error, Error::Seal { .. }), "{error}");
        assert!(dir.path().join(SEALING).exists());
    }

    #[test]
    fn objects_are_told_from_leftovers() {
        let dir = tempfile::tempdir().unwrap();
        let digest = Digest::from(Sha256::of(b"x"));
        let path = dir.path().join(digest.object_path());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        fs::write(path.with_file_name(".new-abc"), "").unwrap();
        fs::write(dir.path().join("stray"), "").unwrap();
        assert_eq!(list(dir.path()).unwrap(), [(digest, path)]);
    }
}
