//! A part of a disk as a disk of its own, so that a file system can be written into a
//! partition without a loop device.

use elea_sys::{At as _, PathError};
use rustix::fs::Advice;
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
    /// Whether what is written is compared with what is there instead.
    compares: bool,
}

impl Window {
    pub(super) fn new(file: &File, start: u64, size: u64) -> Result<Self, PathError> {
        Ok(Self {
            file: file.try_clone().at("open again", "the disk")?,
            start,
            size,
            position: 0,
            compares: false,
        })
    }

    /// The same window, where writing compares: to see whether the device gives back what was
    /// written. The disk must have been synced.
    pub(super) fn comparing(file: &File, start: u64, size: u64) -> Result<Self, PathError> {
        let window = Self::new(file, start, size)?;
        // Clean pages are dropped, so that the bytes come from the device again.
        let length = std::num::NonZeroU64::new(size);
        let _ = rustix::fs::fadvise(&window.file, start, length, Advice::DontNeed);
        Ok(Self {
            compares: true,
            ..window
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
        if self.compares {
            let mut there = vec![0; room];
            self.file
                .read_exact_at(&mut there, self.start + self.position)?;
            if there != buffer[..room] {
                let text = "it reads back otherwise than it was written: the device may be failing";
                return Err(io::Error::other(text));
            }
            self.position += room as u64;
            return Ok(room);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_edges_and_compares() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[b'.'; 40], 0).unwrap();
        let mut window = Window::new(&file, 10, 20).unwrap();
        window.write_all(b"twenty bytes exactly").unwrap();
        assert!(window.write_all(b"!").is_err());
        assert!(window.seek(SeekFrom::Start(21)).is_err());
        window.seek(SeekFrom::End(-7)).unwrap();
        let mut text = String::new();
        window.read_to_string(&mut text).unwrap();
        assert_eq!(text, "exactly");
        let compare = || {
            let mut window = Window::comparing(&file, 10, 20).unwrap();
            window.write_all(b"twenty bytes exactly")
        };
        compare().unwrap();
        file.write_all_at(b"?", 29).unwrap();
        assert!(compare().unwrap_err().to_string().contains("reads back"));
        let mut all = [0; 40];
        file.read_exact_at(&mut all, 0).unwrap();
        assert_eq!(&all, b"..........twenty bytes exactl?..........");
    }
}
