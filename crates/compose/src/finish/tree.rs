//! The tree under work: every path is inside it, every owner and mode is said, not inherited.

use elea_sys::root::Root;
use elea_sys::{At as _, PathError};
use rustix::fs::{FileType, Gid, Mode, Uid};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A file of the tree that is read whole is never larger, in bytes.
const LIMIT: u64 = 256 << 20;
/// A folder of the tree never has more entries.
pub(super) const MOST_ENTRIES: usize = 1 << 20;

/// The tree. Paths are relative to it, with or without a slash before them.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: Root,
}

/// Root's and everybody's to read.
pub(super) const ROOT: (u32, u32) = (0, 0);

impl Tree {
    pub(super) fn open(path: &Path) -> Result<Self, PathError> {
        Ok(Self {
            root: Root::open(path)?,
        })
    }

    fn full(&self, path: &Path) -> PathBuf {
        self.root
            .path()
            .join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Whether there is something at the path, be it a link that leads nowhere.
    pub(super) fn has(&self, path: &str) -> bool {
        self.root.kind(Path::new(path)).is_ok()
    }

    /// The kind of what is there.
    pub(super) fn kind(&self, path: &str) -> Option<FileType> {
        self.root.kind(Path::new(path)).ok()
    }

    /// A regular file, whole; none if there is none.
    pub(super) fn read(&self, path: &str) -> Result<Option<Vec<u8>>, PathError> {
        match self.root.read(Path::new(path), LIMIT) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            result => result.map(Some),
        }
    }

    /// A text file, whole; empty if there is none.
    pub(super) fn text(&self, path: &str) -> Result<String, PathError> {
        let bytes = self.read(path)?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The names in a folder, sorted; none if there is no such folder.
    pub(super) fn names(&self, path: &str) -> Result<Vec<String>, PathError> {
        match self.root.list(Path::new(path), MOST_ENTRIES) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            result => Ok(result?
                .into_iter()
                .map(|name| name.to_string_lossy().into_owned())
                .collect()),
        }
    }

    /// A folder with this mode and owner, and root's folders above it where they are missing.
    pub(super) fn folder(&self, path: &str, mode: u32, owner: (u32, u32)) -> Result<(), PathError> {
        self.parents(path)?;
        self.root.create_dir(Path::new(path), 0o700)?;
        self.own(path, mode, owner)
    }

    fn parents(&self, path: &str) -> Result<(), PathError> {
        let relative = path.trim_start_matches('/');
        for (at, _) in relative.match_indices('/') {
            let parent = &relative[..at];
            if !self.root.exists(Path::new(parent)) {
                self.root.create_dir(Path::new(parent), 0o755)?;
                self.own(parent, 0o755, ROOT)?;
            }
        }
        Ok(())
    }

    fn own(&self, path: &str, mode: u32, owner: (u32, u32)) -> Result<(), PathError> {
        let full = self.full(Path::new(path));
        let (fd, shown) = self.parent(path)?;
        let name = Path::new(path).file_name().unwrap_or_default();
        let shown = shown.join(name);
        std::os::unix::fs::lchown(&shown, Some(owner.0), Some(owner.1)).at("own", &full)?;
        let flags = rustix::fs::AtFlags::empty();
        rustix::fs::chmodat(&fd, name, Mode::from_raw_mode(mode), flags)
            .at("set the mode of", &full)
    }

    fn parent(&self, path: &str) -> Result<(std::os::fd::OwnedFd, PathBuf), PathError> {
        let relative = path.trim_start_matches('/');
        let parent = Path::new(relative).parent().unwrap_or(Path::new(""));
        self.root.folder(parent)
    }

    /// A file of root's that all may read.
    pub(super) fn put(&self, path: &str, content: &[u8]) -> Result<(), PathError> {
        self.put_as(path, content, 0o644, ROOT)
    }

    /// A file with this mode and owner; what stood there is replaced, a link not followed.
    pub(super) fn put_as(
        &self,
        path: &str,
        content: &[u8],
        mode: u32,
        owner: (u32, u32),
    ) -> Result<(), PathError> {
        let full = self.full(Path::new(path));
        self.parents(path)?;
        let (_fd, shown) = self.parent(path)?;
        let name = Path::new(path).file_name().unwrap_or_default();
        let mut file = tempfile::Builder::new()
            .prefix(".elea-new-")
            .tempfile_in(&shown)
            .at("create", &full)?;
        file.write_all(content).at("write", &full)?;
        let handle = file.as_file();
        let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
        rustix::fs::fchown(handle, Some(uid), Some(gid)).at("own", &full)?;
        rustix::fs::fchmod(handle, Mode::from_raw_mode(mode)).at("set the mode of", &full)?;
        file.persist(shown.join(name))
            .map_err(|e| e.error)
            .at("rename into place", &full)?;
        Ok(())
    }

    /// A symbolic link; a file or link that stood there is replaced.
    pub(super) fn link(&self, target: &str, path: &str) -> Result<(), PathError> {
        self.parents(path)?;
        if self.has(path) {
            self.root.remove(Path::new(path))?;
        }
        self.root.symlink(Path::new(target), Path::new(path))
    }

    /// Removes whatever is there; nothing there is no error.
    pub(super) fn remove(&self, path: &str) -> Result<(), PathError> {
        match self.kind(path) {
            None => Ok(()),
            Some(FileType::Directory) => {
                let (_fd, shown) = self.parent(path)?;
                let name = Path::new(path).file_name().unwrap_or_default();
                fs::remove_dir_all(shown.join(name)).at("remove", self.full(Path::new(path)))
            }
            Some(_) => self.root.remove(Path::new(path)),
        }
    }

    /// Removes what is in a folder, and leaves the folder.
    pub(super) fn empty(&self, path: &str) -> Result<(), PathError> {
        for name in self
            .root
            .list(Path::new(path), MOST_ENTRIES)
            .or_else(absent)?
        {
            let inner = Path::new(path).join(&name);
            match self.root.kind(&inner)? {
                FileType::Directory => {
                    let (_fd, shown) = self.root.folder(Path::new(path))?;
                    fs::remove_dir_all(shown.join(&name)).at("remove", self.full(&inner))?;
                }
                _ => self.root.remove(&inner)?,
            }
        }
        Ok(())
    }

    /// Moves something to another place of the tree.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), PathError> {
        self.parents(to)?;
        let (_from, old) = self.parent(from)?;
        let (_to, new) = self.parent(to)?;
        let name = |path: &str| Path::new(path).file_name().unwrap_or_default().to_owned();
        fs::rename(old.join(name(from)), new.join(name(to))).at("move", self.full(Path::new(from)))
    }

    /// Mode and owner of what is there, and a link's own.
    pub(super) fn status(&self, path: &str) -> Result<(u32, u32, u32), PathError> {
        let (_fd, shown) = self.parent(path)?;
        let name = Path::new(path).file_name().unwrap_or_default();
        let meta =
            fs::symlink_metadata(shown.join(name)).at("look at", self.full(Path::new(path)))?;
        Ok((meta.mode() & 0o7777, meta.uid(), meta.gid()))
    }

    /// The target of a link.
    pub(super) fn target(&self, path: &str) -> Result<PathBuf, PathError> {
        let (_fd, shown) = self.parent(path)?;
        let name = Path::new(path).file_name().unwrap_or_default();
        fs::read_link(shown.join(name)).at("read the link", self.full(Path::new(path)))
    }
}

fn absent(error: PathError) -> Result<Vec<std::ffi::OsString>, PathError> {
    if error.kind() == std::io::ErrorKind::NotFound {
        Ok(Vec::new())
    } else {
        Err(error)
    }
}
