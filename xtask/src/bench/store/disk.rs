//! A file system of its own for the measurements.

use super::super::measure::script;
use crate::{Result, talk};
use std::path::{Path, PathBuf};

/// ext4 as `elea install` makes it, with a journal and without discards while files go, in a file that is read and
/// written directly; with inodes for the stores of the collections.
const MAKE: &str = r#"
rm -f "$1"; fallocate -l 14G "$1"; mkfs.ext4 -q -O verity -b 4096 -i 4096 "$1"
device=$(losetup --direct-io=on --show -f "$1")
mount "$device" "$2" || { losetup -d "$device"; exit 1; }
losetup -d "$device" # When it is unmounted.
"#;
const REMOVE: &str = r#"umount "$2"; rm -f "$1""#;

/// The file system, mounted; gone with the value.
#[derive(Debug)]
pub(super) struct Disk {
    file: PathBuf,
    place: PathBuf,
}

impl Disk {
    /// Mounts one at a folder. None where that cannot be done: then the folder itself is the place.
    pub(super) fn mount(file: &Path, place: &Path) -> Result<Option<Self>> {
        super::clear(place)?;
        if let Err(e) = script(MAKE, &[file.as_os_str(), place.as_os_str()]) {
            talk::note(&format!("no file system of its own: {e}"));
            let _ = std::fs::remove_file(file);
            return Ok(None);
        }
        Ok(Some(Self {
            file: file.to_owned(),
            place: place.to_owned(),
        }))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = script(REMOVE, &[self.file.as_os_str(), self.place.as_os_str()]);
    }
}
