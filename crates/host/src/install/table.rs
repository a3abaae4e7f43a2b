//! The partition table, written so that a power cut leaves the old one, the new one, or one
//! whole copy that firmware takes.

use super::error::Error;
use super::{Partition, Plan, Target};
use elea_sys::device::Device;
use elea_sys::{At as _, PathError};
use gpt::disk::LogicalBlockSize;
use gpt::mbr::ProtectiveMBR;
use gpt::partition_types::{OperatingSystem, Type};
use gpt::{GptConfig, GptError};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// A disk whose writes are kept in memory until [`Recorder::commit`].
#[derive(Debug)]
pub(super) struct Recorder<'a> {
    file: &'a File,
    size: u64,
    position: u64,
    /// Changed pieces by place; a later piece lies over an earlier one.
    pieces: Vec<(u64, Vec<u8>)>,
}

impl<'a> Recorder<'a> {
    pub(super) fn new(file: &'a File, size: u64) -> Self {
        Self {
            file,
            size,
            position: 0,
            pieces: Vec::new(),
        }
    }

    /// Writes what was recorded: the copy at the disk's end first and durably, then the
    /// beginning as one write.
    pub(super) fn commit(self, path: &Path) -> Result<(), PathError> {
        let half = self.size / 2;
        for (at, bytes) in self.pieces.iter().filter(|(at, _)| *at >= half) {
            self.file.write_all_at(bytes, *at).at("write", path)?;
        }
        self.file.sync_all().at("sync", path)?;
        let length = self.pieces.iter().filter(|(at, _)| *at < half);
        let length = length.map(|(at, bytes)| at + bytes.len() as u64).max();
        let mut start = vec![0; usize::try_from(length.unwrap_or(0)).unwrap_or(0)];
        self.file.read_exact_at(&mut start, 0).at("read", path)?;
        for (at, bytes) in self.pieces.iter().filter(|(at, _)| *at < half) {
            let at = usize::try_from(*at).expect("it is below the length, which was allocated");
            start[at..at + bytes.len()].copy_from_slice(bytes);
        }
        self.file.write_all_at(&start, 0).at("write", path)?;
        self.file.sync_all().at("sync", path)
    }
}

impl Read for Recorder<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.position)?;
        let end = self.position + count as u64;
        for (at, bytes) in &self.pieces {
            let from = (*at).max(self.position);
            let to = (at + bytes.len() as u64).min(end);
            if from < to {
                let within = |place: u64, base: u64| usize::try_from(place - base);
                let range = |base| -> Result<_, std::num::TryFromIntError> {
                    Ok(within(from, base)?..within(to, base)?)
                };
                let source = &bytes[range(*at).map_err(io::Error::other)?];
                buffer[range(self.position).map_err(io::Error::other)?].copy_from_slice(source);
            }
        }
        self.position = end;
        Ok(count)
    }
}

impl Write for Recorder<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.position + buffer.len() as u64 > self.size {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.pieces.push((self.position, buffer.to_vec()));
        self.position += buffer.len() as u64;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Recorder<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// The crate's name of a sector size.
pub(super) fn sector_size(bytes: u64) -> LogicalBlockSize {
    match bytes {
        4096 => LogicalBlockSize::Lb4096,
        _ => LogicalBlockSize::Lb512,
    }
}

/// The protective MBR of a disk of so many sectors.
pub(super) fn protective(sectors: u64) -> ProtectiveMBR {
    ProtectiveMBR::with_lb_size(u32::try_from(sectors - 1).unwrap_or(u32::MAX))
}

/// Writes the table of a disk that is being made, durably.
pub(super) fn write(file: &File, plan: &Plan) -> Result<(), Error> {
    let Target {
        path, size, sector, ..
    } = &plan.target;
    let failed = |reason: String| cannot("write", path, reason);
    let mut partitions = BTreeMap::new();
    for (number, partition) in (1..).zip(&plan.partitions) {
        partitions.insert(number, entry(partition, *sector).map_err(failed)?);
    }
    write_table(file, path, *size, *sector, &plan.disk_uuid, partitions)
}

/// Writes a whole table for a disk of `size` bytes: protective MBR, header and entries, and
/// their copy at the disk's end.
fn write_table(
    file: &File,
    path: &Path,
    size: u64,
    sector: u64,
    uuid: &str,
    partitions: BTreeMap<u32, gpt::partition::Partition>,
) -> Result<(), Error> {
    let failed = |e: &dyn std::fmt::Display| cannot("write", path, e.to_string());
    let uuid = uuid
        .parse()
        .map_err(|e| cannot("write", path, format!("{e}")))?;
    let mut recorder = Recorder::new(file, size);
    protective(size / sector)
        .overwrite_lba0(&mut recorder)
        .map_err(|e| failed(&e))?;
    let mut table = GptConfig::new()
        .writable(true)
        .logical_block_size(sector_size(sector))
        .create_from_device(recorder, Some(uuid))
        .map_err(|e| failed(&e))?;
    table
        .update_partitions(partitions)
        .map_err(|e| failed(&e))?;
    let recorder = table.write().map_err(|e| failed(&e))?;
    Ok(recorder.commit(path)?)
}

fn cannot(action: &'static str, path: &Path, reason: String) -> Error {
    Error::Table {
        action,
        path: path.to_owned(),
        reason,
    }
}

/// Gives the partition `part` of the disk in `file`, which has `disk` bytes, the size `size`, if it is
/// the last one and grows by `least` bytes or more; says its size as the table has it then.
/// `None` if the table cannot be used for that: another kind, a partition behind, or gaps in the
/// numbers (which the library that writes tables would close).
pub(super) fn extend(
    file: &File,
    path: &Path,
    disk: u64,
    part: &Device,
    size: u64,
    least: u64,
) -> Result<Option<u64>, Error> {
    let sector = rustix::fs::ioctl_blksszget(file).at("ask for the sector size of", path)?;
    let sector = u64::from(sector);
    let open = |recorder| {
        GptConfig::new()
            .writable(false)
            .logical_block_size(sector_size(sector))
            .open_from_device(recorder)
    };
    // A power cut in the middle of this leaves a torn beginning and a whole copy at the end:
    // what is torn is not looked at, and is written anew.
    let first = open(Recorder::new(file, disk));
    let is_torn = first
        .as_ref()
        .map_or(true, |table| table.primary_header().is_err());
    let table = first.or_else(|_| {
        let mut recorder = Recorder::new(file, disk);
        recorder.pieces.push((sector, vec![0; 512]));
        open(recorder)
    });
    let table = match table {
        Ok(table) => table,
        Err(GptError::Io(e)) if e.raw_os_error().is_some() => {
            return Err(cannot("read", path, e.to_string()));
        }
        Err(_) => return Ok(None),
    };
    let mut partitions = table.partitions().clone();
    let behind = partitions.values().map(|p| p.last_lba).max();
    let gapless = (1..).zip(partitions.keys()).all(|(n, number)| n == *number);
    let number = part.partition.unwrap_or(0);
    let is_last = |p: &&mut gpt::partition::Partition| gapless && Some(p.last_lba) == behind;
    let Some(entry) = partitions.get_mut(&number).filter(is_last) else {
        return Ok(None);
    };
    let place = |lba: u64| lba.checked_mul(sector);
    let (Some(start), Some(end)) = (
        place(entry.first_lba),
        place(entry.last_lba.saturating_add(1)),
    ) else {
        return Ok(None);
    };
    if start != part.start || end <= start {
        return Ok(None);
    }
    let listed = end - start;
    let grows = size >= listed.saturating_add(least);
    if !grows && !is_torn {
        return Ok(Some(listed));
    }
    let size = if grows { size } else { listed };
    entry.last_lba = (start + size) / sector - 1;
    write_table(
        file,
        path,
        disk,
        sector,
        &table.guid().to_string(),
        partitions,
    )?;
    Ok(Some(size))
}

fn entry(partition: &Partition, sector: u64) -> Result<gpt::partition::Partition, String> {
    let guid = partition.role.type_guid();
    Ok(gpt::partition::Partition {
        part_type_guid: Type {
            guid: guid.parse().map_err(|e| format!("{e}"))?,
            os: OperatingSystem::None,
        },
        part_guid: partition.uuid.parse().map_err(|e| format!("{e}"))?,
        first_lba: partition.start / sector,
        last_lba: (partition.start + partition.size) / sector - 1,
        flags: 0,
        name: partition.role.name().into(),
    })
}
