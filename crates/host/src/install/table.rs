//! The partition table, written so that a power cut leaves the old one, the new one, or one
//! whole copy that firmware takes.

use super::error::Error;
use super::{Partition, Plan};
use elea_sys::{At as _, PathError};
use gpt::GptConfig;
use gpt::disk::LogicalBlockSize;
use gpt::mbr::ProtectiveMBR;
use gpt::partition_types::{OperatingSystem, Type};
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

/// Writes the whole table, durably.
pub(super) fn write(file: &File, plan: &Plan) -> Result<(), Error> {
    let path = &plan.target.path;
    let failed = |reason: String| Error::Table {
        action: "write",
        path: path.clone(),
        reason,
    };
    let sector = plan.target.sector;
    let mut partitions = BTreeMap::new();
    for (number, partition) in (1..).zip(&plan.partitions) {
        partitions.insert(number, entry(partition, sector).map_err(failed)?);
    }
    let uuid = plan.disk_uuid.parse().map_err(|e| failed(format!("{e}")))?;
    let mut recorder = Recorder::new(file, plan.target.size);
    protective(plan.target.size / sector)
        .overwrite_lba0(&mut recorder)
        .map_err(|e| failed(e.to_string()))?;
    let mut table = GptConfig::new()
        .writable(true)
        .logical_block_size(sector_size(sector))
        .create_from_device(recorder, Some(uuid))
        .map_err(|e| failed(e.to_string()))?;
    table
        .update_partitions(partitions)
        .map_err(|e| failed(e.to_string()))?;
    let recorder = table.write().map_err(|e| failed(e.to_string()))?;
    Ok(recorder.commit(path)?)
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
