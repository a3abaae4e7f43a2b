//! The few file operations that transactions are made of, so that the same code runs on a
//! real folder and on a model that loses power.
//!
//! Paths are relative to the disk's root and have no `.` or `..`. Nothing is durable until a
//! `sync_…` says so, save where an operation promises more.

use crate::{At as _, PathError, durable};
use rustix::fs::{Advice, CWD, RenameFlags};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Component, Path, PathBuf};

/// What stands in a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// The name, without folders.
    pub name: String,
    /// Whether it is a folder (a symbolic link is not).
    pub is_folder: bool,
}

/// A place for files: a folder of a mounted file system, or a model of one.
pub trait Disk {
    /// The whole content, which must not be more than `limit` bytes.
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, PathError>;
    /// The same, but past the page cache where that can be done: what the device holds.
    /// The file must have been synced.
    fn read_back(&self, path: &str, limit: u64) -> Result<Vec<u8>, PathError>;
    /// Makes a file that was not there and syncs its content; its name is not durable yet.
    fn write_new(&self, path: &str, content: &[u8]) -> Result<(), PathError>;
    /// Adds to the end of a file (which is made if need be) and syncs the content.
    fn append(&self, path: &str, content: &[u8]) -> Result<(), PathError>;
    /// Gives a file or folder another name, over a file that may be there.
    fn rename(&self, from: &str, to: &str) -> Result<(), PathError>;
    /// Lets two names change places in one step. Fails with [`io::ErrorKind::Unsupported`] or
    /// [`io::ErrorKind::InvalidInput`] where the kernel or the file system cannot.
    fn exchange(&self, a: &str, b: &str) -> Result<(), PathError>;
    /// Removes a file.
    fn remove(&self, path: &str) -> Result<(), PathError>;
    /// Removes a folder and all in it; not atomic.
    fn remove_folder(&self, path: &str) -> Result<(), PathError>;
    /// Makes one folder; one that is there already is fine.
    fn mkdir(&self, path: &str) -> Result<(), PathError>;
    /// What is in a folder, sorted; a missing folder is empty.
    fn list(&self, path: &str) -> Result<Vec<Name>, PathError>;
    /// The size of a file, or nothing if it is not there.
    fn size(&self, path: &str) -> Result<Option<u64>, PathError>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, path: &str) -> Result<(), PathError>;
    /// Makes everything on the file system durable.
    fn sync_all(&self) -> Result<(), PathError>;
    /// Bytes that may still be written.
    fn free(&self) -> Result<u64, PathError>;
}

/// A folder as a disk.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// A disk whose root is `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The real path; names that would lead out of the root are refused.
    fn path(&self, path: &str) -> Result<PathBuf, PathError> {
        let inside = Path::new(path)
            .components()
            .all(|c| matches!(c, Component::Normal(_)));
        if inside {
            return Ok(self.root.join(path));
        }
        Err::<(), _>(io::Error::from(io::ErrorKind::InvalidInput))
            .at("use", self.root.join(path))
            .map(|()| PathBuf::new())
    }
}

fn read_limited(file: &mut File, path: &Path, limit: u64) -> Result<Vec<u8>, PathError> {
    let size = file.metadata().at("look at", path)?.len();
    if size > limit {
        let text = format!("{size} bytes, at most {limit} are read");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text)).at("read", path);
    }
    let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(limit)
        .read_to_end(&mut content)
        .at("read", path)?;
    Ok(content)
}

impl Disk for Folder {
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, PathError> {
        let path = self.path(path)?;
        let mut file = File::open(&path).at("open", &path)?;
        read_limited(&mut file, &path, limit)
    }

    fn read_back(&self, path: &str, limit: u64) -> Result<Vec<u8>, PathError> {
        let path = self.path(path)?;
        let mut file = File::open(&path).at("open", &path)?;
        // Clean pages are dropped, so that the bytes come from the device again.
        file.sync_all().at("sync", &path)?;
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
        read_limited(&mut file, &path, limit)
    }

    fn write_new(&self, path: &str, content: &[u8]) -> Result<(), PathError> {
        let path = self.path(path)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .at("create", &path)?;
        file.write_all(content).at("write", &path)?;
        file.sync_all().at("sync", &path)
    }

    fn append(&self, path: &str, content: &[u8]) -> Result<(), PathError> {
        let path = self.path(path)?;
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .at("open", &path)?;
        file.write_all(content).at("write", &path)?;
        file.sync_all().at("sync", &path)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), PathError> {
        let (from, to) = (self.path(from)?, self.path(to)?);
        fs::rename(&from, &to).at("rename", &from)
    }

    fn exchange(&self, a: &str, b: &str) -> Result<(), PathError> {
        let (a, b) = (self.path(a)?, self.path(b)?);
        rustix::fs::renameat_with(CWD, &a, CWD, &b, RenameFlags::EXCHANGE).at("exchange", &a)
    }

    fn remove(&self, path: &str) -> Result<(), PathError> {
        let path = self.path(path)?;
        fs::remove_file(&path).at("remove", &path)
    }

    fn remove_folder(&self, path: &str) -> Result<(), PathError> {
        let path = self.path(path)?;
        fs::remove_dir_all(&path).at("remove", &path)
    }

    fn mkdir(&self, path: &str) -> Result<(), PathError> {
        let path = self.path(path)?;
        match fs::create_dir(&path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            made => made.at("create the folder", &path),
        }
    }

    fn list(&self, path: &str) -> Result<Vec<Name>, PathError> {
        let path = self.path(path)?;
        let entries = match fs::read_dir(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.at("list", &path)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.at("list", &path)?;
            let is_folder = entry.file_type().at("look at", &path)?.is_dir();
            // A name that is not UTF-8 is nobody's business here, and must not be lost either.
            let name = entry.file_name().into_string().map_err(|name| {
                let text = format!("the name {} is not UTF-8", name.display());
                io::Error::new(io::ErrorKind::InvalidData, text)
            });
            names.push(Name {
                name: name.at("list", &path)?,
                is_folder,
            });
        }
        names.sort();
        Ok(names)
    }

    fn size(&self, path: &str) -> Result<Option<u64>, PathError> {
        let path = self.path(path)?;
        match fs::metadata(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            metadata => Ok(Some(metadata.at("look at", &path)?.len())),
        }
    }

    fn sync_folder(&self, path: &str) -> Result<(), PathError> {
        durable::sync_folder(&self.path(path)?)
    }

    fn sync_all(&self) -> Result<(), PathError> {
        durable::sync_filesystem(&self.root)
    }

    fn free(&self) -> Result<u64, PathError> {
        let stat = rustix::fs::statvfs(&self.root).at("ask for the free space of", &self.root)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_does_what_transactions_need() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Folder::new(dir.path());
        disk.mkdir("a").unwrap();
        disk.mkdir("a").unwrap();
        disk.mkdir("b").unwrap();
        disk.write_new("a/x", b"one").unwrap();
        assert!(disk.write_new("a/x", b"two").is_err());
        disk.append("a/x", b" two").unwrap();
        disk.exchange("a", "b").unwrap();
        assert_eq!(disk.read_back("b/x", 7).unwrap(), b"one two");
        assert!(disk.read("b/x", 6).is_err());
        assert_eq!(disk.list("a").unwrap(), []);
        assert_eq!(disk.list("none").unwrap(), []);
        assert_eq!(disk.size("b/x").unwrap(), Some(7));
        assert_eq!(disk.size("b/y").unwrap(), None);
        disk.sync_folder("b").unwrap();
        disk.sync_all().unwrap();
        assert!(disk.free().unwrap() > 0);
        disk.remove_folder("b").unwrap();
        assert_eq!(disk.size("b/x").unwrap(), None);
    }

    #[test]
    fn no_path_leads_out() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Folder::new(dir.path().join("root"));
        std::fs::write(dir.path().join("secret"), "x").unwrap();
        for path in ["../secret", "/etc/passwd", "a/../../secret", "./x"] {
            assert!(disk.read(path, 100).is_err(), "{path}");
        }
    }
}
