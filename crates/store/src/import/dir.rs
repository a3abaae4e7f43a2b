//! A folder as a tree.
//!
//! One thread lists names while every other core reads attributes, and the contents that are not known yet, of
//! what was listed before: a batch at a time, so that a folder of any size needs little memory. A
//! file that is replaced or written to between is noticed, since what was opened must be what was
//! looked at.

use crate::Error;
use crate::fsck::PIECE;
use crate::import::known::{self, Key, Known};
use crate::import::{WHOLE, content};
use crate::object::Writer;
use crate::store::in_parallel;
use elea_formats::digest::Algorithm;
use elea_formats::form::INLINE_LIMIT;
use elea_formats::tree::{Content, DirId, Leaf, LeafId, Meta, Node, Time, Tree};
use elea_formats::verity::{Hasher, Measured};
use elea_sys::progress::{Progress, Unit};
use elea_sys::{At as _, PathError};
use rayon::prelude::*;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The kernel's own file systems (`linux/magic.h`): their content belongs to no tree.
const KERNEL: [u64; 17] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x1cd1,      // devpts
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x7363_6673, // securityfs
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0xcafe_4a11, // bpf
    0xde5e_81e4, // efivarfs
    0x1980_0202, // mqueue
    0x9584_58f6, // hugetlbfs
    0x6265_6570, // configfs
    0x6165_676c, // pstore
    0x4249_4e4d, // binfmt_misc
    0x0187,      // autofs
    0xf97c_ff8c, // selinuxfs
];

/// How many names are listed before they are read.
const BATCH: usize = 2048;

/// What stands at a path.
#[derive(Debug)]
struct Seen<'p> {
    path: &'p Path,
    status: Stat,
}

/// A name that was listed; what it stands for is looked at later.
struct Named {
    /// The directory that has it, by the order of listing.
    parent: usize,
    path: PathBuf,
    is_directory: bool,
}

/// Some names, and what was found of directories that were opened for them.
#[derive(Default)]
struct Batch {
    names: Vec<Named>,
    /// By the order of listing.
    directories: Vec<(usize, Meta)>,
}

/// What a name stands for.
enum What {
    Directory,
    Leaf {
        leaf: Leaf,
        /// Device and inode, if it has other names.
        linked: Option<(u64, u64)>,
    },
    /// Another name of an inode that came before, by device and inode.
    Again((u64, u64)),
}

/// A directory that is still to be listed.
struct Pending {
    path: PathBuf,
    directory: usize,
}

/// A directory that is being listed.
struct Open {
    entries: Dir,
    path: PathBuf,
    directory: usize,
}

struct Listing<'a> {
    pending: Vec<Pending>,
    open: Option<Open>,
    /// How many directories were found.
    directories: usize,
    batch: Batch,
    filesystems: &'a Filesystems,
    progress: &'a dyn Progress,
}

/// What is known of a file system.
#[derive(Debug, Clone, Copy)]
struct Filesystem {
    /// Its identity, where a file's state tells its content.
    id: Option<u64>,
    /// Whether it is one of the kernel's own.
    kernels: bool,
}

/// The file systems by device.
type Filesystems = Mutex<HashMap<u64, Filesystem>>;

/// Where contents go, and what is known of them.
pub(super) struct Kept<'a> {
    pub(super) writer: &'a Writer<'a>,
    pub(super) known: &'a Known,
}

/// What reading contents needs.
struct Reader<'a> {
    /// None if their digests alone are wanted.
    kept: Option<Kept<'a>>,
    algorithm: Algorithm,
    filesystems: &'a Filesystems,
    progress: &'a dyn Progress,
}

pub(super) fn import(
    kept: Option<Kept<'_>>,
    path: &Path,
    tree: Tree,
    progress: &dyn Progress,
) -> Result<Tree, Error> {
    progress.start("import", None, Unit::Bytes);
    let filesystems = Filesystems::default();
    let reader = Reader {
        kept,
        algorithm: tree.algorithm(),
        filesystems: &filesystems,
        progress,
    };
    let mut listing = Listing::begin(path, &filesystems, progress);
    let mut growing = Growing {
        tree,
        directories: vec![DirId::ROOT],
        linked: HashMap::new(),
    };
    let mut linked = HashSet::new();
    in_parallel(|| {
        let mut batch = listing.batch()?;
        while !batch.is_empty() {
            let (next, read) = rayon::join(
                || listing.batch(),
                || reader.read_all(&batch.names, &mut linked),
            );
            growing.add(batch, read?);
            batch = next?;
        }
        Ok::<(), Error>(())
    })?;
    progress.finish();
    Ok(growing.tree)
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.names.is_empty() && self.directories.is_empty()
    }
}

/// The tree, as far as it is known.
struct Growing {
    tree: Tree,
    /// By the order of listing.
    directories: Vec<DirId>,
    linked: HashMap<(u64, u64), LeafId>,
}

impl Growing {
    /// Adds what was listed, and what each name was found to stand for.
    fn add(&mut self, batch: Batch, found: Vec<What>) {
        for (named, what) in batch.names.iter().zip(found) {
            let parent = self.directories[named.parent];
            match what {
                What::Directory => {
                    let id = self
                        .tree
                        .append_directory(parent, named.name(), &Meta::default());
                    self.directories.push(id);
                }
                What::Leaf { leaf, linked } => {
                    let id = self.tree.add_leaf(&leaf);
                    self.tree.append(parent, named.name(), Node::Leaf(id));
                    self.linked.extend(linked.map(|key| (key, id)));
                }
                What::Again(key) => {
                    if let Some(id) = self.linked.get(&key) {
                        self.tree.append(parent, named.name(), Node::Leaf(*id));
                    }
                }
            }
        }
        for (directory, meta) in batch.directories {
            self.tree.set_meta(self.directories[directory], &meta);
        }
    }
}

impl Named {
    fn name(&self) -> &[u8] {
        self.path.file_name().unwrap_or_default().as_bytes()
    }
}

impl<'p> Seen<'p> {
    fn at(path: &'p Path) -> Result<Self, Error> {
        let status = rustix::fs::lstat(path).at("look at", path)?;
        Ok(Self { path, status })
    }

    /// Device and inode.
    fn key(&self) -> (u64, u64) {
        (self.status.st_dev, self.status.st_ino)
    }
}

impl<'a> Listing<'a> {
    fn begin(path: &Path, filesystems: &'a Filesystems, progress: &'a dyn Progress) -> Self {
        Self {
            pending: vec![Pending {
                path: path.to_owned(),
                directory: 0,
            }],
            open: None,
            directories: 1,
            batch: Batch::default(),
            filesystems,
            progress,
        }
    }

    /// Begins to list a directory, unless it is of the kernel's own.
    fn open(&mut self, pending: Pending) -> Result<(), Error> {
        let Pending { path, directory } = pending;
        let mut flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // A link to a folder is meant as the folder; links below are content.
        if directory > 0 {
            flags |= OFlags::NOFOLLOW;
        }
        let folder = rustix::fs::open(&path, flags, Mode::empty()).at("open", &path)?;
        let status = rustix::fs::fstat(&folder).at("look at", &path)?;
        let device = status.st_dev;
        let known = lock(self.filesystems).get(&device).copied();
        let filesystem = match known {
            Some(known) => known,
            None => Filesystem {
                id: known::filesystem(&folder),
                kernels: is_kernels(&folder, &path)?,
            },
        };
        lock(self.filesystems).insert(device, filesystem);
        let seen = Seen {
            path: &path,
            status,
        };
        self.batch.directories.push((directory, meta(&seen)?));
        if directory > 0 && filesystem.kernels {
            return Ok(());
        }
        self.open = Some(Open {
            entries: Dir::new(folder).at("list", &path)?,
            path,
            directory,
        });
        Ok(())
    }

    /// The next names, about [`BATCH`] of them; nothing at the end.
    fn batch(&mut self) -> Result<Batch, Error> {
        while self.batch.names.len() < BATCH {
            if self.progress.cancelled() {
                return Err(Error::Cancelled);
            }
            let Some(open) = &mut self.open else {
                match self.pending.pop() {
                    Some(pending) => self.open(pending)?,
                    None => break,
                }
                continue;
            };
            let Some(entry) = open.entries.next() else {
                self.open = None;
                continue;
            };
            let entry = entry.at("list", &open.path)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let path = open.path.join(OsStr::from_bytes(name.to_bytes()));
            let kind = match entry.file_type() {
                // Not every file system says it.
                FileType::Unknown => {
                    let folder = open.entries.fd().at("list", &open.path)?;
                    let status = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
                        .at("look at", &path)?;
                    FileType::from_raw_mode(status.st_mode)
                }
                kind => kind,
            };
            let is_directory = kind == FileType::Directory;
            if is_directory {
                self.pending.push(Pending {
                    path: path.clone(),
                    directory: self.directories,
                });
                self.directories += 1;
            }
            self.batch.names.push(Named {
                parent: open.directory,
                path,
                is_directory,
            });
        }
        Ok(std::mem::take(&mut self.batch))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn is_kernels(folder: impl std::os::fd::AsFd, path: &Path) -> Result<bool, PathError> {
    let status = rustix::fs::fstatfs(folder).at("look at the file system of", path)?;
    Ok(KERNEL.contains(&(status.f_type.cast_unsigned() & 0xffff_ffff)))
}

fn meta(seen: &Seen<'_>) -> Result<Meta, Error> {
    let status = &seen.status;
    Ok(Meta {
        mode: status.st_mode & 0o7777,
        uid: status.st_uid,
        gid: status.st_gid,
        mtime: Time {
            seconds: status.st_mtime,
            nanoseconds: u32::try_from(status.st_mtime_nsec).unwrap_or(0),
        },
        xattrs: xattrs(seen.path)?,
    })
}

/// The attributes of what stands at a path, a link itself included.
fn xattrs(path: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, PathError> {
    let mut all = BTreeMap::new();
    let mut names = Vec::new();
    loop {
        let size = match rustix::fs::llistxattr_query(path) {
            Err(Errno::NOTSUP) | Ok(0) => return Ok(all),
            size => size.at("list the attributes of", path)?,
        };
        names.resize(size, 0);
        match rustix::fs::llistxattr(path, names.as_mut_slice()) {
            // They grew between.
            Err(Errno::RANGE) => {}
            size => {
                names.truncate(size.at("list the attributes of", path)?);
                break;
            }
        }
    }
    // At most what the kernel allows a value to have.
    let mut value = vec![0; 256];
    for name in names.split(|b| *b == 0).filter(|name| !name.is_empty()) {
        loop {
            match rustix::fs::lgetxattr(path, name, value.as_mut_slice()) {
                Err(Errno::RANGE) if value.len() < 1 << 16 => value.resize(1 << 16, 0),
                // Gone between, or listed and not to be read, as some of `security.` are.
                Err(Errno::NODATA | Errno::NOTSUP) => break,
                size => {
                    let size = size.at("read an attribute of", path)?;
                    all.insert(name.to_vec(), value[..size].to_vec());
                    break;
                }
            }
        }
    }
    Ok(all)
}

impl Reader<'_> {
    /// Looks at what names stand for and reads it, on every core. `linked` has the inodes with several names
    /// that came before.
    fn read_all<'n>(
        &self,
        names: &'n [Named],
        linked: &mut HashSet<(u64, u64)>,
    ) -> Result<Vec<What>, Error> {
        let look = |named: &'n Named| {
            let leaf = (!named.is_directory).then(|| Seen::at(&named.path));
            leaf.transpose()
        };
        let seen: Vec<Option<Seen<'n>>> =
            names.par_iter().map(look).collect::<Result<_, Error>>()?;
        let is_again: Vec<bool> = seen
            .iter()
            .map(|seen| {
                let several = seen.as_ref().filter(|seen| seen.status.st_nlink > 1);
                several.is_some_and(|seen| !linked.insert(seen.key()))
            })
            .collect();
        self.keep_known(seen.iter().flatten())?;
        let what = |buffer: &mut Vec<u8>, (seen, is_again): (&Option<Seen<'_>>, &bool)| {
            let Some(seen) = seen else {
                return Ok(What::Directory);
            };
            if *is_again {
                return Ok(What::Again(seen.key()));
            }
            if self.progress.cancelled() {
                return Err(Error::Cancelled);
            }
            let content = self.read(seen, buffer)?;
            let meta = meta(seen)?;
            Ok(What::Leaf {
                leaf: Leaf { meta, content },
                linked: (seen.status.st_nlink > 1).then(|| seen.key()),
            })
        };
        let seen = seen.par_iter().zip(&is_again);
        seen.map_init(Vec::new, what).collect()
    }

    fn read(&self, seen: &Seen<'_>, buffer: &mut Vec<u8>) -> Result<Content, Error> {
        let (path, status) = (seen.path, &seen.status);
        Ok(match FileType::from_raw_mode(status.st_mode) {
            FileType::RegularFile if status.st_size == 0 => Content::Inline(Vec::new()),
            FileType::RegularFile => self.find_or_read(seen, buffer)?,
            FileType::Symlink => {
                let target = rustix::fs::readlink(path, Vec::new()).at("read the link", path)?;
                Content::Symlink(target.into_bytes())
            }
            FileType::BlockDevice => Content::BlockDevice(status.st_rdev),
            FileType::CharacterDevice => Content::CharDevice(status.st_rdev),
            FileType::Fifo => Content::Fifo,
            FileType::Socket => Content::Socket,
            FileType::Directory | FileType::Unknown => {
                return Err(Error::Changed {
                    path: path.to_owned(),
                });
            }
        })
    }

    /// The key of a regular file, if its state is one that can be known.
    fn key(&self, known: &Known, seen: &Seen<'_>) -> Option<Key> {
        let filesystem = lock(self.filesystems).get(&seen.status.st_dev).copied();
        known.key(filesystem.and_then(|found| found.id), &seen.status)
    }

    /// Says that all contents are used that are known, so that what is found of them stays.
    fn keep_known<'s>(&self, seen: impl Iterator<Item = &'s Seen<'s>>) -> Result<(), Error> {
        let Some(Kept { writer, known }) = &self.kept else {
            return Ok(());
        };
        let is_file = |seen: &&Seen<'_>| {
            FileType::from_raw_mode(seen.status.st_mode) == FileType::RegularFile
        };
        let contents = seen
            .filter(is_file)
            .filter_map(|seen| known.find(&self.key(known, seen)?));
        writer.keep("object", contents)
    }

    fn find_or_read(&self, seen: &Seen<'_>, buffer: &mut Vec<u8>) -> Result<Content, Error> {
        let Some(Kept { writer, known }) = &self.kept else {
            return read_file(seen, |file| self.digest(file, seen, buffer));
        };
        let key = self.key(known, seen);
        let size = seen.status.st_size.cast_unsigned();
        if let Some(digest) = key.and_then(|key| known.find(&key))
            && writer.has(&digest, size)
        {
            self.progress.advance(size);
            return Ok(Content::Object { digest, size });
        }
        let content = read_file(seen, |file| {
            if size > WHOLE {
                self.copy(writer, file, seen, buffer)
            } else {
                content(writer, self.whole(file, seen, buffer)?)
            }
        })?;
        if let (Some(key), Content::Object { digest, .. }) = (key, &content) {
            known.learn(key, *digest);
        }
        Ok(content)
    }

    /// The content, of the size that was listed, in a buffer that serves for the next file too.
    fn whole<'b>(
        &self,
        mut file: &File,
        seen: &Seen<'_>,
        buffer: &'b mut Vec<u8>,
    ) -> Result<&'b [u8], Error> {
        let size = usize::try_from(seen.status.st_size).unwrap_or(0);
        if buffer.len() < size {
            buffer.resize(size, 0);
        }
        // That it did not grow is looked at when all is read.
        match file.read_exact(&mut buffer[..size]) {
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => {
                return Err(Error::Changed {
                    path: seen.path.to_owned(),
                });
            }
            read => read.at("read", seen.path)?,
        }
        self.progress.advance(size as u64);
        Ok(&buffer[..size])
    }

    /// What the object would be called.
    fn digest(&self, file: &File, seen: &Seen<'_>, buffer: &mut Vec<u8>) -> Result<Content, Error> {
        if seen.status.st_size.cast_unsigned() <= INLINE_LIMIT as u64 {
            return Ok(Content::Inline(self.whole(file, seen, buffer)?.to_vec()));
        }
        let mut hasher = Hasher::new(self.algorithm);
        self.pieces(file, seen, buffer, |piece| {
            hasher.update(piece);
            Ok(())
        })?;
        let Measured { digest, size, .. } = hasher.finish();
        Ok(Content::Object { digest, size })
    }

    fn copy(
        &self,
        writer: &Writer<'_>,
        file: &File,
        seen: &Seen<'_>,
        buffer: &mut Vec<u8>,
    ) -> Result<Content, Error> {
        let mut stream = writer.stream()?;
        let to = stream.path();
        self.pieces(file, seen, buffer, |piece| {
            stream.write_all(piece).at("write", &to)
        })?;
        let (digest, size) = stream.finish()?;
        Ok(Content::Object { digest, size })
    }

    fn pieces(
        &self,
        mut file: &File,
        seen: &Seen<'_>,
        buffer: &mut Vec<u8>,
        mut take: impl FnMut(&[u8]) -> Result<(), PathError>,
    ) -> Result<(), Error> {
        if buffer.len() < PIECE {
            buffer.resize(PIECE, 0);
        }
        loop {
            if self.progress.cancelled() {
                return Err(Error::Cancelled);
            }
            match file.read(&mut buffer[..PIECE]).at("read", seen.path)? {
                0 => return Ok(()),
                length => {
                    take(&buffer[..length])?;
                    self.progress.advance(length as u64);
                }
            }
        }
    }
}

/// Opens a file and reads it; it is what was listed before and afterwards.
fn read_file(
    seen: &Seen<'_>,
    read: impl FnOnce(&File) -> Result<Content, Error>,
) -> Result<Content, Error> {
    let path = seen.path;
    // NONBLOCK: a FIFO that took the file's place must not hold us.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())
        .map(File::from)
        .at("open", path)?;
    unchanged(&file, seen)?;
    let found = read(&file)?;
    unchanged(&file, seen)?;
    Ok(found)
}

/// Whether the open file is what was listed, with the content that it had then.
fn unchanged(file: &File, seen: &Seen<'_>) -> Result<(), Error> {
    let now = rustix::fs::fstat(file).at("look at", seen.path)?;
    let key = |s: &Stat| {
        (
            (s.st_dev, s.st_ino, s.st_size, s.st_mode),
            (s.st_mtime, s.st_mtime_nsec, s.st_ctime, s.st_ctime_nsec),
        )
    };
    if key(&now) == key(&seen.status) {
        return Ok(());
    }
    Err(Error::Changed {
        path: seen.path.to_owned(),
    })
}
