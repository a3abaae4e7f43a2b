//! The disk that is written: what it is, who uses it, what is on it.

use super::error::Error;
use super::layout::ALIGN;
use super::signature;
use elea_sys::device::{self, Device};
use elea_sys::{At as _, PathError, durable};
use rustix::fs::{FlockOperation, OFlags};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, Metadata, OpenOptions};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a device may be busy before that is believed.
const MOMENT: Duration = Duration::from_secs(2);

/// What the target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A file that will be made.
    NewFile,
    /// A file that is there.
    File,
    /// A block device.
    Device,
}

/// A disk as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Its absolute path.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Its size in bytes, once it is made.
    pub size: u64,
    /// The size of a logical sector in bytes.
    pub sector: u64,
    /// What is on it, for people; empty if nothing was found.
    pub found: Vec<String>,
}

impl Target {
    /// Looks at a path. `size` is needed for a file that is not there, may enlarge one that
    /// is, and must not be given for a device of another size.
    ///
    /// Refused: anything that is neither a regular file nor a whole block device, and what is
    /// read-only, mounted, held by another device, or open for exclusive use.
    pub fn inspect(path: &Path, size: Option<u64>) -> Result<Self, Error> {
        let metadata = match fs::metadata(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return new_file(path, size),
            looked => looked.at("look at", path)?,
        };
        let path = fs::canonicalize(path).at("follow", path)?;
        let kind = metadata.file_type();
        if kind.is_block_device() {
            return block_device(path, &metadata, size);
        }
        if kind.is_file() {
            return file(path, &metadata, size);
        }
        let what = match kind {
            k if k.is_dir() => "a folder",
            k if k.is_char_device() => "a character device",
            k if k.is_fifo() => "a pipe",
            k if k.is_socket() => "a socket",
            _ => "something else",
        };
        Err(Error::NotADisk { path, what })
    }
}

fn new_file(path: &Path, size: Option<u64>) -> Result<Target, Error> {
    // A device that is not there must not become a file in memory.
    if path.starts_with("/dev") && !path.starts_with("/dev/shm") {
        return Err(Error::NoDevice(path.to_owned()));
    }
    let size = size.ok_or_else(|| Error::NoSize(path.to_owned()))?;
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let folder = fs::canonicalize(folder).at("follow", folder)?;
    let name = path.file_name().ok_or_else(|| Error::NotADisk {
        path: path.to_owned(),
        what: "a folder",
    })?;
    Ok(Target {
        path: folder.join(name),
        kind: Kind::NewFile,
        size: size / ALIGN * ALIGN,
        sector: 512,
        found: Vec::new(),
    })
}

fn file(path: PathBuf, metadata: &Metadata, size: Option<u64>) -> Result<Target, Error> {
    let actual = metadata.len();
    let asked = size.unwrap_or(actual);
    if asked < actual {
        return Err(Error::Size {
            path,
            actual,
            asked,
        });
    }
    if let Some(device) = loop_of(&path) {
        let by = format!("it is behind /dev/{device}");
        return Err(Error::Busy { path, by });
    }
    let file = File::open(&path).at("open", &path)?;
    let mut found = look(&file, &path, actual)?;
    if found.is_empty() && !is_blank(&file, &path, actual)? {
        found.push("data that is no disk image".into());
    }
    Ok(Target {
        path,
        kind: Kind::File,
        size: asked,
        sector: 512,
        found,
    })
}

fn block_device(path: PathBuf, metadata: &Metadata, size: Option<u64>) -> Result<Target, Error> {
    let number = metadata.rdev();
    let link = format!(
        "/sys/dev/block/{}:{}",
        rustix::fs::major(number),
        rustix::fs::minor(number)
    );
    let device = fs::canonicalize(&link)
        .ok()
        .and_then(|folder| device::named(folder.file_name()?.to_str()?))
        .ok_or_else(|| Error::NoDevice(path.clone()))?;
    if device.read_only {
        return Err(Error::ReadOnly(path));
    }
    if let Some(disk) = device.disk {
        return Err(Error::IsPartition { path, disk });
    }
    if let Some(asked) = size.filter(|s| *s != device.size) {
        return Err(Error::Size {
            path,
            actual: device.size,
            asked,
        });
    }
    if let Some(by) = user_of(&device)? {
        return Err(Error::Busy { path, by });
    }
    let file = exclusive(&path, false)?;
    let sector = rustix::fs::ioctl_blksszget(&file).at("ask for the sector size of", &path)?;
    let mut found = look(&file, &path, device.size)?;
    found.extend(partitions_of(&file, sector));
    Ok(Target {
        path,
        kind: Kind::Device,
        size: device.size,
        sector: u64::from(sector),
        found,
    })
}

/// The names of the partitions, so that a person sees what would be lost.
fn partitions_of(file: &File, sector: u32) -> Option<String> {
    let size = match sector {
        4096 => gpt::disk::LogicalBlockSize::Lb4096,
        _ => gpt::disk::LogicalBlockSize::Lb512,
    };
    let table = gpt::GptConfig::new()
        .writable(false)
        .logical_block_size(size)
        .open_from_device(file.try_clone().ok()?)
        .ok()?;
    let names = table.partitions().iter().map(|(number, partition)| {
        let bytes = partition.bytes_len(size).unwrap_or(0);
        let name = partition.name.escape_debug();
        format!("{number} `{name}` ({} MiB)", bytes >> 20)
    });
    let names: Vec<_> = names.take(16).collect();
    (!names.is_empty()).then(|| format!("partitions {}", names.join(", ")))
}

fn look(file: &File, path: &Path, size: u64) -> Result<Vec<String>, PathError> {
    let start = read(file, path, 0, signature::START.min(usize_of(size)))?;
    let length = signature::END.min(usize_of(size));
    let end = read(file, path, size - length as u64, length)?;
    Ok(signature::found(&start, &end))
}

/// Whether the first MiB of a file is zeros.
fn is_blank(file: &File, path: &Path, size: u64) -> Result<bool, PathError> {
    let start = read(file, path, 0, usize_of(size.min(ALIGN)))?;
    Ok(start.iter().all(|b| *b == 0))
}

fn read(file: &File, path: &Path, at: u64, length: usize) -> Result<Vec<u8>, PathError> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, at).at("read", path)?;
    Ok(bytes)
}

fn usize_of(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}

/// The loop device whose backing file is `path`.
fn loop_of(path: &Path) -> Option<String> {
    let devices = fs::read_dir("/sys/block").ok()?;
    devices.flatten().find_map(|device| {
        let backing = fs::read_to_string(device.path().join("loop/backing_file")).ok()?;
        let name = device.file_name().into_string().ok()?;
        (Path::new(backing.trim_end()) == path).then_some(name)
    })
}

/// Who uses a device or a partition of it: mounts, swap, devices on top.
fn user_of(disk: &Device) -> Result<Option<String>, PathError> {
    let is_part = |d: &Device| d.number == disk.number || d.disk.as_deref() == Some(&disk.name);
    let parts: Vec<_> = device::list()?.into_iter().filter(is_part).collect();
    let mounts = Path::new("/proc/self/mountinfo");
    for line in fs::read_to_string(mounts).at("read", mounts)?.lines() {
        let mut words = line.split(' ').skip(2);
        let (Some(number), Some(at)) = (words.next(), words.nth(1)) else {
            continue;
        };
        let source = line.split(" - ").nth(1).and_then(|s| s.split(' ').nth(1));
        let mounted = parts.iter().find(|d| {
            number == format!("{}:{}", d.number.0, d.number.1)
                || source.is_some_and(|s| Path::new(s) == d.path())
        });
        if let Some(part) = mounted {
            return Ok(Some(format!("{} is mounted on {at}", part.name)));
        }
    }
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    for part in &parts {
        let path = part.path();
        let is_swap = |line: &str| line.split(' ').next().is_some_and(|p| Path::new(p) == path);
        if swaps.lines().any(is_swap) {
            return Ok(Some(format!("{} is swap space in use", part.name)));
        }
        let holders = Path::new("/sys/class/block")
            .join(&part.name)
            .join("holders");
        let holder = fs::read_dir(holders).ok().and_then(|mut d| d.next()?.ok());
        if let Some(holder) = holder {
            let name = holder.file_name();
            return Ok(Some(format!("{} is part of {}", part.name, name.display())));
        }
    }
    Ok(None)
}

/// Opens a device as nobody else may at the same time. udev and others look at a new device
/// for a moment, alone, too: that is waited for.
fn exclusive(path: &Path, write: bool) -> Result<File, Error> {
    let flags = i32::try_from(OFlags::EXCL.bits()).expect("O_EXCL is a small number");
    let opened = device::wait(MOMENT, || {
        let opened = OpenOptions::new()
            .read(true)
            .write(write)
            .custom_flags(flags)
            .open(path);
        let busy = |e: &std::io::Error| e.kind() == std::io::ErrorKind::ResourceBusy;
        (!opened.as_ref().is_err_and(busy)).then_some(opened)
    });
    match opened {
        None => Err(Error::Busy {
            path: path.to_owned(),
            by: "the kernel or another program has it open for itself".into(),
        }),
        Some(opened) => Ok(opened.at("open", path)?),
    }
}

/// A disk that this process alone writes.
#[derive(Debug)]
pub(super) struct Claimed {
    path: PathBuf,
    file: File,
}

impl Claimed {
    /// Opens the disk for writing, making the file if it is to be made, and locks it.
    pub(super) fn take(target: &Target) -> Result<Self, Error> {
        let path = target.path.clone();
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let file = match target.kind {
            Kind::NewFile => options.create_new(true).open(&path).at("create", &path)?,
            Kind::File => options.open(&path).at("open", &path)?,
            Kind::Device => {
                // Only to see that nobody has it: mke2fs must be able to open it alone, too.
                drop(exclusive(&path, true)?);
                options.open(&path).at("open", &path)?
            }
        };
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let by = "another program has locked it".into();
                return Err(Error::Busy { path, by });
            }
            locked => locked.at("lock", &path)?,
        }
        Ok(Self { path, file })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it an empty disk, durably: a file of zeros, a device without tables.
    pub(super) fn clear(&self, target: &Target) -> Result<(), PathError> {
        if target.kind == Kind::Device {
            let zeros = vec![0; usize_of(ALIGN)];
            for at in [0, target.size - ALIGN] {
                self.file.write_all_at(&zeros, at).at("clear", &self.path)?;
            }
        } else {
            self.file.set_len(0).at("empty", &self.path)?;
            self.file.set_len(target.size).at("enlarge", &self.path)?;
        }
        self.sync()
    }

    /// Clears both ends of a place for a file system, so that nobody takes an older one's
    /// superblock for the new one's.
    pub(super) fn forget(&self, start: u64, size: u64) -> Result<(), PathError> {
        let zeros = vec![0; usize_of(ALIGN.min(size))];
        for at in [start, start + size - zeros.len() as u64] {
            self.file.write_all_at(&zeros, at).at("clear", &self.path)?;
        }
        Ok(())
    }

    /// Makes everything written durable.
    pub(super) fn sync(&self) -> Result<(), PathError> {
        self.file.sync_all().at("sync", &self.path)
    }

    /// Lets the kernel see the new partitions. That it cannot is no failure: the disk is made.
    pub(super) fn announce(&self) {
        let _ = elea_sys::partition::reread(&self.file);
        if let Some(folder) = self.path.parent() {
            let _ = durable::sync_folder(folder);
        }
    }

    /// After a failure: a file that was made for this is removed, any other disk is left empty.
    pub(super) fn give_up(&self, target: &Target) {
        if target.kind == Kind::NewFile {
            let _ = fs::remove_file(&self.path);
        } else {
            let _ = self.clear(target);
        }
    }
}
