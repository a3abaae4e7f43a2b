//! Memory for much at once: parts of a file without a name, which the kernel can take back, and large pages.

use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::mm::{Advice, MapFlags, ProtFlags};
use std::fs::File;
use std::io;
use std::path::Path;
use std::ptr::NonNull;
use std::slice;
use std::sync::{Mutex, PoisonError};

/// The largest page of any Linux: parts of a file are mapped at multiples of pages.
const PAGE: usize = 64 << 10;

/// The usual size of large pages.
const LARGE_PAGE: usize = 2 << 20;

/// A file without a name, which is gone with the process at the latest.
#[derive(Debug)]
pub struct Spill {
    file: File,
    /// Bytes that were given away.
    length: Mutex<u64>,
}

impl Spill {
    /// Makes one on the file system of a folder.
    pub fn new_in(folder: &Path) -> io::Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = match rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => File::from(file),
            // Not every file system has files without names from the start.
            Err(_) => tempfile::tempfile_in(folder)?,
        };
        Ok(Self {
            file,
            length: Mutex::new(0),
        })
    }

    /// So many bytes, all zero.
    pub fn region(&self, size: usize) -> io::Result<Region> {
        let whole = size.max(1).next_multiple_of(PAGE);
        let mut length = self.length.lock().unwrap_or_else(PoisonError::into_inner);
        // What the file system has promised cannot fail at the first write to it, which is a signal.
        rustix::fs::fallocate(&self.file, FallocateFlags::empty(), *length, whole as u64)?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at a place of the kernel's choice, of a part of a file that nobody
        // else has open or mapped.
        let start = unsafe {
            let file = &self.file;
            let nowhere = std::ptr::null_mut();
            rustix::mm::mmap(nowhere, whole, protection, MapFlags::SHARED, file, *length)
        }?;
        *length += whole as u64;
        let start = NonNull::new(start.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Region { start, size, whole })
    }
}

/// So many bytes of memory, all zero: in large pages, where the kernel has them. What is read at once and used for a short
/// time costs most where each small page is touched for the first time, on virtual machines above all.
pub fn in_memory(size: usize) -> io::Result<Region> {
    // The kernel aligns a mapping that is made of whole ones (since 6.7).
    let whole = size.max(1).next_multiple_of(LARGE_PAGE);
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at a place of the kernel's choice.
    let start = unsafe {
        rustix::mm::mmap_anonymous(std::ptr::null_mut(), whole, protection, MapFlags::PRIVATE)
    }?;
    let start = NonNull::new(start.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
    let region = Region { start, size, whole };
    // SAFETY: the mapping is the region's own, and its bytes stay as they are. Without large pages it is as good.
    let _ =
        unsafe { rustix::mm::madvise(region.start.as_ptr().cast(), whole, Advice::LinuxHugepage) };
    Ok(region)
}

/// A part of a [`Spill`], which lives on without it, or memory.
#[derive(Debug)]
pub struct Region {
    start: NonNull<u8>,
    size: usize,
    whole: usize,
}

// SAFETY: the mapping is owned as a vector's bytes are, and changed through `&mut` alone.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// To read.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `size` bytes from `start` are mapped for as long as the region lives.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.size) }
    }

    /// To change.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and nobody else has the region now.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.size) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is this region's own, and nothing borrows from it any more.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.whole) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_zero_apart_and_outlive_their_file() {
        let folder = tempfile::tempdir().unwrap();
        let spill = Spill::new_in(folder.path()).unwrap();
        let mut regions: Vec<Region> = [1, 4096, 4097, 1 << 20]
            .map(|size| spill.region(size).unwrap())
            .into();
        drop(spill);
        regions.push(in_memory(3 << 20).unwrap());
        for (number, region) in (1..).zip(&mut regions) {
            assert!(region.bytes().iter().all(|byte| *byte == 0));
            region.bytes_mut().fill(number);
        }
        for (number, region) in (1..).zip(&regions) {
            assert!(region.bytes().iter().all(|byte| *byte == number));
        }
        assert_eq!(regions[2].bytes().len(), 4097);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_the_file_system_has_no_room_for_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let spill = Spill::new_in(folder.path()).unwrap();
        assert!(spill.region(1 << 50).is_err());
        assert!(spill.region(10).is_ok());
    }
}
