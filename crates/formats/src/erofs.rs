//! The composefs EROFS image, in the canonical format "V1": bit for bit what
//! `mkcomposefs --min-version=1` writes for the same tree. "V0" is what it writes with
//! `--max-version=0`; "V2", the first format of composefs-rs, is read and not written.
//!
//! An image holds names and metadata; the content of larger files is in objects, which
//! overlayfs finds by the attributes `trusted.overlay.redirect` and
//! `trusted.overlay.metacopy`. `docs/formats/image.md` describes every field. The EROFS
//! structures are those of the Linux kernel's `fs/erofs/erofs_fs.h`.

mod attributes;
mod both;
mod inode;
mod look;
mod order;
mod read;
mod shared;
mod source;
mod write;

pub use both::{Both, read_both};
pub use look::{LookError, file};
pub use read::{ReadError, read, read_into};
pub use write::{digest, write, write_to};

use std::fmt;
use std::str::FromStr;

/// A version of the format that is written. They differ in the header and in how a directory
/// with whiteouts is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Version {
    /// For composefs before 1.0.3: `mkcomposefs --max-version=0`.
    V0,
    /// What stores, registries and signatures name.
    #[default]
    V1,
}

/// A name of no version that is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no format that images are written in: use `v1` or `v0`")]
pub struct UnknownVersion(String);

impl Version {
    /// The number in the header.
    const fn number(self) -> u32 {
        match self {
            Self::V0 => 0,
            Self::V1 => 1,
        }
    }

    /// The marks of a directory that holds a whiteout.
    fn whiteout_parent(self) -> &'static [(&'static [u8], &'static [u8])] {
        match self {
            Self::V0 => &WHITEOUT_PARENT[..2],
            Self::V1 => &WHITEOUT_PARENT,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.number())
    }
}

impl FromStr for Version {
    type Err = UnknownVersion;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "v0" => Ok(Self::V0),
            "v1" => Ok(Self::V1),
            _ => Err(UnknownVersion(s.chars().take(80).collect())),
        }
    }
}

/// Size of a block in bytes.
const BLOCK: usize = 4096;
/// Inodes stand at multiples of this; an inode's number is its place divided by it.
const SLOT: usize = 32;
const COMPACT: usize = 32;
const EXTENDED: usize = 64;
const HEADER_MAGIC: u32 = 0xd078_629a;
const SUPERBLOCK_MAGIC: u32 = 0xe0f5_e1e2;
const SUPERBLOCK: usize = 1024;
/// Right behind the superblock.
const FIRST_INODE: usize = SUPERBLOCK + 128;
/// Time stamps are modification times; attribute filters are present.
const FEATURES: u32 = 0x2 | 0x4;
/// A POSIX ACL is somewhere in the image.
const FLAG_HAS_ACL: u32 = 1;

const LAYOUT_PLAIN: u16 = 0;
const LAYOUT_INLINE: u16 = 4;
const LAYOUT_CHUNKS: u16 = 8;

const METACOPY: &[u8] = b"trusted.overlay.metacopy";
const REDIRECT: &[u8] = b"trusted.overlay.redirect";
const OVERLAY: &[u8] = b"trusted.overlay.";
const ESCAPED: &[u8] = b"trusted.overlay.overlay.";
const OPAQUE: &[u8] = b"trusted.overlay.opaque";
const SELINUX: &[u8] = b"security.selinux";
/// What stands for a whiteout that is content, on its file and on the folder that holds it.
const WHITEOUT: [(&[u8], &[u8]); 2] = [
    (b"trusted.overlay.overlay.whiteout", b""),
    (b"user.overlay.whiteout", b""),
];
/// The first two are those of V0.
const WHITEOUT_PARENT: [(&[u8], &[u8]); 4] = [
    (b"trusted.overlay.overlay.whiteouts", b""),
    (b"user.overlay.whiteouts", b""),
    (b"trusted.overlay.overlay.opaque", b"x"),
    (b"user.overlay.opaque", b"x"),
];

/// File types: of a mode (`S_IFMT`, shifted by twelve) and of a directory entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Regular,
    Directory,
    CharDevice,
    BlockDevice,
    Fifo,
    Socket,
    Symlink,
}

impl Type {
    /// The bits of `st_mode`.
    fn mode(self) -> u16 {
        match self {
            Self::Fifo => 0o010_000,
            Self::CharDevice => 0o020_000,
            Self::Directory => 0o040_000,
            Self::BlockDevice => 0o060_000,
            Self::Regular => 0o100_000,
            Self::Symlink => 0o120_000,
            Self::Socket => 0o140_000,
        }
    }

    fn of_mode(mode: u16) -> Option<Self> {
        Some(match mode & 0o170_000 {
            0o010_000 => Self::Fifo,
            0o020_000 => Self::CharDevice,
            0o040_000 => Self::Directory,
            0o060_000 => Self::BlockDevice,
            0o100_000 => Self::Regular,
            0o120_000 => Self::Symlink,
            0o140_000 => Self::Socket,
            _ => return None,
        })
    }

    /// The byte of a directory entry.
    fn entry(self) -> u8 {
        match self {
            Self::Regular => 1,
            Self::Directory => 2,
            Self::CharDevice => 3,
            Self::BlockDevice => 4,
            Self::Fifo => 5,
            Self::Socket => 6,
            Self::Symlink => 7,
        }
    }
}
