//! Extended attributes: prefixes, the name filter, their bytes.

use super::{ESCAPED, METACOPY, OVERLAY, REDIRECT};
use crate::digest::{Algorithm, Digest};
use crate::tree::Xattrs;
use std::borrow::Cow;
use xxhash_rust::xxh32::xxh32;

/// Seed of the name filter (`EROFS_XATTR_FILTER_SEED`).
const SEED: u32 = 0x25bb_e08f;
/// The header of an inode's attributes.
pub(super) const HEADER: usize = 12;

/// The prefixes that have a number. 5 (`lustre.`) is not used by the canonical form.
pub(super) const PREFIXES: [(u8, &[u8]); 5] = [
    (1, b"user."),
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (4, b"trusted."),
    (6, b"security."),
];

/// An attribute of an inode of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Attribute<'t> {
    /// One of the tree, escaped where it must be, or a mark.
    Plain(Plain<'t>),
    /// Where overlayfs finds a file's content, and the digest that it must have.
    Redirect(Digest),
    Metacopy(Digest),
}

/// A name and a value. The order is the one of the format: by full name, then by the length of the
/// value, then by its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Plain<'t> {
    pub(super) name: Cow<'t, [u8]>,
    pub(super) value: Cow<'t, [u8]>,
}

impl Ord for Plain<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.name
            .cmp(&other.name)
            .then(self.value.len().cmp(&other.value.len()))
            .then_with(|| self.value.cmp(&other.value))
    }
}

impl PartialOrd for Plain<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Plain<'_> {
    pub(super) fn is_acl(&self) -> bool {
        matches!(split(&self.name), (2 | 3, b""))
    }

    /// With bytes of its own.
    pub(super) fn into_owned(self) -> Plain<'static> {
        Plain {
            name: Cow::Owned(self.name.into_owned()),
            value: Cow::Owned(self.value.into_owned()),
        }
    }
}

/// The attributes of an inode of the tree as the image has them: those of overlayfs itself are escaped.
pub(super) fn escaped(xattrs: Xattrs<'_>) -> impl Iterator<Item = Plain<'_>> {
    xattrs.iter().map(|(name, value)| Plain {
        name: match name.strip_prefix(OVERLAY) {
            Some(rest) => Cow::Owned([ESCAPED, rest].concat()),
            None => Cow::Borrowed(name),
        },
        value: Cow::Borrowed(value),
    })
}

/// The number of a name's prefix, and the rest of it.
fn split(name: &[u8]) -> (u8, &[u8]) {
    PREFIXES
        .iter()
        .rev()
        .find_map(|(index, prefix)| Some((*index, name.strip_prefix(*prefix)?)))
        .unwrap_or((0, name))
}

/// The size of an attribute in the image, by the lengths of its name without prefix and value.
pub(super) fn size(suffix: usize, value: usize) -> usize {
    (4 + suffix + value).next_multiple_of(4)
}

/// What stands before the digest that a file's content must have: version, length, flags, algorithm
/// (`fs/overlayfs/overlayfs.h`, `struct ovl_metacopy`).
pub(super) fn metacopy_head(algorithm: Algorithm) -> [u8; 4] {
    let length = u8::try_from(4 + algorithm.bytes()).unwrap_or(u8::MAX);
    [0, length, 0, algorithm.number()]
}

impl Attribute<'_> {
    pub(super) fn name(&self) -> &[u8] {
        match self {
            Self::Plain(plain) => &plain.name,
            Self::Redirect(_) => REDIRECT,
            Self::Metacopy(_) => METACOPY,
        }
    }

    fn value_length(&self) -> usize {
        match self {
            Self::Plain(plain) => plain.value.len(),
            // `/ab/cdef…`
            Self::Redirect(digest) => 2 * digest.as_bytes().len() + 2,
            Self::Metacopy(digest) => 4 + digest.as_bytes().len(),
        }
    }

    /// Its size in the image, padded to 4.
    pub(super) fn size(&self) -> usize {
        size(split(self.name()).1.len(), self.value_length())
    }

    /// The bit of the filter that says "maybe here".
    pub(super) fn filter_bit(&self) -> u32 {
        let (index, suffix) = split(self.name());
        1 << (xxh32(suffix, SEED + u32::from(index)) % 32)
    }

    /// Adds its bytes in the image, padded to 4.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let (index, suffix) = split(self.name());
        out.extend([u8::try_from(suffix.len()).unwrap_or(u8::MAX), index]);
        let length = u16::try_from(self.value_length()).unwrap_or(u16::MAX);
        out.extend(length.to_le_bytes());
        out.extend_from_slice(suffix);
        match self {
            Self::Plain(plain) => out.extend_from_slice(&plain.value),
            Self::Redirect(digest) => {
                out.push(b'/');
                for (at, byte) in digest.as_bytes().iter().enumerate() {
                    if at == 1 {
                        out.push(b'/');
                    }
                    out.extend([byte >> 4, byte & 15].map(|d| b"0123456789abcdef"[usize::from(d)]));
                }
            }
            Self::Metacopy(digest) => {
                out.extend(metacopy_head(digest.algorithm()));
                out.extend_from_slice(digest.as_bytes());
            }
        }
        let size = (out.len() - start).next_multiple_of(4);
        out.resize(start + size, 0);
    }
}
