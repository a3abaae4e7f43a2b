//! Copies of what is kept: with shared blocks where the file system can.

use super::Error;
use elea_sys::{At as _, PathError};
use rustix::fs::FileType;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// How blocks are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// They are shared until one side changes.
    Reflink,
    /// They are written a second time.
    Copy,
}

/// What a thing and all below it takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Bytes on the disk.
    pub bytes: u64,
    /// Files.
    pub files: u64,
}

/// Deeper folders are not looked at.
const MAX_DEPTH: usize = 256;

/// How the file system of a folder copies: tried on two files without names.
pub(super) fn method(folder: &Path) -> Result<Method, PathError> {
    let make = || tempfile::tempfile_in(folder).at("create a file in", folder);
    let (from, to) = (make()?, make()?);
    Ok(match rustix::fs::ioctl_ficlone(&to, &from) {
        Ok(()) => Method::Reflink,
        Err(_) => Method::Copy,
    })
}

/// Copies a file, or a folder with all in it, by `cp`, which keeps owners, modes, links, times and attributes.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    let output = Command::new("cp")
        .args(["--archive", "-H", "--reflink=auto", "--one-file-system"])
        .args(["--no-target-directory", "--"])
        .args([from, to])
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .at("run", "cp")?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: String = said.trim().chars().take(2048).collect();
    Err(Error::Copy(said))
}

/// What is there, without following links; files with several names count once.
pub(crate) fn size(path: &Path) -> Result<Size, PathError> {
    let mut size = Size::default();
    let mut seen = BTreeSet::new();
    add(path, 0, &mut size, &mut seen)?;
    Ok(size)
}

fn add(
    path: &Path,
    depth: usize,
    size: &mut Size,
    seen: &mut BTreeSet<(u64, u64)>,
) -> Result<(), PathError> {
    let meta = match fs::symlink_metadata(path) {
        // What runs removes files meanwhile.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        meta => meta.at("look at", path)?,
    };
    if meta.nlink() > 1 && !meta.is_dir() && !seen.insert((meta.dev(), meta.ino())) {
        return Ok(());
    }
    size.bytes += meta.blocks() * 512;
    size.files += u64::from(FileType::from_raw_mode(meta.mode()) != FileType::Directory);
    if meta.is_dir() && depth < MAX_DEPTH {
        let entries = match fs::read_dir(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries.at("list", path)?,
        };
        for entry in entries {
            add(&entry.at("list", path)?.path(), depth + 1, size, seen)?;
        }
    }
    Ok(())
}
