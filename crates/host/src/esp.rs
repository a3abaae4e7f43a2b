//! Finds the EFI system partition of the disk that the physical root is on.

use elea_sys::device::{self, Device};
use elea_sys::{At as _, PathError};
use std::fs;
use std::path::{Path, PathBuf};

/// Why it was not found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The root is on no block device that is known.
    #[error("cannot tell which device {} is on: is this a machine that Elea installed?", .0.display())]
    NoDevice(PathBuf),
    /// The partition table cannot be read.
    #[error("cannot read the partition table of {}: {reason}", path.display())]
    Table {
        /// The disk.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The disk has none.
    #[error("{} has no EFI system partition (type c12a7328-f81f-11d2-ba4b-00a0c93ec93b)", .0.display())]
    None(PathBuf),
}

/// The ESP beside the partition `number` (`major:minor`), or else beside the one that holds `root`.
pub fn find(number: Option<&str>, root: &Path) -> Result<Device, Error> {
    let device = match number {
        Some(number) => by_number(number)?,
        None => device::of_path(root)?,
    };
    let device = device.ok_or_else(|| Error::NoDevice(root.to_owned()))?;
    let device = below(device);
    let disk = device
        .disk
        .ok_or_else(|| Error::NoDevice(root.to_owned()))?;
    let path = Path::new("/dev").join(disk.replace('!', "/"));
    let table = |reason: String| Error::Table {
        path: path.clone(),
        reason,
    };
    let gpt = gpt::GptConfig::new()
        .writable(false)
        .open(&path)
        .map_err(|e| table(e.to_string()))?;
    let esp = gpt
        .partitions()
        .iter()
        .find(|(_, p)| p.part_type_guid == gpt::partition_types::EFI)
        .map(|(number, _)| *number)
        .ok_or_else(|| Error::None(path.clone()))?;
    let is_esp = |d: &Device| d.disk.as_deref() == Some(&disk) && d.partition == Some(esp);
    device::list()?
        .into_iter()
        .find(is_esp)
        .ok_or_else(|| Error::None(path.clone()))
}

fn by_number(number: &str) -> Result<Option<Device>, PathError> {
    let link = Path::new("/sys/dev/block").join(number);
    let folder = fs::canonicalize(&link).at("follow", &link)?;
    let name = folder.file_name().and_then(|n| n.to_str());
    Ok(name.and_then(device::named))
}

/// Below a mapped device (LUKS, LVM): the partition that it is made of.
fn below(mut device: Device) -> Device {
    for _ in 0..8 {
        let slaves = Path::new("/sys/class/block")
            .join(&device.name)
            .join("slaves");
        let Ok(entries) = fs::read_dir(&slaves) else {
            break;
        };
        let mut names = entries
            .flatten()
            .filter_map(|e| e.file_name().into_string().ok());
        match names.find_map(|n| device::named(&n)) {
            Some(lower) => device = lower,
            None => break,
        }
    }
    device
}
