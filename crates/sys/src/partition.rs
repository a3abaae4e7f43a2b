//! Partitions and mounted file systems that change their size: letting the kernel know.
//!
//! Sources: `linux/fs.h` (`BLKRRPART`), `linux/blkpg.h`, `fs/ext4/ext4.h`
//! (`EXT4_IOC_RESIZE_FS`), `linux/btrfs.h` (`BTRFS_IOC_RESIZE`).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// `_IO(0x12, 95)`.
const REREAD: u64 = 0x125f;
/// `_IO(0x12, 105)`.
const BLKPG: u64 = 0x1269;
/// `BLKPG_RESIZE_PARTITION`.
const RESIZE_PARTITION: i32 = 3;
/// `_IOW('f', 16, __u64)`.
const RESIZE_EXT4: u64 = 0x4008_6610;
/// `_IOW(0x94, 3, struct btrfs_ioctl_vol_args)`.
const RESIZE_BTRFS: u64 = 0x5000_9403;

/// `struct blkpg_partition`; places in bytes.
#[repr(C)]
struct Partition {
    start: i64,
    length: i64,
    number: i32,
    device_name: [u8; 64],
    volume_name: [u8; 64],
}

/// `struct blkpg_ioctl_arg`.
#[repr(C)]
struct Change {
    operation: i32,
    flags: i32,
    length: i32,
    partition: *const Partition,
}

/// `struct btrfs_ioctl_vol_args`.
#[repr(C)]
struct Volume {
    descriptor: i64,
    name: [u8; 4088],
}

fn result(code: libc::c_int) -> io::Result<()> {
    if code < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Lets the kernel read the partition table of a whole disk again. Fails while a partition
/// of it is in use.
pub fn reread(disk: &File) -> io::Result<()> {
    // SAFETY: the request has no argument and touches no memory of this process.
    result(unsafe { libc::ioctl(disk.as_raw_fd(), REREAD as _) })
}

/// Tells the kernel that partition `number` of a whole disk, which may be in use, begins at `start` as
/// before and has `size` bytes now. The partition table itself is not touched.
pub fn resize(disk: &File, number: u32, start: u64, size: u64) -> io::Result<()> {
    let number = i32::try_from(number).map_err(io::Error::other)?;
    let partition = Partition {
        start: i64::try_from(start).map_err(io::Error::other)?,
        length: i64::try_from(size).map_err(io::Error::other)?,
        number,
        device_name: [0; 64],
        volume_name: [0; 64],
    };
    let change = Change {
        operation: RESIZE_PARTITION,
        flags: 0,
        length: i32::try_from(size_of::<Partition>()).map_err(io::Error::other)?,
        partition: &raw const partition,
    };
    // SAFETY: `change` and the partition that it points to are live and fully initialised;
    // the kernel only reads them, `length` bytes of the latter.
    result(unsafe { libc::ioctl(disk.as_raw_fd(), BLKPG as _, &raw const change) })
}

/// Grows a mounted ext4 to so many blocks. `file` is any file on it, reached by a mount that may be
/// written through.
pub fn grow_ext4(file: &File, blocks: u64) -> io::Result<()> {
    // SAFETY: the kernel reads the eight bytes of `blocks`, which is live.
    result(unsafe { libc::ioctl(file.as_raw_fd(), RESIZE_EXT4 as _, &raw const blocks) })
}

/// Grows a mounted btrfs of one device to the size of its device. `file` is any file on it,
/// reached by a mount that may be written through.
pub fn grow_btrfs(file: &File) -> io::Result<()> {
    let mut volume = Volume {
        descriptor: 0,
        name: [0; 4088],
    };
    volume.name[..3].copy_from_slice(b"max");
    // SAFETY: `volume` is a live, fully initialised `struct btrfs_ioctl_vol_args` (4096 bytes, as
    // the request number says) that the kernel only reads; the name ends in a zero.
    result(unsafe { libc::ioctl(file.as_raw_fd(), RESIZE_BTRFS as _, &raw const volume) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_numbers_are_those_of_the_headers() {
        let write =
            |kind: u64, size: usize, nr: u64| 1 << 30 | (size as u64) << 16 | kind << 8 | nr;
        assert_eq!(REREAD, 0x12 << 8 | 95);
        assert_eq!(BLKPG, 0x12 << 8 | 105);
        assert_eq!(RESIZE_EXT4, write(u64::from(b'f'), 8, 16));
        assert_eq!(RESIZE_BTRFS, write(0x94, size_of::<Volume>(), 3));
        // 64-bit: two long long, one int, two names of 64 bytes, four bytes of padding.
        assert_eq!(size_of::<Partition>(), 152);
    }

    #[test]
    fn what_is_no_disk_is_an_error() {
        let file = File::open("/proc/self/maps").unwrap();
        assert!(reread(&file).is_err());
        assert!(resize(&file, 1, 0, 4096).is_err());
        assert!(grow_ext4(&file, 1).is_err());
        assert!(grow_btrfs(&file).is_err());
    }
}
