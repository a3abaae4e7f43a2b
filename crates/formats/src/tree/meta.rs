//! What every inode has, and what a leaf holds: as values of their own, and as they stand in a tree.

use crate::digest::Digest;
use std::collections::BTreeMap;
use std::fmt;

/// A point in time, with nanoseconds as the file system stores them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// Nanoseconds, 0 to 999,999,999.
    pub nanoseconds: u32,
}

/// What every inode has. Its attributes are a map of its own, or those of a tree ([`MetaRef`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Meta<X = BTreeMap<Vec<u8>, Vec<u8>>> {
    /// Permission bits with set-id and sticky (`0o7777`), without the file type.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Time of the last change of content.
    pub mtime: Time,
    /// Extended attributes by full name (`security.capability`).
    pub xattrs: X,
}

/// What an inode of a tree has.
pub type MetaRef<'t> = Meta<Xattrs<'t>>;

impl MetaRef<'_> {
    /// A value of its own.
    pub fn to_owned(&self) -> Meta {
        self.with(self.xattrs.to_map())
    }
}

impl<X> Meta<X> {
    /// The same with other attributes.
    pub fn with<Y>(&self, xattrs: Y) -> Meta<Y> {
        Meta {
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            mtime: self.mtime,
            xattrs,
        }
    }
}

/// What a leaf holds. Its bytes are its own, or those of a tree ([`ContentRef`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<B = Vec<u8>> {
    /// A small regular file, kept in the image itself. The empty file is always this.
    Inline(B),
    /// A regular file whose content is an object.
    Object {
        /// The object's fs-verity digest.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// A symbolic link and its target.
    Symlink(B),
    /// A block device and its number (`makedev` encoding).
    BlockDevice(u64),
    /// A character device and its number.
    CharDevice(u64),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// What a leaf of a tree holds.
pub type ContentRef<'t> = Content<&'t [u8]>;

impl<B: AsRef<[u8]>> Content<B> {
    /// The same, with bytes that stay where they are.
    pub fn as_ref(&self) -> ContentRef<'_> {
        match self {
            Self::Inline(bytes) => Content::Inline(bytes.as_ref()),
            Self::Symlink(target) => Content::Symlink(target.as_ref()),
            Self::Object { digest, size } => Content::Object {
                digest: *digest,
                size: *size,
            },
            Self::BlockDevice(number) => Content::BlockDevice(*number),
            Self::CharDevice(number) => Content::CharDevice(*number),
            Self::Fifo => Content::Fifo,
            Self::Socket => Content::Socket,
        }
    }
}

impl ContentRef<'_> {
    /// A value of its own.
    pub fn to_owned(&self) -> Content {
        self.map(<[u8]>::to_vec)
    }
}

impl<B: Copy> Content<B> {
    /// The same with other bytes.
    pub fn map<C>(&self, bytes: impl Fn(B) -> C) -> Content<C> {
        match *self {
            Self::Inline(data) => Content::Inline(bytes(data)),
            Self::Symlink(target) => Content::Symlink(bytes(target)),
            Self::Object { digest, size } => Content::Object { digest, size },
            Self::BlockDevice(number) => Content::BlockDevice(number),
            Self::CharDevice(number) => Content::CharDevice(number),
            Self::Fifo => Content::Fifo,
            Self::Socket => Content::Socket,
        }
    }
}

/// An inode that is not a directory. Hard links are several names of one leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Owner, mode, times, attributes.
    pub meta: Meta,
    /// What it holds.
    pub content: Content,
}

/// A leaf of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeafRef<'t> {
    /// Owner, mode, times, attributes.
    pub meta: MetaRef<'t>,
    /// What it holds.
    pub content: ContentRef<'t>,
}

impl LeafRef<'_> {
    /// A value of its own.
    pub fn to_owned(&self) -> Leaf {
        Leaf {
            meta: self.meta.to_owned(),
            content: self.content.to_owned(),
        }
    }
}

/// The attributes of an inode of a tree, sorted by the bytes of their names.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Xattrs<'t> {
    /// Each as: length of the name (32 bits), length of the value, name, value.
    pub(super) encoded: &'t [u8],
}

impl<'t> Xattrs<'t> {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.encoded.is_empty()
    }

    /// Each name with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&'t [u8], &'t [u8])> + use<'t> {
        let mut rest = self.encoded;
        std::iter::from_fn(move || {
            let (lengths, after) = rest.split_at_checked(8)?;
            let name = crate::table::read_u32(lengths, 0) as usize;
            let value = crate::table::read_u32(lengths, 4) as usize;
            let (name, after) = after.split_at_checked(name)?;
            let (value, after) = after.split_at_checked(value)?;
            rest = after;
            Some((name, value))
        })
    }

    /// The value of a name.
    pub fn get(&self, name: &[u8]) -> Option<&'t [u8]> {
        self.iter()
            .find_map(|(found, value)| (found == name).then_some(value))
    }

    /// A map of its own.
    pub fn to_map(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.iter()
            .map(|(name, value)| (name.to_vec(), value.to_vec()))
            .collect()
    }
}

/// As a tree keeps them.
pub(super) fn encode(xattrs: &BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in xattrs {
        for part in [name, value] {
            // What is put into a tree comes from files and archives, whose parts are bounded.
            let length = u32::try_from(part.len()).expect("a part of a tree has less than 4 GiB");
            out.extend(length.to_le_bytes());
        }
        out.extend_from_slice(name);
        out.extend_from_slice(value);
    }
    out
}

impl fmt::Debug for Xattrs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(name, value)| {
                let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
                (text(name), text(value))
            }))
            .finish()
    }
}
