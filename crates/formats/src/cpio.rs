//! cpio archives in the "newc" form, as the kernel unpacks an initramfs.
//!
//! Source: the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`.
//! Reproducible: times are 0, owners are root, inode numbers are 0, entries come in the
//! order given, so the same input is the same bytes.

const MAGIC: &[u8; 6] = b"070701";

/// Writes an archive entry by entry.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

/// What a newc archive cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Sizes have 32 bits.
    #[error("{path} has {size} bytes, and a file in a cpio archive can have at most 4 GiB")]
    Size {
        /// The entry.
        path: String,
        /// Its size.
        size: u64,
    },
    /// A path that is absolute, empty, or has `..`, a zero byte or more than 4,095 bytes.
    #[error("`{0}` cannot be a path in a cpio archive")]
    Path(String),
}

/// An entry as a reader finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its path, without a leading `/`.
    pub path: &'a str,
    /// Type and permission bits.
    pub mode: u32,
    /// The content, or a link's target.
    pub content: &'a [u8],
}

impl Writer {
    /// An empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a folder; folders must come before what is in them.
    pub fn directory(&mut self, path: &str, permissions: u32) -> Result<(), Error> {
        self.entry(path, 0o040_000 | permissions, 0, &[])
    }

    /// Adds a regular file.
    pub fn file(&mut self, path: &str, permissions: u32, content: &[u8]) -> Result<(), Error> {
        self.entry(path, 0o100_000 | permissions, 0, content)
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) -> Result<(), Error> {
        self.entry(path, 0o120_777, 0, target.as_bytes())
    }

    /// Adds a character device.
    pub fn device(
        &mut self,
        path: &str,
        permissions: u32,
        device: (u32, u32),
    ) -> Result<(), Error> {
        let at = self.bytes.len();
        self.entry(path, 0o020_000 | permissions, 0, &[])?;
        // c_rdevmajor and c_rdevminor are the tenth and eleventh field of eight digits.
        let numbers = format!("{:08x}{:08x}", device.0, device.1);
        self.bytes[at + 6 + 72..at + 6 + 88].copy_from_slice(numbers.as_bytes());
        Ok(())
    }

    /// The archive as far as it was written since the last call: for those who do not want all of it in memory.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Ends the archive, padded to 512 bytes so that another may follow it.
    pub fn finish(mut self) -> Vec<u8> {
        self.put("TRAILER!!!", 0, 0, &[]);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, time: u32, content: &[u8]) -> Result<(), Error> {
        let bad = path.is_empty()
            || path.len() > 4095
            || path.contains('\0')
            || path.split('/').any(|c| matches!(c, "" | "." | ".."));
        if bad {
            return Err(Error::Path(path.chars().take(200).collect()));
        }
        if u32::try_from(content.len()).is_err() {
            return Err(Error::Size {
                path: path.to_owned(),
                size: content.len() as u64,
            });
        }
        self.put(path, mode, time, content);
        Ok(())
    }

    fn put(&mut self, path: &str, mode: u32, time: u32, content: &[u8]) {
        let fields = [
            // Numbers tell names of one file, and no file here has two (`init/initramfs.c`, `maybe_link`). If they
            // counted up, one file more would change all headers that follow.
            0,
            mode,
            0,
            0,
            1,
            time,
            u32::try_from(content.len()).expect("checked by entry"),
            0,
            0,
            0,
            0,
            u32::try_from(path.len() + 1).expect("checked by entry"),
            0,
        ];
        self.bytes.extend_from_slice(MAGIC);
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// The entries of an archive, up to its trailer; `None` where it is not one.
pub fn read(bytes: &[u8]) -> Option<Vec<Entry<'_>>> {
    let mut entries = Vec::new();
    let mut at = 0_usize;
    loop {
        let header = bytes.get(at..at.checked_add(110)?)?;
        if header[..6] != *MAGIC {
            return None;
        }
        let field = |n: usize| {
            let digits = std::str::from_utf8(&header[6 + 8 * n..14 + 8 * n]).ok()?;
            usize::from_str_radix(digits, 16).ok()
        };
        let (mode, size, name) = (field(1)?, field(6)?, field(11)?);
        let path_end = (at + 110).checked_add(name)?;
        let path = std::str::from_utf8(bytes.get(at + 110..path_end.checked_sub(1)?)?).ok()?;
        let start = path_end.next_multiple_of(4);
        let end = start.checked_add(size)?;
        if path == "TRAILER!!!" {
            return Some(entries);
        }
        entries.push(Entry {
            path,
            mode: u32::try_from(mode).ok()?,
            content: bytes.get(start..end)?,
        });
        at = end.next_multiple_of(4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    fn archive() -> Vec<u8> {
        let mut writer = Writer::new();
        writer.directory("dev", 0o755).unwrap();
        writer.device("dev/console", 0o600, (5, 1)).unwrap();
        writer.file("init", 0o755, b"#!/bin/sh\n").unwrap();
        writer.link("sbin", "usr/sbin").unwrap();
        writer.finish()
    }

    #[test]
    fn reads_back_and_refuses_bad_paths() {
        let bytes = archive();
        let entries = read(&bytes).unwrap();
        let seen: Vec<_> = entries.iter().map(|e| (e.path, e.mode)).collect();
        assert_eq!(
            seen,
            [
                ("dev", 0o040_755),
                ("dev/console", 0o020_600),
                ("init", 0o100_755),
                ("sbin", 0o120_777)
            ]
        );
        assert_eq!(entries[2].content, b"#!/bin/sh\n");
        for cut in [0, 5, 100, 115, bytes.len() - 500] {
            assert_eq!(read(&bytes[..cut]), None, "{cut}");
        }
        for path in ["", "/a", "a/../b", "a//b", "a\0"] {
            assert!(Writer::new().directory(path, 0o755).is_err(), "{path}");
        }
    }

    #[test]
    fn bsdtar_or_cpio_lists_the_same() {
        let bytes = archive();
        for (program, args) in [("bsdtar", "-tvf-"), ("cpio", "-tv")] {
            let child = Command::new(program)
                .arg(args)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn();
            let Ok(mut child) = child else {
                eprintln!("skipped: no {program}");
                continue;
            };
            child.stdin.take().unwrap().write_all(&bytes).unwrap();
            let out = child.wait_with_output().unwrap();
            let text = String::from_utf8(out.stdout).unwrap();
            assert_eq!(text.lines().count(), 4, "{text}");
            assert!(
                text.contains("crw------- ") && text.contains("-rwxr-xr-x"),
                "{text}"
            );
            assert!(
                text.contains("5,") && text.contains("sbin -> usr/sbin"),
                "{text}"
            );
        }
    }
}
