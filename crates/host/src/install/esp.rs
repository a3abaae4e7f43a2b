//! The EFI system partition: FAT32, written from a folder without mounting anything.

use super::error::Error;
use super::window::Window;
use fatfs::{Dir, FatType, FileSystem, FormatVolumeOptions, FsOptions};
use std::fs;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// The label, as FAT has it: eleven bytes.
const LABEL: [u8; 11] = *b"ELEA-BOOT  ";
/// Small clusters keep the folder of entries, which the firmware rewrites, in one.
const CLUSTER: u32 = 4096;

/// Formats the window and copies the folder into it. The time of every file is FAT's zero
/// (1980), so that the same content is the same partition.
pub(super) fn write(
    mut window: Window,
    folder: &Path,
    sector: u64,
    uuid: &str,
) -> Result<(), Error> {
    fill(&mut window, folder, sector, uuid).map_err(|source| Error::Boot {
        path: PathBuf::new(),
        source,
    })
}

fn fill(window: &mut Window, folder: &Path, sector: u64, uuid: &str) -> io::Result<()> {
    let id = u32::from_str_radix(uuid.get(..8).unwrap_or_default(), 16);
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .bytes_per_sector(u16::try_from(sector).map_err(io::Error::other)?)
        .bytes_per_cluster(CLUSTER)
        .volume_id(id.map_err(io::Error::other)?)
        .volume_label(LABEL);
    fatfs::format_volume(&mut *window, options)?;
    window.seek(SeekFrom::Start(0))?;
    let volume = FileSystem::new(window, FsOptions::new().update_accessed_date(false))?;
    copy(folder, &volume.root_dir())?;
    volume.unmount()
}

fn copy(folder: &Path, into: &Dir<'_, &mut Window>) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().into_string();
        let name = name.map_err(|_| io::Error::from(io::ErrorKind::InvalidFilename))?;
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &into.create_dir(&name)?)?;
        } else {
            let content = fs::read(entry.path())?;
            let mut file = into.create_file(&name)?;
            file.write_all(&content)?;
            file.flush()?;
        }
    }
    Ok(())
}
