//! Paths inside a folder that is not trusted: no link and no `..` leads out of it.
//!
//! Every path is resolved by the kernel (`openat2(2)`, `RESOLVE_IN_ROOT`) as if the folder
//! were `/`, without the races that checking first and acting later has.

use crate::{At as _, PathError};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// A folder that is treated as `/`.
#[derive(Debug)]
pub struct Root {
    folder: OwnedFd,
    path: PathBuf,
}

impl Root {
    /// Opens the folder.
    pub fn open(path: &Path) -> Result<Self, PathError> {
        let folder = rustix::fs::open(
            path,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .at("open", path)?;
        Ok(Self {
            folder,
            path: path.to_owned(),
        })
    }

    /// A folder inside as one that is treated as `/` itself.
    pub fn below(&self, path: &Path) -> Result<Self, PathError> {
        let full = self.path.join(path.strip_prefix("/").unwrap_or(path));
        let folder = self
            .openat(path, OFlags::PATH | OFlags::DIRECTORY, 0)
            .at("open the folder", &full)?;
        Ok(Self { folder, path: full })
    }

    /// Where the folder is, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn openat(&self, path: &Path, flags: OFlags, mode: u32) -> rustix::io::Result<OwnedFd> {
        let relative = path.strip_prefix("/").unwrap_or(path);
        let relative = if relative.as_os_str().is_empty() {
            Path::new(".")
        } else {
            relative
        };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        // EAGAIN: something was renamed or mounted meanwhile, and the kernel cannot be sure.
        for _ in 0..32 {
            match rustix::fs::openat2(
                &self.folder,
                relative,
                flags | OFlags::CLOEXEC,
                Mode::from_raw_mode(mode),
                resolve,
            ) {
                Err(Errno::AGAIN) => {}
                result => return result,
            }
        }
        Err(Errno::AGAIN)
    }

    /// Opens a file for reading.
    pub fn file(&self, path: &Path) -> Result<File, PathError> {
        // NONBLOCK: a FIFO in an untrusted tree must not hold us.
        self.openat(path, OFlags::RDONLY | OFlags::NONBLOCK, 0)
            .map(File::from)
            .at("open", self.path.join(path))
    }

    /// Reads a regular file of at most `limit` bytes.
    pub fn read(&self, path: &Path, limit: u64) -> Result<Vec<u8>, PathError> {
        let full = self.path.join(path);
        let file = self.file(path)?;
        let kind = file.metadata().at("look at", &full)?;
        if !kind.is_file() {
            return Err(Errno::INVAL).at("read (no regular file)", &full);
        }
        // Without it, a file is read in pieces that begin with 32 bytes.
        let size = usize::try_from(kind.len().min(limit)).unwrap_or(0);
        let mut bytes = Vec::with_capacity(size + 1);
        file.take(limit + 1)
            .read_to_end(&mut bytes)
            .at("read", &full)?;
        if bytes.len() as u64 > limit {
            return Err(Errno::FBIG).at("read", &full);
        }
        Ok(bytes)
    }

    /// Whether the path leads to something.
    pub fn exists(&self, path: &Path) -> bool {
        self.openat(path, OFlags::PATH, 0).is_ok()
    }

    /// The kind of what a path leads to; a link at its end is not followed.
    pub fn kind(&self, path: &Path) -> Result<FileType, PathError> {
        let full = self.path.join(path);
        let fd = self
            .openat(path, OFlags::PATH | OFlags::NOFOLLOW, 0)
            .at("look at", &full)?;
        let status = rustix::fs::fstat(&fd).at("look at", &full)?;
        Ok(FileType::from_raw_mode(status.st_mode))
    }

    /// The names in a folder, sorted; at most `limit`.
    pub fn list(&self, path: &Path, limit: usize) -> Result<Vec<OsString>, PathError> {
        let entries = self.entries(path, limit)?;
        Ok(entries.into_iter().map(|(name, _)| name).collect())
    }

    /// The same with what each is; a link is one. [`FileType::Unknown`] where the file system does not say so in its
    /// folders.
    pub fn entries(
        &self,
        path: &Path,
        limit: usize,
    ) -> Result<Vec<(OsString, FileType)>, PathError> {
        let full = self.path.join(path);
        let fd = self
            .openat(path, OFlags::RDONLY | OFlags::DIRECTORY, 0)
            .at("list", &full)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&fd).at("list", &full)? {
            let entry = entry.at("list", &full)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if names.len() == limit {
                return Err(Errno::OVERFLOW).at("list (too many entries)", &full);
            }
            names.push((OsString::from_vec(name.to_vec()), entry.file_type()));
        }
        names.sort_by(|(a, _), (b, _)| a.as_bytes().cmp(b.as_bytes()));
        Ok(names)
    }

    /// A path that other calls of this process can use for a folder inside
    /// (`/proc/self/fd/N`), as long as the returned descriptor lives.
    pub fn folder(&self, path: &Path) -> Result<(OwnedFd, PathBuf), PathError> {
        use std::os::fd::AsRawFd as _;
        let fd = self
            .openat(path, OFlags::PATH | OFlags::DIRECTORY, 0)
            .at("open the folder", self.path.join(path))?;
        let shown = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        Ok((fd, shown))
    }

    /// The folder that holds the last name of a path, and that name.
    fn parent(&self, path: &Path) -> Result<(OwnedFd, OsString), PathError> {
        let full = self.path.join(path);
        let name = path.file_name().ok_or(Errno::INVAL).at("name", &full)?;
        let parent = path.parent().unwrap_or(Path::new(""));
        let fd = self
            .openat(parent, OFlags::PATH | OFlags::DIRECTORY, 0)
            .at("open the folder of", &full)?;
        Ok((fd, name.to_owned()))
    }

    /// Makes a folder; one that is there already is no error, anything else there is.
    pub fn create_dir(&self, path: &Path, mode: u32) -> Result<(), PathError> {
        let (parent, name) = self.parent(path)?;
        match rustix::fs::mkdirat(&parent, &name, Mode::from_raw_mode(mode)) {
            Err(Errno::EXIST) if self.kind(path)? == FileType::Directory => Ok(()),
            result => result.at("make the folder", self.path.join(path)),
        }
    }

    /// Makes a folder and those above it.
    pub fn create_dir_all(&self, path: &Path, mode: u32) -> Result<(), PathError> {
        let relative = path.strip_prefix("/").unwrap_or(path);
        let mut done = PathBuf::new();
        for name in relative {
            done.push(name);
            if self
                .openat(&done, OFlags::PATH | OFlags::DIRECTORY, 0)
                .is_err()
            {
                self.create_dir(&done, mode)?;
            }
        }
        Ok(())
    }

    /// Makes a link; its target is taken as it stands.
    pub fn symlink(&self, target: &Path, path: &Path) -> Result<(), PathError> {
        let (parent, name) = self.parent(path)?;
        rustix::fs::symlinkat(target, &parent, &name).at("make the link", self.path.join(path))
    }

    /// Removes a file or link.
    pub fn remove(&self, path: &Path) -> Result<(), PathError> {
        let (parent, name) = self.parent(path)?;
        rustix::fs::unlinkat(&parent, &name, AtFlags::empty()).at("remove", self.path.join(path))
    }

    /// Where a link leads, as it stands.
    pub fn read_link(&self, path: &Path) -> Result<PathBuf, PathError> {
        let (parent, name) = self.parent(path)?;
        let target = rustix::fs::readlinkat(&parent, &name, Vec::new());
        let target = target.at("read the link", self.path.join(path))?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    /// Makes a file that is not there yet, with this mode whatever the umask says, and brings it to the disk.
    pub fn create(&self, path: &Path, content: &[u8], mode: u32) -> Result<(), PathError> {
        let full = self.path.join(path);
        let (parent, name) = self.parent(path)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&parent, &name, flags, Mode::from_raw_mode(0o600))
            .at("create", &full)?;
        let mut file = File::from(fd);
        file.write_all(content).at("write", &full)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).at("set the mode of", &full)?;
        file.sync_all().at("sync", &full)
    }

    /// Gives something another name; what has that name is replaced only if `replace` says so.
    pub fn rename(&self, from: &Path, to: &Path, replace: bool) -> Result<(), PathError> {
        let (old, old_name) = self.parent(from)?;
        let (new, new_name) = self.parent(to)?;
        let flags = if replace {
            rustix::fs::RenameFlags::empty()
        } else {
            rustix::fs::RenameFlags::NOREPLACE
        };
        rustix::fs::renameat_with(&old, &old_name, &new, &new_name, flags)
            .at("rename", self.path.join(from))
    }

    /// Gives a file or link another name too; a link at the end of the path is not followed.
    pub fn hard_link(&self, from: &Path, to: &Path) -> Result<(), PathError> {
        let (old, old_name) = self.parent(from)?;
        let (new, new_name) = self.parent(to)?;
        rustix::fs::linkat(&old, &old_name, &new, &new_name, AtFlags::empty())
            .at("give a second name to", self.path.join(from))
    }

    /// Removes an empty folder.
    pub fn remove_dir(&self, path: &Path) -> Result<(), PathError> {
        let (parent, name) = self.parent(path)?;
        rustix::fs::unlinkat(&parent, &name, AtFlags::REMOVEDIR)
            .at("remove the folder", self.path.join(path))
    }

    /// Makes the names in a folder durable.
    pub fn sync_folder(&self, path: &Path) -> Result<(), PathError> {
        let full = self.path.join(path);
        let fd = self
            .openat(path, OFlags::RDONLY | OFlags::DIRECTORY, 0)
            .at("open the folder", &full)?;
        rustix::fs::fsync(&fd).at("sync", &full)
    }

    /// Writes a file whole and durably: a new file beside it, fsync, rename, fsync of the
    /// folder. A link at the end of the path is replaced, not followed.
    pub fn write(&self, path: &Path, content: &[u8], mode: u32) -> Result<(), PathError> {
        let full = self.path.join(path);
        let (parent, name) = self.parent(path)?;
        let mut temporary = OsString::from(".new-");
        temporary.push(&name);
        let _ = rustix::fs::unlinkat(&parent, &temporary, AtFlags::empty());
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&parent, &temporary, flags, Mode::from_raw_mode(mode))
            .at("create", &full)?;
        let mut file = File::from(fd);
        file.write_all(content).at("write", &full)?;
        file.sync_all().at("sync", &full)?;
        rustix::fs::renameat(&parent, &temporary, &parent, &name).at("rename into place", &full)?;
        let folder = rustix::fs::openat(
            &parent,
            ".",
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .at("sync the folder of", &full)?;
        rustix::fs::fsync(&folder).at("sync the folder of", &full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_link_leads_out() {
        let outside = tempfile::tempdir().unwrap();
        let inside = outside.path().join("root");
        fs::create_dir_all(inside.join("etc")).unwrap();
        fs::write(outside.path().join("secret"), "outside").unwrap();
        fs::write(inside.join("secret"), "inside").unwrap();
        symlink("../secret", inside.join("up")).unwrap();
        symlink("/secret", inside.join("abs")).unwrap();
        symlink(outside.path(), inside.join("way")).unwrap();
        symlink("/proc/self/root", inside.join("magic")).unwrap();
        let root = Root::open(&inside).unwrap();
        for name in ["up", "abs", "/abs", "../../secret", "etc/../secret"] {
            assert_eq!(
                root.read(Path::new(name), 100).unwrap(),
                b"inside",
                "{name}"
            );
        }
        assert!(root.file(Path::new("way/secret")).is_err());
        assert!(root.create_dir_all(Path::new("way/new"), 0o755).is_err());
        assert!(!outside.path().join("new").exists());
        root.write(Path::new("up"), b"new", 0o644).unwrap();
        assert_eq!(fs::read(outside.path().join("secret")).unwrap(), b"outside");
        assert_eq!(fs::read(inside.join("up")).unwrap(), b"new");
    }

    #[test]
    fn reads_are_bounded_and_of_regular_files() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        root.create_dir_all(Path::new("/a/b"), 0o755).unwrap();
        root.create_dir_all(Path::new("/a/b"), 0o755).unwrap();
        root.write(Path::new("/a/b/f"), &[7; 100], 0o600).unwrap();
        assert_eq!(root.read(Path::new("a/b/f"), 100).unwrap().len(), 100);
        assert!(root.read(Path::new("a/b/f"), 99).is_err());
        assert!(root.read(Path::new("a/b"), 99).is_err());
        let made = std::process::Command::new("mkfifo")
            .arg(dir.path().join("p"))
            .status();
        if made.is_ok_and(|s| s.success()) {
            assert!(root.read(Path::new("p"), 99).is_err());
        }
        assert_eq!(root.list(Path::new("a/b"), 1).unwrap(), ["f"]);
        assert!(root.list(Path::new("/"), 0).is_err());
        root.symlink(Path::new("f"), Path::new("a/b/l")).unwrap();
        assert_eq!(root.kind(Path::new("a/b/l")).unwrap(), FileType::Symlink);
        root.remove(Path::new("a/b/l")).unwrap();
        assert!(!root.exists(Path::new("a/b/l")));
    }
}
