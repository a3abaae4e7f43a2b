//! One entry of one side, without following symbolic links.

use crate::Error;
use elea_sys::At;
use rustix::fs::{FileType, major, minor};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File { size: u64 },
    Symlink(Vec<u8>),
    Device { block: bool, number: u64 },
    Fifo,
    Socket,
    Whiteout,
}

impl Kind {
    /// The word for messages.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Directory => "a folder",
            Self::File { .. } => "a file",
            Self::Symlink(_) => "a link",
            Self::Device { .. } => "a device",
            Self::Fifo => "a pipe",
            Self::Socket => "a socket",
            Self::Whiteout => "removed",
        }
    }

    pub(crate) fn same_type(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// Owner, mode and attributes: the aspects that merge apart from the content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// An entry and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
    pub(crate) attributes: Attributes,
    /// A folder that hides the one below it.
    pub(crate) opaque: bool,
}

const OPAQUE: &[u8] = b"trusted.overlay.opaque";

impl Entry {
    /// Reads an entry; `None` where there is none.
    pub(crate) fn load(path: &Path) -> Result<Option<Self>, Error> {
        let stat = match rustix::fs::lstat(path) {
            Ok(stat) => stat,
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
            Err(e) => Err(e).at("read", path)?,
        };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Kind::Directory,
            FileType::RegularFile => Kind::File {
                size: u64::try_from(stat.st_size).unwrap_or_default(),
            },
            FileType::Symlink => Kind::Symlink(
                std::fs::read_link(path)
                    .at("read the link", path)?
                    .as_os_str()
                    .as_bytes()
                    .to_vec(),
            ),
            FileType::CharacterDevice if major(stat.st_rdev) == 0 && minor(stat.st_rdev) == 0 => {
                Kind::Whiteout
            }
            FileType::CharacterDevice => Kind::Device {
                block: false,
                number: stat.st_rdev,
            },
            FileType::BlockDevice => Kind::Device {
                block: true,
                number: stat.st_rdev,
            },
            FileType::Fifo => Kind::Fifo,
            _ => Kind::Socket,
        };
        let mut xattrs = xattrs(path)?;
        let opaque = xattrs.get(OPAQUE).is_some_and(|v| v == b"y" || v == b"x");
        xattrs.retain(|name, _| !name.starts_with(b"trusted.overlay."));
        Ok(Some(Self {
            path: path.to_owned(),
            kind,
            attributes: Attributes {
                mode: stat.st_mode & 0o7777,
                uid: stat.st_uid,
                gid: stat.st_gid,
                xattrs,
            },
            opaque,
        }))
    }

    /// The entry at a path below `root`, where every folder above it is a real folder: a link
    /// in the way belongs to one side only and must not lead the other one elsewhere.
    pub(crate) fn below(root: &Path, path: &[u8]) -> Result<Option<Self>, Error> {
        let mut here = root.to_owned();
        let mut found = Self::load(&here)?;
        for part in path.split(|b| *b == b'/').filter(|part| !part.is_empty()) {
            match &found {
                Some(entry) if entry.kind == Kind::Directory => here.push(OsStr::from_bytes(part)),
                _ => return Ok(None),
            }
            found = Self::load(&here)?;
        }
        Ok(found.filter(|entry| entry.kind != Kind::Whiteout))
    }

    /// Whether two entries hold the same: type, and bytes, target or device number. Folders
    /// always do: their entries are compared by themselves.
    pub(crate) fn same_content(&self, other: &Self) -> Result<bool, Error> {
        match (&self.kind, &other.kind) {
            (Kind::File { size: a }, Kind::File { size: b }) => {
                Ok(a == b && same_bytes(&self.path, &other.path)?)
            }
            (a, b) => Ok(a == b),
        }
    }

    /// Whether nothing at all differs.
    pub(crate) fn same(&self, other: &Self) -> Result<bool, Error> {
        // The permission bits of a link mean nothing and differ between file systems.
        let same_attributes = if matches!(self.kind, Kind::Symlink(_)) {
            (self.attributes.uid, self.attributes.gid)
                == (other.attributes.uid, other.attributes.gid)
        } else {
            self.attributes == other.attributes
        };
        Ok(same_attributes && self.same_content(other)?)
    }

    /// Whether nothing differs in two whole subtrees.
    pub(crate) fn same_below(&self, other: &Self) -> Result<bool, Error> {
        if !self.same(other)? {
            return Ok(false);
        }
        if self.kind != Kind::Directory {
            return Ok(true);
        }
        let (ours, theirs) = (names(&self.path)?, names(&other.path)?);
        if ours != theirs {
            return Ok(false);
        }
        for name in ours {
            let name = OsStr::from_bytes(&name);
            let sides = (
                Self::load(&self.path.join(name))?,
                Self::load(&other.path.join(name))?,
            );
            if let (Some(a), Some(b)) = sides
                && !a.same_below(&b)?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The names in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Result<Vec<Vec<u8>>, Error> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).at("list", folder)? {
        names.push(entry.at("list", folder)?.file_name().as_bytes().to_vec());
    }
    names.sort();
    Ok(names)
}

fn same_bytes(a: &Path, b: &Path) -> Result<bool, Error> {
    let mut left = std::fs::File::open(a).at("open", a)?;
    let mut right = std::fs::File::open(b).at("open", b)?;
    let (mut one, mut two) = (vec![0; 65536], vec![0; 65536]);
    loop {
        let n = left.read(&mut one).at("read", a)?;
        if n == 0 {
            return Ok(right.read(&mut two[..1]).at("read", b)? == 0);
        }
        if right.read_exact(&mut two[..n]).is_err() || one[..n] != two[..n] {
            return Ok(false);
        }
    }
}

fn xattrs(path: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Error> {
    let mut found = BTreeMap::new();
    // The kernel's own limit for a list and for a value.
    let mut list = vec![0; 65536];
    let length = match rustix::fs::llistxattr(path, &mut list[..]) {
        Ok(length) => length,
        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(found),
        Err(e) => Err(e).at("list the attributes of", path)?,
    };
    let mut value = vec![0; 65536];
    for name in list[..length].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        match rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value[..]) {
            Ok(n) => {
                found.insert(name.to_vec(), value[..n].to_vec());
            }
            Err(rustix::io::Errno::NODATA) => {}
            Err(e) => Err(e).at("read an attribute of", path)?,
        }
    }
    Ok(found)
}
