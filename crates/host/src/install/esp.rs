//! The EFI system partition: FAT32, written from a folder without mounting anything.
//!
//! Everything is known before it is written, so each file and folder gets clusters in a row, and
//! the same content is the same partition. Source: Microsoft's "FAT32 File System Specification" 1.03,
//! to which UEFI 13.3 refers.

mod names;

use super::error::Error;
use super::window::Window;
use std::fs;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// The label, as FAT has it: eleven bytes.
const LABEL: [u8; 11] = *b"ELEA-BOOT  ";
/// Small clusters keep the folder of entries, which the firmware rewrites, in one. Bytes.
const CLUSTER: usize = 4096;
/// Sectors before the first table: boot sector, `FSInfo`, their copies, and room.
const RESERVED: u16 = 32;
/// Where the boot sector's copy stands, in sectors.
const BACKUP: u64 = 6;
/// The first cluster, which is the root's.
const ROOT: u32 = 2;
/// The mark of a chain's last cluster.
const END: u32 = 0x0fff_ffff;
/// 1 January 1980, FAT's first day: the time of every file.
const DATE: u16 = 0x0021;
/// A folder with more than this is none of ours: firmware reads it entry by entry.
const MAX_ENTRIES: usize = 4096;

const FOLDER: u8 = 0x10;
const FILE: u8 = 0x20;
const VOLUME: u8 = 0x08;

/// Formats the window, which begins at byte `start` of its disk, and copies the folder into it.
pub(super) fn write(
    mut window: Window,
    folder: &Path,
    start: u64,
    sector: u64,
    uuid: &str,
) -> Result<(), Error> {
    fill(&mut window, folder, start, sector, uuid).map_err(|source| Error::Boot {
        path: PathBuf::new(),
        source,
    })
}

/// Where everything is on the volume, in sectors of `sector` bytes.
#[derive(Debug)]
struct Geometry {
    sector: u64,
    sectors: u32,
    table: u32,
    clusters: u32,
}

impl Geometry {
    fn new(size: u64, sector: u64) -> io::Result<Self> {
        let sectors = u32::try_from(size / sector).map_err(io::Error::other)?;
        let per_cluster = CLUSTER as u64 / sector;
        // Four bytes for each cluster, and two clusters that are none; a little too long is allowed.
        let most = u64::from(sectors) / per_cluster + 2;
        let table = u32::try_from((most * 4).div_ceil(sector)).map_err(io::Error::other)?;
        let data = sectors.saturating_sub(u32::from(RESERVED) + 2 * table);
        let clusters = data / u32::try_from(per_cluster).map_err(io::Error::other)?;
        // With fewer it would be FAT16 by definition.
        if clusters < 65_525 {
            return Err(io::Error::other("the partition is too small for FAT32"));
        }
        Ok(Self {
            sector,
            sectors,
            table,
            clusters,
        })
    }

    /// Where a cluster begins, in bytes.
    fn place(&self, cluster: u32) -> u64 {
        let tables = u64::from(RESERVED) + 2 * u64::from(self.table);
        tables * self.sector + u64::from(cluster - ROOT) * CLUSTER as u64
    }

    fn boot_sector(&self, start: u64, id: u32) -> Vec<u8> {
        let mut bytes = vec![0; 512];
        let mut put = |at: usize, what: &[u8]| bytes[at..at + what.len()].copy_from_slice(what);
        put(0, &[0xeb, 0x58, 0x90]);
        put(3, b"MSWIN4.1");
        put(11, &u16::try_from(self.sector).unwrap_or(512).to_le_bytes());
        put(
            13,
            &[u8::try_from(CLUSTER as u64 / self.sector).unwrap_or(1)],
        );
        put(14, &RESERVED.to_le_bytes());
        put(16, &[2]); // tables
        put(21, &[0xf8]); // not removable
        put(24, &63_u16.to_le_bytes()); // geometry, which nobody uses
        put(26, &255_u16.to_le_bytes());
        put(
            28,
            &u32::try_from(start / self.sector)
                .unwrap_or(0)
                .to_le_bytes(),
        );
        put(32, &self.sectors.to_le_bytes());
        put(36, &self.table.to_le_bytes());
        put(44, &ROOT.to_le_bytes());
        put(48, &1_u16.to_le_bytes()); // FSInfo
        put(50, &u16::try_from(BACKUP).unwrap_or(6).to_le_bytes());
        put(64, &[0x80, 0, 0x29]);
        put(67, &id.to_le_bytes());
        put(71, &LABEL);
        put(82, b"FAT32   ");
        // Whoever starts it as a program: return to the firmware (int 18h).
        put(90, &[0xcd, 0x18]);
        put(510, &[0x55, 0xaa]);
        bytes
    }

    fn info_sector(&self, next: u32) -> Vec<u8> {
        let mut bytes = vec![0; 512];
        let mut put = |at: usize, what: &[u8]| bytes[at..at + what.len()].copy_from_slice(what);
        put(0, b"RRaA");
        put(484, b"rrAa");
        put(488, &(self.clusters - (next - ROOT)).to_le_bytes());
        put(492, &next.to_le_bytes());
        put(508, &[0, 0, 0x55, 0xaa]);
        bytes
    }
}

/// A volume that is being filled.
struct Volume<'a> {
    window: &'a mut Window,
    geometry: Geometry,
    /// The table so far; its length is the next free cluster.
    table: Vec<u32>,
}

fn fill(window: &mut Window, folder: &Path, start: u64, sector: u64, uuid: &str) -> io::Result<()> {
    let id = u32::from_str_radix(uuid.get(..8).unwrap_or_default(), 16);
    let id = id.map_err(io::Error::other)?;
    let geometry = Geometry::new(window.size(), sector)?;
    let mut volume = Volume {
        window,
        geometry,
        table: vec![0x0fff_fff8, END],
    };
    volume.folder(folder, None)?;
    volume.finish(start, id)
}

impl Volume<'_> {
    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.window.seek(SeekFrom::Start(at))?;
        self.window.write_all(bytes)
    }

    /// Takes clusters in a row for so many bytes.
    fn take(&mut self, bytes: usize) -> io::Result<u32> {
        let first = u32::try_from(self.table.len()).map_err(io::Error::other)?;
        let count = u32::try_from(bytes.div_ceil(CLUSTER)).map_err(io::Error::other)?;
        if u64::from(first) + u64::from(count) > u64::from(self.geometry.clusters + ROOT) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.table.extend(first + 1..first + count);
        self.table.extend((count > 0).then_some(END));
        Ok(first)
    }

    /// Writes a folder and what is in it; says its first cluster. `parent` is none for the root.
    fn folder(&mut self, path: &Path, parent: Option<u32>) -> io::Result<u32> {
        let mut entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        let mut all = Vec::new();
        for entry in &entries {
            let name = entry.file_name().into_string();
            all.push(name.map_err(|_| io::Error::from(io::ErrorKind::InvalidFilename))?);
        }
        let names = names::records(&all)?;
        let own = match parent {
            Some(_) => 2,
            None => 1,
        };
        let count = own + names.iter().map(|name| name.long.len() + 1).sum::<usize>();
        if count > MAX_ENTRIES {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let here = self.take(count * 32)?;
        let mut bytes = Vec::new();
        match parent {
            None => bytes.extend(record(&LABEL, VOLUME, 0, 0)),
            Some(parent) => {
                bytes.extend(record(b".          ", FOLDER, here, 0));
                // The root is cluster 0 here, whichever it is.
                let parent = if parent == ROOT { 0 } else { parent };
                bytes.extend(record(b"..         ", FOLDER, parent, 0));
            }
        }
        for (entry, name) in entries.iter().zip(names) {
            bytes.extend(name.long.into_iter().flatten());
            let is_folder = entry.file_type()?.is_dir();
            bytes.extend(if is_folder {
                record(
                    &name.short,
                    FOLDER,
                    self.folder(&entry.path(), Some(here))?,
                    0,
                )
            } else {
                let (first, size) = self.file(&entry.path())?;
                record(&name.short, FILE, first, size)
            });
        }
        bytes.resize(bytes.len().next_multiple_of(CLUSTER), 0);
        self.write(self.geometry.place(here), &bytes)?;
        Ok(here)
    }

    /// Writes a file; says its first cluster (0 if it is empty) and its size in bytes.
    fn file(&mut self, path: &Path) -> io::Result<(u32, u32)> {
        let content = fs::read(path)?;
        let size = u32::try_from(content.len()).map_err(io::Error::other)?;
        if size == 0 {
            return Ok((0, 0));
        }
        let first = self.take(content.len())?;
        self.write(self.geometry.place(first), &content)?;
        Ok((first, size))
    }

    /// Writes what comes before the clusters.
    fn finish(mut self, start: u64, id: u32) -> io::Result<()> {
        let sector = self.geometry.sector;
        let next = u32::try_from(self.table.len()).map_err(io::Error::other)?;
        let boot = self.geometry.boot_sector(start, id);
        let info = self.geometry.info_sector(next);
        let length = usize::try_from(u64::from(RESERVED) * sector).map_err(io::Error::other)?;
        let mut reserved = vec![0; length];
        for at in [0, BACKUP] {
            for (i, bytes) in [(0, &boot), (1, &info)] {
                let at = usize::try_from((at + i) * sector).map_err(io::Error::other)?;
                reserved[at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
        let length = usize::try_from(u64::from(self.geometry.table) * sector);
        let mut table: Vec<u8> = self.table.iter().flat_map(|c| c.to_le_bytes()).collect();
        table.resize(length.map_err(io::Error::other)?, 0);
        self.write(u64::from(RESERVED) * sector, &table)?;
        self.write(
            (u64::from(RESERVED) + u64::from(self.geometry.table)) * sector,
            &table,
        )?;
        // A device that is not whole is no volume: this comes last.
        self.write(0, &reserved)
    }
}

/// A directory record of 32 bytes.
fn record(name: &[u8; 11], attributes: u8, cluster: u32, size: u32) -> [u8; 32] {
    let mut bytes = [0; 32];
    let cluster = cluster.to_le_bytes();
    bytes[..11].copy_from_slice(name);
    bytes[11] = attributes;
    for at in [16, 18, 24] {
        bytes[at..at + 2].copy_from_slice(&DATE.to_le_bytes());
    }
    bytes[20..22].copy_from_slice(&cluster[2..]);
    bytes[26..28].copy_from_slice(&cluster[..2]);
    bytes[28..].copy_from_slice(&size.to_le_bytes());
    bytes
}
