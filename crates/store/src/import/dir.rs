//! A folder as a tree.
//!
//! One thread lists, then every core reads attributes, and the contents that are not known yet. A
//! file that is replaced or written to between is noticed, since what was opened must be what was
//! listed.

use crate::Error;
use crate::import::known::{self, Known};
use crate::import::{WHOLE, content};
use crate::object::Writer;
use crate::store::threads;
use elea_formats::tree::{Content, Directory, Leaf, LeafId, Meta, Node, Time, Tree};
use elea_sys::progress::{Progress, Unit};
use elea_sys::{At as _, PathError};
use rayon::prelude::*;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

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

/// What the listing found of an inode.
#[derive(Debug)]
struct Seen {
    path: PathBuf,
    status: Stat,
}

enum Child {
    Directory(usize),
    Leaf(LeafId),
}

/// A folder and the names in it.
type Folder = (Seen, Vec<(Vec<u8>, Child)>);

#[derive(Default)]
struct Listing {
    /// Parents before children; the root is the first.
    folders: Vec<Folder>,
    leaves: Vec<Seen>,
    /// Leaves that have several names, by device and inode.
    links: HashMap<(u64, u64), LeafId>,
    /// The file systems by device, where a file's state tells its content.
    filesystems: HashMap<u64, Option<u64>>,
    /// Bytes of all regular files.
    bytes: u64,
}

/// What reading contents needs.
struct Reader<'a> {
    writer: &'a Writer<'a>,
    known: &'a Known,
    filesystems: &'a HashMap<u64, Option<u64>>,
    progress: &'a dyn Progress,
}

pub(super) fn import(
    writer: &Writer<'_>,
    path: &Path,
    known: &Known,
    progress: &dyn Progress,
) -> Result<Tree, Error> {
    let listing = list(path, progress)?;
    progress.start("import", Some(listing.bytes), Unit::Bytes);
    let reader = Reader {
        writer,
        known,
        filesystems: &listing.filesystems,
        progress,
    };
    let leaf = |seen: &Seen| {
        if progress.cancelled() {
            return Err(Error::Cancelled);
        }
        let content = reader.read(seen)?;
        Ok(Leaf {
            meta: meta(seen)?,
            content,
        })
    };
    let (leaves, metas) = threads()?.install(|| {
        let leaves = listing.leaves.par_iter().map(leaf);
        let metas = listing.folders.par_iter().map(|(seen, _)| meta(seen));
        (
            leaves.collect::<Result<Vec<_>, _>>(),
            metas.collect::<Result<Vec<_>, _>>(),
        )
    });
    let (leaves, metas) = (leaves?, metas?);
    let root = nest(listing.folders, metas);
    progress.finish();
    Ok(Tree { root, leaves })
}

fn list(path: &Path, progress: &dyn Progress) -> Result<Listing, Error> {
    let mut listing = Listing::default();
    // A link to a folder is meant as the folder; links below are content.
    let status = rustix::fs::stat(path).at("look at", path)?;
    let root = Seen {
        path: path.to_owned(),
        status,
    };
    listing.folders.push((root, Vec::new()));
    let mut next = 0;
    while next < listing.folders.len() {
        if progress.cancelled() {
            return Err(Error::Cancelled);
        }
        list_folder(&mut listing, next)?;
        next += 1;
    }
    Ok(listing)
}

fn list_folder(listing: &mut Listing, index: usize) -> Result<(), Error> {
    let seen = &listing.folders[index].0;
    let (path, device) = (seen.path.clone(), seen.status.st_dev);
    let mut flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if index > 0 {
        flags |= OFlags::NOFOLLOW;
    }
    let folder = rustix::fs::open(&path, flags, Mode::empty()).at("open", &path)?;
    let status = rustix::fs::fstat(&folder).at("look at", &path)?;
    if (status.st_dev, status.st_ino) != (device, seen.status.st_ino) {
        return Err(Error::Changed { path });
    }
    if index > 0 && is_kernels(&folder, &path)? {
        return Ok(());
    }
    let filesystem = listing.filesystems.entry(device);
    filesystem.or_insert_with(|| known::filesystem(&folder));
    let mut entries = Vec::new();
    for entry in Dir::read_from(&folder).at("list", &path)? {
        let entry = entry.at("list", &path)?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let full = path.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
        let status =
            rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).at("look at", &full)?;
        let child = listing.add(Seen { path: full, status });
        entries.push((name.to_bytes().to_vec(), child));
    }
    listing.folders[index].1 = entries;
    Ok(())
}

pub(crate) fn is_kernels(folder: impl std::os::fd::AsFd, path: &Path) -> Result<bool, PathError> {
    let status = rustix::fs::fstatfs(folder).at("look at the file system of", path)?;
    Ok(KERNEL.contains(&(status.f_type.cast_unsigned() & 0xffff_ffff)))
}

impl Listing {
    fn add(&mut self, seen: Seen) -> Child {
        let status = &seen.status;
        let kind = FileType::from_raw_mode(status.st_mode);
        if kind == FileType::Directory {
            self.folders.push((seen, Vec::new()));
            return Child::Directory(self.folders.len() - 1);
        }
        let key = (status.st_dev, status.st_ino);
        let linked = status.st_nlink > 1;
        if linked && let Some(id) = self.links.get(&key) {
            return Child::Leaf(*id);
        }
        if kind == FileType::RegularFile {
            self.bytes += status.st_size.cast_unsigned();
        }
        let id = LeafId(self.leaves.len());
        if linked {
            self.links.insert(key, id);
        }
        self.leaves.push(seen);
        Child::Leaf(id)
    }
}

/// Puts folders into their parents, last first.
fn nest(folders: Vec<Folder>, metas: Vec<Meta>) -> Directory {
    let mut done: HashMap<usize, Directory> = HashMap::new();
    let all = folders.into_iter().zip(metas).enumerate();
    for (index, ((_, children), meta)) in all.collect::<Vec<_>>().into_iter().rev() {
        let entries: BTreeMap<_, _> = children
            .into_iter()
            .map(|(name, child)| {
                let node = match child {
                    Child::Leaf(id) => Node::Leaf(id),
                    Child::Directory(index) => {
                        Node::Directory(done.remove(&index).unwrap_or_default())
                    }
                };
                (name, node)
            })
            .collect();
        done.insert(index, Directory { meta, entries });
    }
    done.remove(&0).unwrap_or_default()
}

fn meta(seen: &Seen) -> Result<Meta, Error> {
    let status = &seen.status;
    Ok(Meta {
        mode: status.st_mode & 0o7777,
        uid: status.st_uid,
        gid: status.st_gid,
        mtime: Time {
            seconds: status.st_mtime,
            nanoseconds: u32::try_from(status.st_mtime_nsec).unwrap_or(0),
        },
        xattrs: xattrs(&seen.path)?,
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
    fn read(&self, seen: &Seen) -> Result<Content, Error> {
        let (path, status) = (&seen.path, &seen.status);
        Ok(match FileType::from_raw_mode(status.st_mode) {
            FileType::RegularFile if status.st_size == 0 => Content::Inline(Vec::new()),
            FileType::RegularFile => self.find_or_read(seen)?,
            FileType::Symlink => {
                let target = rustix::fs::readlink(path, Vec::new()).at("read the link", path)?;
                Content::Symlink(target.into_bytes())
            }
            FileType::BlockDevice => Content::BlockDevice(status.st_rdev),
            FileType::CharacterDevice => Content::CharDevice(status.st_rdev),
            FileType::Fifo => Content::Fifo,
            FileType::Socket => Content::Socket,
            FileType::Directory | FileType::Unknown => {
                return Err(Error::Changed { path: path.clone() });
            }
        })
    }

    fn find_or_read(&self, seen: &Seen) -> Result<Content, Error> {
        let device = self.filesystems.get(&seen.status.st_dev);
        let key = self.known.key(device.copied().flatten(), &seen.status);
        let size = seen.status.st_size.cast_unsigned();
        if let Some(digest) = key.and_then(|key| self.known.find(&key))
            && self.writer.has(&digest, size)
        {
            self.progress.advance(size);
            return Ok(Content::Object { digest, size });
        }
        let content = self.read_file(seen)?;
        if let (Some(key), Content::Object { digest, .. }) = (key, &content) {
            self.known.learn(key, *digest);
        }
        Ok(content)
    }

    fn read_file(&self, seen: &Seen) -> Result<Content, Error> {
        let path = &seen.path;
        // NONBLOCK: a FIFO that took the file's place must not hold us.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty())
            .map(File::from)
            .at("open", path)?;
        unchanged(&file, seen)?;
        let size = seen.status.st_size.cast_unsigned();
        let found = if size <= WHOLE {
            let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
            // One more than expected shows that it grew.
            (&file)
                .take(size + 1)
                .read_to_end(&mut bytes)
                .at("read", path)?;
            if bytes.len() as u64 != size {
                return Err(Error::Changed { path: path.clone() });
            }
            self.progress.advance(size);
            content(self.writer, bytes)?
        } else {
            self.copy(&file, seen)?
        };
        unchanged(&file, seen)?;
        Ok(found)
    }

    fn copy(&self, mut file: &File, seen: &Seen) -> Result<Content, Error> {
        let mut stream = self.writer.stream()?;
        let to = stream.path();
        let mut buffer = vec![0; 1 << 20];
        loop {
            if self.progress.cancelled() {
                return Err(Error::Cancelled);
            }
            match file.read(&mut buffer).at("read", &seen.path)? {
                0 => break,
                length => {
                    stream.write_all(&buffer[..length]).at("write", &to)?;
                    self.progress.advance(length as u64);
                }
            }
        }
        let (digest, size) = stream.finish()?;
        Ok(Content::Object { digest, size })
    }
}

/// Whether the open file is what was listed, with the content that it had then.
fn unchanged(file: &File, seen: &Seen) -> Result<(), Error> {
    let now = rustix::fs::fstat(file).at("look at", &seen.path)?;
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
        path: seen.path.clone(),
    })
}
