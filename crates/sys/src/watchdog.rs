//! Hardware watchdogs: a timer that resets the machine unless it is pinged.
//!
//! Source: the kernel's `Documentation/watchdog/watchdog-api.rst`.

use crate::{At as _, PathError};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

/// `_IOR('W', 0, struct watchdog_info)`.
const GET_SUPPORT: u64 = 0x8028_5700;
/// `_IOR('W', 2, int)`.
const GET_BOOT_STATUS: u64 = 0x8004_5702;
/// `_IOR('W', 5, int)`.
const KEEP_ALIVE: u64 = 0x8004_5705;
/// `_IOWR('W', 6, int)`.
const SET_TIMEOUT: u64 = 0xc004_5706;
/// `WDIOF_CARDRESET`: the watchdog caused the last reset.
const CARD_RESET: libc::c_int = 0x20;

/// `struct watchdog_info`.
#[repr(C)]
struct Info {
    options: u32,
    firmware_version: u32,
    identity: [u8; 32],
}

/// An open watchdog. Dropping it leaves it running: whoever opens it next must ping it in
/// time. [`Watchdog::stop`] ends it.
#[derive(Debug)]
pub struct Watchdog {
    file: File,
    path: PathBuf,
    identity: String,
}

/// The watchdog devices of this machine by number: `/dev/watchdog0`, ….
pub fn devices() -> Vec<PathBuf> {
    let mut numbers: Vec<u32> = std::fs::read_dir("/sys/class/watchdog")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            entry
                .ok()?
                .file_name()
                .to_str()?
                .strip_prefix("watchdog")?
                .parse()
                .ok()
        })
        .collect();
    numbers.sort_unstable();
    numbers
        .into_iter()
        .map(|n| PathBuf::from(format!("/dev/watchdog{n}")))
        .collect()
}

impl Watchdog {
    /// Opens a watchdog, which starts it.
    pub fn open(path: &Path) -> Result<Self, PathError> {
        let file = OpenOptions::new()
            .write(true)
            .open(path)
            .at("open the watchdog", path)?;
        let mut info = Info {
            options: 0,
            firmware_version: 0,
            identity: [0; 32],
        };
        // SAFETY: `info` is a live `struct watchdog_info` (40 bytes, as the request number
        // says), which the kernel fills.
        let result = unsafe { libc::ioctl(file.as_raw_fd(), GET_SUPPORT as _, &raw mut info) };
        let identity = if result == 0 {
            let end = info.identity.iter().position(|b| *b == 0).unwrap_or(32);
            String::from_utf8_lossy(&info.identity[..end]).into_owned()
        } else {
            String::new()
        };
        Ok(Self {
            file,
            path: path.to_owned(),
            identity,
        })
    }

    /// What the driver calls itself, such as `i6300ESB timer`.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Asks for a time limit in seconds; gives the one that the driver took.
    pub fn set_timeout(&self, seconds: u32) -> Result<u32, PathError> {
        let wanted = libc::c_int::try_from(seconds).unwrap_or(libc::c_int::MAX);
        let taken = self
            .ioctl(SET_TIMEOUT, wanted)
            .at("set the time limit of", &self.path)?;
        Ok(u32::try_from(taken).unwrap_or(0))
    }

    /// Starts the time limit anew.
    pub fn ping(&self) -> Result<(), PathError> {
        self.ioctl(KEEP_ALIVE, 0)
            .map(drop)
            .at("ping the watchdog", &self.path)
    }

    /// Whether this watchdog caused the last reset, where its driver can tell.
    pub fn caused_reset(&self) -> Result<bool, PathError> {
        let status = self
            .ioctl(GET_BOOT_STATUS, 0)
            .at("ask the watchdog", &self.path)?;
        Ok(status & CARD_RESET != 0)
    }

    /// Ends the watchdog by its magic letter; a driver with `nowayout` goes on regardless.
    pub fn stop(mut self) -> Result<(), PathError> {
        self.file
            .write_all(b"V")
            .at("stop the watchdog", &self.path)
    }

    fn ioctl(&self, request: u64, value: libc::c_int) -> io::Result<libc::c_int> {
        let mut value = value;
        // SAFETY: each request of this file but GET_SUPPORT takes a pointer to one live int.
        let result = unsafe { libc::ioctl(self.file.as_raw_fd(), request as _, &raw mut value) };
        if result == 0 {
            Ok(value)
        } else {
            Err(io::Error::last_os_error())
        }
    }
}
