//! Loop devices: an image file as a block device, for kernels whose EROFS cannot be mounted
//! from a file.
//!
//! Source: `loop(4)`; `LOOP_CONFIGURE` needs Linux 5.8.

use crate::{At as _, PathError};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

/// `_IO('L', 0x82)`.
const CTL_GET_FREE: u64 = 0x4c82;
/// `LOOP_CONFIGURE`.
const CONFIGURE: u64 = 0x4c0a;
const READ_ONLY: u32 = 1;
const AUTOCLEAR: u32 = 4;

/// `struct loop_info64` of `linux/loop.h`, the fields that are used here by name.
#[repr(C)]
struct Info {
    device_inode_rdevice_offset_limit: [u64; 5],
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

/// A loop device; it goes away by itself when this is dropped and nothing has it mounted.
#[derive(Debug)]
pub struct Loop {
    path: PathBuf,
    _device: File,
}

impl Loop {
    /// A read-only device for a file.
    pub fn read_only(image: &Path) -> Result<Self, PathError> {
        let file = File::open(image).at("open", image)?;
        let control_path = Path::new("/dev/loop-control");
        let control = OpenOptions::new()
            .read(true)
            .write(true)
            .open(control_path)
            .at("open", control_path)?;
        // Another process may take the free device first: then there is another one.
        let mut last = Ok(());
        for _ in 0..16 {
            // SAFETY: the request has no argument and touches no memory of this process.
            let number = unsafe { libc::ioctl(control.as_raw_fd(), CTL_GET_FREE as _) };
            if number < 0 {
                return Err(io::Error::last_os_error())
                    .at("get a free loop device from", control_path);
            }
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = OpenOptions::new()
                .read(true)
                .write(true)
                .open(&path)
                .at("open", &path)?;
            match configure(&device, &file) {
                Ok(()) => {
                    return Ok(Self {
                        path,
                        _device: device,
                    });
                }
                Err(e) if e.raw_os_error() == Some(libc::EBUSY) => last = Err(e),
                Err(e) => return Err(e).at("configure", &path),
            }
        }
        last.at("find a free loop device for", image)?;
        Err(io::Error::from(io::ErrorKind::ResourceBusy)).at("find a free loop device for", image)
    }

    /// `/dev/loopN`.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn configure(device: &File, file: &File) -> io::Result<()> {
    let config = Config {
        fd: u32::try_from(file.as_raw_fd()).map_err(io::Error::other)?,
        block_size: 0,
        info: Info {
            device_inode_rdevice_offset_limit: [0; 5],
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: READ_ONLY | AUTOCLEAR,
            file_name: [0; 64],
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        },
        reserved: [0; 8],
    };
    // SAFETY: `config` is a live, fully initialised `struct loop_config` (304 bytes) that the
    // kernel only reads; the descriptor in it is open during the call.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), CONFIGURE as _, &raw const config) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_reads_the_same_through_the_device() {
        assert_eq!(size_of::<Config>(), 304);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let content: Vec<u8> = (0..8192_u32)
            .map(|i| u8::try_from(i % 251).unwrap())
            .collect();
        io::Write::write_all(&mut file, &content).unwrap();
        let device = match Loop::read_only(file.path()) {
            Ok(device) => device,
            Err(e) => {
                eprintln!("skipped: no loop device ({e})");
                return;
            }
        };
        assert_eq!(std::fs::read(device.path()).unwrap(), content);
        let error = std::fs::write(device.path(), "x").unwrap_err();
        assert!(
            matches!(
                error.raw_os_error(),
                Some(libc::EPERM | libc::EACCES | libc::EROFS)
            ),
            "{error}"
        );
    }
}
