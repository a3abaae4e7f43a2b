//! A part of a disk as a disk of its own, so that a file system can be written into a
//! partition without a loop device.

use elea_sys::{At as _, PathError};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;

/// A window on a file or device; nothing outside of it can be read or written.
#[derive(Debug)]
pub(super) struct Window {
    file: File,
    start: u64,
    size: u64,
    position: u64,
}

impl Window {
    pub(super) fn new(file: &File, start: u64, size: u64) -> Result<Self, PathError> {
        Ok(Self {
            file: file.try_clone().at("open again", "the disk")?,
            start,
            size,
            position: 0,
        })
    }

    /// Its size in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// How much of `length` bytes fits between the position and the end.
    fn room(&self, length: usize) -> usize {
        let left = self.size.saturating_sub(self.position);
        usize::try_from(left).map_or(length, |left| left.min(length))
    }
}

impl Read for Window {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = self.room(buffer.len());
        let count = self
            .file
            .read_at(&mut buffer[..room], self.start + self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Write for Window {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let room = self.room(buffer.len());
        let count = self
            .file
            .write_at(&buffer[..room], self.start + self.position)?;
        self.position += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
        };
        self.position = position
            .filter(|at| *at <= self.size)
            .ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
