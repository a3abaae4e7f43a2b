//! An image where it stands: inodes, attributes and folders, each checked against the image's bounds.

use super::attributes::{HEADER as ATTRIBUTES_HEADER, PREFIXES, metacopy_head};
use super::read::ReadError;
use super::{
    BLOCK, COMPACT, EXTENDED, HEADER_MAGIC, LAYOUT_INLINE, LAYOUT_PLAIN, SLOT, SUPERBLOCK,
    SUPERBLOCK_MAGIC, Type, Version,
};
use crate::digest::{Algorithm, Digest};
use crate::tree::Time;
use std::ops::Range;

/// A prefix that the canonical form does not use, and V2 does.
const LUSTRE: (u8, &[u8]) = (5, b"lustre.");

/// The longest target of a link, in bytes.
pub(super) const MAX_TARGET: usize = 4095;

pub(super) fn invalid(what: &'static str, value: &dyn std::fmt::Display) -> ReadError {
    ReadError::Invalid {
        what,
        value: value.to_string(),
    }
}

/// What the kernel takes as the target of a link (`PATH_MAX` with its end).
pub(super) fn target(target: &[u8]) -> Result<&[u8], ReadError> {
    if target.is_empty() || target.len() > MAX_TARGET || target.contains(&0) {
        let start = &target[..target.len().min(40)];
        let value = format!("{} bytes, `{}`", target.len(), start.escape_ascii());
        return Err(invalid("link's target", &value));
    }
    Ok(target)
}

/// An image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    image: &'a [u8],
    /// None is V2: no stubs, no escaped whiteouts, one more attribute prefix.
    pub(super) version: Option<Version>,
    /// The number of the root's inode.
    pub(super) root: u64,
    time: Time,
    attributes_at: usize,
}

/// An inode, without what its attributes and its content are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Type,
    pub(super) layout: u16,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Time,
    pub(super) links: u32,
    pub(super) size: u64,
    /// The block where its content begins, or the number of its device.
    pub(super) number: u32,
    attributes: Range<usize>,
}

/// A name in a directory, and the number of its inode.
pub(super) type Entry<'a> = (&'a [u8], u64);

/// An attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Raw<'a> {
    index: u8,
    suffix: &'a [u8],
    /// Its value.
    pub(super) value: &'a [u8],
}

impl Raw<'_> {
    /// The bytes that it takes.
    pub(super) fn size(&self) -> usize {
        4 + self.suffix.len() + self.value.len()
    }

    /// Its whole name.
    pub(super) fn name(&self, version: Option<Version>) -> Result<Vec<u8>, ReadError> {
        let prefix = match PREFIXES.iter().find(|(number, _)| *number == self.index) {
            Some((_, prefix)) => *prefix,
            None if self.index == 0 => b"",
            None if self.index == LUSTRE.0 && version.is_none() => LUSTRE.1,
            None => return Err(invalid("attribute prefix", &self.index)),
        };
        let name = [prefix, self.suffix].concat();
        if name.is_empty() || name.contains(&0) {
            return Err(invalid("attribute name", &self.suffix.escape_ascii()));
        }
        Ok(name)
    }

    /// The object that it names, if it is the overlay's attribute of a file whose content is one.
    pub(super) fn object(&self) -> Option<Digest> {
        if self.index != 4 || self.suffix != b"overlay.metacopy" {
            return None;
        }
        object(self.value)
    }
}

/// The object that the value of the metacopy attribute names.
pub(super) fn object(value: &[u8]) -> Option<Digest> {
    Algorithm::ALL
        .into_iter()
        .find_map(|algorithm| algorithm.digest(value.strip_prefix(&metacopy_head(algorithm))?))
}

impl<'a> Source<'a> {
    /// Looks at its header and superblock.
    pub(super) fn open(image: &'a [u8]) -> Result<Self, ReadError> {
        let header = Fields::at(image, 0, 32, "header")?;
        if header.u32(0) != HEADER_MAGIC || header.u32(4) != 1 {
            return Err(invalid("header", &format!("{:#x}", header.u32(0))));
        }
        let version = match header.u32(12) {
            0 => Some(Version::V0),
            1 => Some(Version::V1),
            2 => None,
            other => return Err(invalid("composefs version", &other)),
        };
        let block = Fields::at(image, SUPERBLOCK, 128, "superblock")?;
        if block.u32(0) != SUPERBLOCK_MAGIC {
            return Err(invalid("superblock", &format!("{:#x}", block.u32(0))));
        }
        if block.bytes[12] != 12 || block.u32(80) != 0 {
            return Err(invalid("block size or features", &block.bytes[12]));
        }
        let nanoseconds = block.u32(32);
        if nanoseconds >= 1_000_000_000 {
            return Err(invalid("build time", &nanoseconds));
        }
        Ok(Self {
            image,
            version,
            root: u64::from(block.u16(14)),
            time: Time {
                seconds: block.u64(24).cast_signed(),
                nanoseconds,
            },
            attributes_at: (block.u32(44) as usize).saturating_mul(BLOCK),
        })
    }

    /// The bytes of the image.
    pub(super) fn size(&self) -> usize {
        self.image.len()
    }

    /// The inode of a number.
    pub(super) fn head(&self, number: u64) -> Result<Head, ReadError> {
        let at = usize::try_from(number)
            .ok()
            .and_then(|n| n.checked_mul(SLOT))
            .ok_or(ReadError::Truncated { what: "inode" })?;
        let head = Fields::at(self.image, at, COMPACT, "inode")?;
        let format = head.u16(0);
        let extended = format & 1 == 1;
        let size_of = if extended { EXTENDED } else { COMPACT };
        let head = Fields::at(self.image, at, size_of, "inode")?;
        let mode = head.u16(4);
        let kind =
            Type::of_mode(mode).ok_or_else(|| invalid("inode mode", &format!("{mode:o}")))?;
        let (size, links, uid, gid, mtime) = if extended {
            let mtime = Time {
                seconds: head.u64(32).cast_signed(),
                nanoseconds: head.u32(40),
            };
            let links = head.u32(44);
            (head.u64(8), links, head.u32(24), head.u32(28), mtime)
        } else {
            let (uid, gid) = (u32::from(head.u16(24)), u32::from(head.u16(26)));
            let links = u32::from(head.u16(6));
            (u64::from(head.u32(8)), links, uid, gid, self.time)
        };
        if mtime.nanoseconds >= 1_000_000_000 {
            return Err(invalid("time", &mtime.nanoseconds));
        }
        let words = usize::from(head.u16(2));
        let attributes_size = if words == 0 {
            0
        } else {
            ATTRIBUTES_HEADER + (words - 1) * 4
        };
        let attributes = at + size_of..at + size_of + attributes_size;
        Ok(Head {
            kind,
            layout: format & !1,
            mode: u32::from(mode & 0o7777),
            uid,
            gid,
            mtime,
            links,
            size,
            number: head.u32(16),
            attributes,
        })
    }

    /// The attributes of an inode: those that it shares with others, then its own.
    pub(super) fn attributes(&self, head: &Head) -> Result<Vec<Raw<'a>>, ReadError> {
        let mut found = Vec::new();
        let Some([shared, mut rest]) = self.attribute_area(head)? else {
            return Ok(found);
        };
        for word in shared.chunks_exact(4) {
            let word = Fields { bytes: word }.u32(0) as usize;
            let place = self.attributes_at.saturating_add(word.saturating_mul(4));
            let rest = self.image.get(place..).ok_or(ReadError::Truncated {
                what: "shared attribute",
            })?;
            found.push(attribute(rest)?);
        }
        while !rest.is_empty() {
            let one = attribute(rest)?;
            rest = rest
                .get(one.size().next_multiple_of(4)..)
                .unwrap_or_default();
            found.push(one);
        }
        Ok(found)
    }

    /// The numbers of the attributes that an inode shares with others, and the bytes of its own; none where it has no
    /// attributes.
    pub(super) fn attribute_area(&self, head: &Head) -> Result<Option<[&'a [u8]; 2]>, ReadError> {
        if head.attributes.is_empty() {
            return Ok(None);
        }
        let what = "attributes";
        let area = Fields::at(
            self.image,
            head.attributes.start,
            head.attributes.len(),
            what,
        )?;
        let own = ATTRIBUTES_HEADER + usize::from(area.bytes[4]) * 4;
        let Some((front, own)) = area.bytes.split_at_checked(own) else {
            return Err(ReadError::Truncated { what });
        };
        Ok(Some([&front[ATTRIBUTES_HEADER..], own]))
    }

    /// The content of an inode: its blocks, and what stands beside it.
    pub(super) fn content(
        &self,
        head: &Head,
        what: &'static str,
    ) -> Result<[&'a [u8]; 2], ReadError> {
        let size = usize::try_from(head.size).map_err(|_| ReadError::Truncated { what })?;
        let in_blocks = match head.layout {
            LAYOUT_PLAIN => size,
            LAYOUT_INLINE => size / BLOCK * BLOCK,
            other => return Err(invalid("data layout", &other)),
        };
        let start = (head.number as usize).saturating_mul(BLOCK);
        let blocks = match in_blocks {
            0 => &[],
            _ => Fields::at(self.image, start, in_blocks, what)?.bytes,
        };
        let at = head.attributes.end;
        let tail = Fields::at(self.image, at, size - in_blocks, what)?.bytes;
        if at / BLOCK != (at + tail.len()).saturating_sub(1) / BLOCK && !tail.is_empty() {
            return Err(invalid(what, &"across a block"));
        }
        Ok([blocks, tail])
    }

    /// The names in a directory, in byte order, with the numbers of their inodes; not itself and the one above.
    pub(super) fn entries(&self, head: &Head) -> Result<Vec<Entry<'a>>, ReadError> {
        let [blocks, tail] = self.content(head, "directory")?;
        let mut found: Vec<Entry<'_>> = Vec::new();
        let mut last: Option<&[u8]> = None;
        for block in blocks.chunks(BLOCK).chain(tail.chunks(BLOCK)) {
            for entry in entries(block)? {
                let (name, _) = entry;
                if last.is_some_and(|last| last >= name) {
                    return Err(invalid("order of names", &name.escape_ascii()));
                }
                last = Some(name);
                if name != b"." && name != b".." {
                    found.push(entry);
                }
            }
        }
        Ok(found)
    }
}

/// The attribute at the start of `bytes`.
fn attribute(bytes: &[u8]) -> Result<Raw<'_>, ReadError> {
    let head = Fields::at(bytes, 0, 4, "attribute")?;
    let (name_size, value_size) = (usize::from(head.bytes[0]), usize::from(head.u16(2)));
    let body = Fields::at(bytes, 4, name_size + value_size, "attribute")?;
    let (suffix, value) = body.bytes.split_at(name_size);
    Ok(Raw {
        index: head.bytes[1],
        suffix,
        value,
    })
}

/// The entries of one block of a directory.
fn entries(block: &[u8]) -> Result<Vec<Entry<'_>>, ReadError> {
    let what = "directory entry";
    let first = usize::from(Fields::at(block, 0, 12, what)?.u16(8));
    if first == 0 || first % 12 != 0 || first > block.len() {
        return Err(invalid(what, &first));
    }
    let count = first / 12;
    let mut found = Vec::with_capacity(count);
    for index in 0..count {
        let entry = Fields::at(block, index * 12, 12, what)?;
        let start = usize::from(entry.u16(8));
        let end = if index + 1 < count {
            usize::from(Fields::at(block, (index + 1) * 12, 12, what)?.u16(8))
        } else {
            block.len()
        };
        let mut name = block.get(start..end).ok_or(ReadError::Truncated { what })?;
        if index + 1 == count {
            let length = name.iter().position(|b| *b == 0).unwrap_or(name.len());
            name = &name[..length];
        }
        if name.is_empty() || name.len() > 255 || name.iter().any(|b| matches!(b, 0 | b'/')) {
            return Err(invalid("name", &name.escape_ascii()));
        }
        found.push((name, entry.u64(0)));
    }
    Ok(found)
}

/// Little-endian fields of a checked range.
struct Fields<'a> {
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    fn at(image: &'a [u8], at: usize, size: usize, what: &'static str) -> Result<Self, ReadError> {
        at.checked_add(size)
            .and_then(|end| image.get(at..end))
            .map(|bytes| Self { bytes })
            .ok_or(ReadError::Truncated { what })
    }

    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut out = [0; N];
        out.copy_from_slice(&self.bytes[at..at + N]);
        out
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }
}
