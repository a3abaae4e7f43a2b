//! A machine without a disk: what is in the initramfs beside this program is the physical root (`elea vm`).

use crate::disk::{Disk, PHYSICAL};
use crate::error::Error;
use elea_formats::generation::MEMORY;
use elea_sys::At as _;
use elea_sys::device::Device;
use elea_sys::mount::{Attributes, bind};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Shows the folder in place of a disk's file system; it stays where the kernel unpacked it.
pub(crate) fn mount() -> Result<Disk, Error> {
    let from = Path::new("/").join(MEMORY);
    if !from.join("elea/store").is_dir() {
        return Err(Error::NoMemory);
    }
    let physical = Path::new(PHYSICAL);
    fs::create_dir_all(physical).at("create", physical)?;
    bind(&from, physical, Attributes::NO_ACCESS_TIME)?;
    let number = fs::metadata(physical).at("look at", physical)?.dev();
    Ok(Disk {
        device: Device {
            name: "memory".into(),
            number: (rustix::fs::major(number), rustix::fs::minor(number)),
            size: 0,
            partition: None,
            disk: None,
            start: 0,
            read_only: false,
        },
        uuid: String::new(),
        kind: "tmpfs".into(),
    })
}
