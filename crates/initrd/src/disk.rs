//! The physical root: found by the UUID of its file system, mounted below `/run/elea`.

use crate::console;
use crate::drivers::Drivers;
use crate::error::Error;
use elea_formats::superblock::{self, Superblock};
use elea_sys::device::{self, Device};
use elea_sys::mount::{Attributes, Filesystem};
use elea_sys::{At as _, PathError};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where the physical root is while the initrd works.
pub(crate) const PHYSICAL: &str = "/run/elea/sysroot";
/// How long a disk may take to appear.
const LIMIT: Duration = Duration::from_secs(30);
/// When to load every driver there is.
const LOAD_ALL: Duration = Duration::from_secs(10);

/// The mounted physical root.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    /// Its device; that of a file system in memory has no name and no size.
    pub(crate) device: Device,
    /// The UUID of its file system; empty in memory.
    pub(crate) uuid: String,
    /// The kind of its file system: `ext4`, `btrfs`, `tmpfs`.
    pub(crate) kind: String,
}

impl Disk {
    /// Waits for the device and mounts it.
    pub(crate) fn mount(uuid: &str, drivers: &mut Drivers) -> Result<Self, Error> {
        let disk = find(uuid, drivers)?;
        drivers.ask(&format!("fs-{}", disk.kind));
        let path = Path::new(PHYSICAL);
        fs::create_dir_all(path).at("create", path)?;
        Filesystem::new(&disk.kind)
            .source(disk.device.path())
            .attributes(Attributes::NO_ACCESS_TIME)
            .mount(path)?;
        if !path.join("elea/store").is_dir() {
            return Err(Error::NoStore {
                uuid: uuid.to_owned(),
                device: disk.device.name,
            });
        }
        Ok(disk)
    }
}

fn find(uuid: &str, drivers: &mut Drivers) -> Result<Disk, Error> {
    let begun = Instant::now();
    let mut loaded_all = false;
    let found = device::wait(LIMIT, || {
        drivers.load_for_devices();
        if begun.elapsed() > LOAD_ALL && !loaded_all {
            console::warn(&format!("still waiting for the file system {uuid}"));
            drivers.load_all();
            loaded_all = true;
        }
        let mut superblock = None;
        let device = device::find(superblock::NEEDED, |_, start| {
            superblock = superblock::read(start).filter(|s| s.uuid == uuid);
            superblock.is_some()
        });
        let (device, superblock): (_, Superblock) = (device.ok()??, superblock?);
        Some(Disk {
            device,
            uuid: superblock.uuid,
            kind: superblock.kind.to_string(),
        })
    });
    found.ok_or_else(|| {
        let names: Vec<_> = device::list()
            .into_iter()
            .flatten()
            .map(|d| d.name)
            .take(40)
            .collect();
        Error::NoRoot {
            uuid: uuid.to_owned(),
            waited: LIMIT,
            seen: if names.is_empty() {
                "no block devices".to_owned()
            } else {
                names.join(" ")
            },
        }
    })
}

/// A path below `/elea` of the physical root.
pub(crate) fn elea(path: &str) -> PathBuf {
    Path::new(PHYSICAL).join("elea").join(path)
}

/// The folder of a generation.
pub(crate) fn generation(number: u64) -> PathBuf {
    elea(&format!("generations/{number}"))
}

/// Makes a folder whose parent is there; durable.
pub(crate) fn make_folder(path: &Path) -> Result<(), PathError> {
    match fs::create_dir(path) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        result => {
            result.at("create", path)?;
            elea_sys::durable::sync_folder(path.parent().unwrap_or(path))
        }
    }
}
