//! fs-verity of files: sealing them and asking for their digest.
//!
//! Source: the kernel's `Documentation/filesystems/fsverity.rst`; blocks of 4 KiB, no salt,
//! which is what composefs asks for.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// Why a file was not sealed or measured.
#[derive(Debug, thiserror::Error)]
pub enum VerityError {
    /// The file system or the kernel has no fs-verity, or none with the algorithm (xfs, tmpfs, ext4 without the feature).
    #[error("the file system has no fs-verity")]
    Unsupported,
    /// The file is not sealed.
    #[error("the file is not sealed by fs-verity")]
    NotSealed,
    /// The file is open for writing somewhere.
    #[error("the file is open for writing, so it cannot be sealed")]
    Busy,
    /// Anything else.
    #[error("fs-verity failed: {0}")]
    Io(#[source] io::Error),
}

/// `struct fsverity_enable_arg` of `linux/fsverity.h`.
#[repr(C)]
struct EnableArg {
    version: u32,
    hash_algorithm: u32,
    block_size: u32,
    salt_size: u32,
    salt_ptr: u64,
    sig_size: u32,
    reserved1: u32,
    sig_ptr: u64,
    reserved2: [u64; 11],
}

/// `struct fsverity_digest` with room for the longest digest.
#[repr(C)]
struct DigestArg {
    algorithm: u16,
    size: u16,
    digest: [u8; 64],
}

/// `_IOW('f', 133, struct fsverity_enable_arg)`.
const ENABLE: u64 = 0x4080_6685;
/// `_IOWR('f', 134, struct fsverity_digest)`.
const MEASURE: u64 = 0xc004_6686;

fn error(source: io::Error) -> VerityError {
    match source.raw_os_error() {
        // A kernel without the hash has no fs-verity with it.
        Some(libc::ENOTTY | libc::EOPNOTSUPP | libc::ENOPKG) => VerityError::Unsupported,
        Some(libc::ENODATA) => VerityError::NotSealed,
        Some(libc::ETXTBSY) => VerityError::Busy,
        _ => VerityError::Io(source),
    }
}

/// Seals a file that is open for reading and by nobody for writing, by the algorithm of this number
/// (`FS_VERITY_HASH_ALG_…`). `Ok(false)` if it was sealed before.
pub fn enable(file: &File, algorithm: u8) -> Result<bool, VerityError> {
    let arg = EnableArg {
        version: 1,
        hash_algorithm: algorithm.into(),
        block_size: 4096,
        salt_size: 0,
        salt_ptr: 0,
        sig_size: 0,
        reserved1: 0,
        sig_ptr: 0,
        reserved2: [0; 11],
    };
    // SAFETY: `arg` is a live, fully initialised `struct fsverity_enable_arg` (128 bytes, as
    // the request number says) that the kernel only reads; its pointers are null.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), ENABLE as _, &raw const arg) };
    if result == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        e if e.raw_os_error() == Some(libc::EEXIST) => Ok(false),
        e => Err(error(e)),
    }
}

/// The digest that the file is sealed by, of 32 bytes (SHA-256) or 64 (SHA-512). The kernel reads the
/// descriptor alone, so this tells which file it is, not that all its blocks are sound.
pub fn measure(file: &File) -> Result<Vec<u8>, VerityError> {
    let mut arg = DigestArg {
        algorithm: 0,
        size: 64,
        digest: [0; 64],
    };
    // SAFETY: `arg` is live and has `size` (64) bytes of room after the header, which is how
    // many the kernel may write.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), MEASURE as _, &raw mut arg) };
    if result != 0 {
        return Err(error(io::Error::last_os_error()));
    }
    let size = usize::from(arg.size).min(arg.digest.len());
    Ok(arg.digest[..size].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_numbers_are_those_of_the_headers() {
        let number = |direction: u64, size: usize, nr: u64| {
            direction << 30 | (size as u64) << 16 | u64::from(b'f') << 8 | nr
        };
        assert_eq!(ENABLE, number(1, size_of::<EnableArg>(), 133));
        assert_eq!(MEASURE, number(3, 4, 134));
    }

    #[test]
    fn a_file_system_without_it_says_so() {
        // procfs has none on any kernel.
        let file = File::open("/proc/self/maps").unwrap();
        assert!(matches!(measure(&file), Err(VerityError::Unsupported)));
        assert!(matches!(enable(&file, 1), Err(VerityError::Unsupported)));
    }
}
