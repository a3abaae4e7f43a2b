//! Bytes to a tree. Everything is checked: an image may come from anywhere.

use super::attributes::{HEADER as ATTRIBUTES_HEADER, PREFIXES, metacopy_head};
use super::inode::STUB_MODE;
use super::order::STUBS;
use super::{
    BLOCK, COMPACT, ESCAPED, EXTENDED, HEADER_MAGIC, LAYOUT_CHUNKS, LAYOUT_INLINE, LAYOUT_PLAIN,
    METACOPY, OPAQUE, OVERLAY, REDIRECT, SELINUX, SLOT, SUPERBLOCK, SUPERBLOCK_MAGIC, Type,
    Version, WHITEOUT,
};
use crate::digest::Algorithm;
use crate::table::memory;
use crate::tree::{Content, DirId, Leaf, LeafId, Meta, Node, Time, Tree, Xattrs};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Why an image was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReadError {
    /// It ends before something that it names.
    #[error("the image ends before its {what}: it is truncated or damaged")]
    Truncated {
        /// "superblock", "directory".
        what: &'static str,
    },
    /// A field has a value that no composefs image has.
    #[error(
        "the image's {what} is {value}: it is no composefs image that elea reads (V0, V1, V2), or damaged"
    )]
    Invalid {
        /// "magic number", "directory entry".
        what: &'static str,
        /// What was found.
        value: String,
    },
    /// Its objects have names of another algorithm than those of the tree that it is read into.
    #[error(
        "the image names objects by {found}, and here they are named by {wanted}; use a store with {found} (`elea store init --algorithm {found}`)"
    )]
    Algorithm {
        /// What the image has.
        found: Algorithm,
        /// What the tree has.
        wanted: Algorithm,
    },
    /// The same bytes are used again and again, or folders nest without end.
    #[error("the image's {what} are larger than the image allows")]
    TooLarge {
        /// "folders", "attributes".
        what: &'static str,
    },
}

/// A prefix that the canonical form does not use, and V2 does.
const LUSTRE: (u8, &[u8]) = (5, b"lustre.");

/// The longest target of a link, in bytes.
const MAX_TARGET: usize = 4095;

/// Folders deeper than this have no path that the kernel takes.
const MAX_DEPTH: usize = 2048;

fn invalid(what: &'static str, value: &dyn std::fmt::Display) -> ReadError {
    ReadError::Invalid {
        what,
        value: value.to_string(),
    }
}

/// What the kernel takes as the target of a link (`PATH_MAX` with its end).
fn target(target: Vec<u8>) -> Result<Vec<u8>, ReadError> {
    if target.is_empty() || target.len() > MAX_TARGET || target.contains(&0) {
        let start = &target[..target.len().min(40)];
        let value = format!("{} bytes, `{}`", target.len(), start.escape_ascii());
        return Err(invalid("link's target", &value));
    }
    Ok(target)
}

/// Reads an image of V0, V1 or V2 back into its tree: the stubs and the overlay's own attributes
/// are taken off, escaped attributes and whiteouts restored. Writing the tree again in the same
/// version gives the same bytes if the image is canonical. The tree has the algorithm that the image has.
///
/// Time and memory are bounded by a small multiple of the size of `image`.
pub fn read(image: &[u8]) -> Result<Tree, ReadError> {
    match read_into(image, Tree::new()) {
        Err(ReadError::Algorithm { found, .. }) => read_into(image, Tree::within(&memory(), found)),
        read => read,
    }
}

/// The same, into a tree that has nothing in it yet, with its room and its algorithm.
pub fn read_into(image: &[u8], tree: Tree) -> Result<Tree, ReadError> {
    let mut reader = Reader::new(image, tree)?;
    reader.directories()?;
    let (mut tree, version) = (reader.tree, reader.version);
    if let Some(version) = version {
        let mut root = tree.meta(DirId::ROOT).to_owned();
        let opaque = root.xattrs.remove(OPAQUE);
        if opaque.as_deref() != Some(b"y") {
            return Err(invalid("root", &"not opaque"));
        }
        tree.set_meta(DirId::ROOT, &root);
        unstub(&mut tree);
        restore_whiteouts(&mut tree, version);
    }
    tree.each_meta(unescape_names);
    Ok(tree)
}

struct Reader<'a> {
    image: &'a [u8],
    /// None is V2: no stubs, no escaped whiteouts, one more attribute prefix.
    version: Option<Version>,
    root: u64,
    time: Time,
    attributes_at: usize,
    /// Bytes of content and of attributes that may still be read.
    content_left: usize,
    attributes_left: usize,
    tree: Tree,
    /// Directories that were found.
    seen: HashSet<u64>,
    /// Leaves that say that they have several names.
    leaves: HashMap<u64, LeafId>,
}

struct Inode {
    kind: Type,
    layout: u16,
    meta: Meta,
    links: u32,
    size: u64,
    number: u32,
    /// Where the content that stands at the inode begins.
    tail: usize,
}

impl<'a> Reader<'a> {
    fn new(image: &'a [u8], tree: Tree) -> Result<Self, ReadError> {
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
            tree,
            version,
            root: u64::from(block.u16(14)),
            time: Time {
                seconds: block.u64(24).cast_signed(),
                nanoseconds,
            },
            attributes_at: (block.u32(44) as usize).saturating_mul(BLOCK),
            content_left: image.len(),
            // Shared attributes are read once for each inode that names them.
            attributes_left: image.len().saturating_mul(16).saturating_add(16 << 20),
            seen: HashSet::new(),
            leaves: HashMap::new(),
        })
    }

    fn inode(&mut self, number: u64) -> Result<Inode, ReadError> {
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
        let xattrs = self.attributes(at + size_of, attributes_size)?;
        Ok(Inode {
            kind,
            layout: format & !1,
            links,
            meta: Meta {
                mode: u32::from(mode & 0o7777),
                uid,
                gid,
                mtime,
                xattrs,
            },
            size,
            number: head.u32(16),
            tail: at + size_of + attributes_size,
        })
    }

    fn attributes(
        &mut self,
        at: usize,
        size: usize,
    ) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, ReadError> {
        let mut found = BTreeMap::new();
        if size == 0 {
            return Ok(found);
        }
        let area = Fields::at(self.image, at, size, "attributes")?;
        let shared = usize::from(area.bytes[4]);
        let own = ATTRIBUTES_HEADER + shared * 4;
        if own > size {
            return Err(ReadError::Truncated { what: "attributes" });
        }
        for index in 0..shared {
            let word = area.u32(ATTRIBUTES_HEADER + index * 4) as usize;
            let place = self.attributes_at.saturating_add(word.saturating_mul(4));
            let rest = self.image.get(place..).ok_or(ReadError::Truncated {
                what: "shared attribute",
            })?;
            self.attribute(rest, &mut found)?;
        }
        let mut rest = &area.bytes[own..];
        while !rest.is_empty() {
            let used = self.attribute(rest, &mut found)?;
            rest = rest.get(used..).unwrap_or_default();
        }
        Ok(found)
    }

    /// One attribute at the start of `bytes`; returns the bytes that it takes.
    fn attribute(
        &mut self,
        bytes: &[u8],
        found: &mut BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Result<usize, ReadError> {
        let head = Fields::at(bytes, 0, 4, "attribute")?;
        let (name_size, value_size) = (usize::from(head.bytes[0]), usize::from(head.u16(2)));
        let index = head.bytes[1];
        let size = 4 + name_size + value_size;
        let body = Fields::at(bytes, 4, name_size + value_size, "attribute")?;
        self.attributes_left = self
            .attributes_left
            .checked_sub(size)
            .ok_or(ReadError::TooLarge { what: "attributes" })?;
        let prefix = match PREFIXES.iter().find(|(number, _)| *number == index) {
            Some((_, prefix)) => *prefix,
            None if index == 0 => b"",
            None if index == LUSTRE.0 && self.version.is_none() => LUSTRE.1,
            None => return Err(invalid("attribute prefix", &index)),
        };
        let (suffix, value) = body.bytes.split_at(name_size);
        let name = [prefix, suffix].concat();
        if name.is_empty() || name.contains(&0) || found.insert(name, value.to_vec()).is_some() {
            return Err(invalid("attribute name", &suffix.escape_ascii()));
        }
        Ok(size.next_multiple_of(4))
    }

    /// The content of an inode: its blocks, then what stands beside it.
    fn content(&mut self, inode: &Inode, what: &'static str) -> Result<Vec<u8>, ReadError> {
        let size = usize::try_from(inode.size).map_err(|_| ReadError::Truncated { what })?;
        self.content_left = self
            .content_left
            .checked_sub(size)
            .ok_or(ReadError::TooLarge { what })?;
        let in_blocks = match inode.layout {
            LAYOUT_PLAIN => size,
            LAYOUT_INLINE => size / BLOCK * BLOCK,
            other => return Err(invalid("data layout", &other)),
        };
        let mut content = Vec::with_capacity(size);
        if in_blocks > 0 {
            let start = (inode.number as usize).saturating_mul(BLOCK);
            content.extend_from_slice(Fields::at(self.image, start, in_blocks, what)?.bytes);
        }
        let tail = Fields::at(self.image, inode.tail, size - in_blocks, what)?;
        if inode.tail / BLOCK != (inode.tail + tail.bytes.len()).saturating_sub(1) / BLOCK
            && !tail.bytes.is_empty()
        {
            return Err(invalid(what, &"across a block"));
        }
        content.extend_from_slice(tail.bytes);
        Ok(content)
    }

    /// Reads the root and all that is below it.
    fn directories(&mut self) -> Result<(), ReadError> {
        let root = self.directory(self.root)?;
        self.tree.set_meta(DirId::ROOT, &root.meta);
        let mut open = vec![(root, DirId::ROOT, 0)];
        while let Some((inode, id, depth)) = open.pop() {
            let content = self.content(&inode, "directory")?;
            let mut last: Option<Vec<u8>> = None;
            for block in content.chunks(BLOCK) {
                for (name, number) in entries(block)? {
                    if last.as_deref().is_some_and(|last| last >= name) {
                        return Err(invalid("order of names", &name.escape_ascii()));
                    }
                    last = Some(name.to_vec());
                    if name == b"." || name == b".." {
                        continue;
                    }
                    if let Some(leaf) = self.leaves.get(&number) {
                        self.tree.append(id, name, Node::Leaf(*leaf));
                        continue;
                    }
                    let child = self.inode(number)?;
                    if child.kind == Type::Directory {
                        if depth == MAX_DEPTH {
                            return Err(ReadError::TooLarge { what: "folders" });
                        }
                        let child = self.directory(number)?;
                        let new = self.tree.append_directory(id, name, &child.meta);
                        open.push((child, new, depth + 1));
                    } else {
                        let leaf = self.leaf(number, child)?;
                        self.tree.append(id, name, Node::Leaf(leaf));
                    }
                }
            }
        }
        Ok(())
    }

    /// A directory that was not seen before.
    fn directory(&mut self, number: u64) -> Result<Inode, ReadError> {
        if !self.seen.insert(number) {
            return Err(ReadError::TooLarge { what: "folders" });
        }
        let inode = self.inode(number)?;
        if inode.kind != Type::Directory {
            return Err(invalid("directory", &format!("{:?}", inode.kind)));
        }
        Ok(inode)
    }

    fn leaf(&mut self, number: u64, mut inode: Inode) -> Result<LeafId, ReadError> {
        let content = match inode.kind {
            Type::Directory => return Err(invalid("file", &"Directory")),
            Type::Regular if inode.layout == LAYOUT_CHUNKS => {
                object(&mut inode, self.tree.algorithm())?
            }
            Type::Regular if inode.size == 0 => Content::Inline(Vec::new()),
            Type::Regular => Content::Inline(self.content(&inode, "file")?),
            Type::Symlink => Content::Symlink(target(self.content(&inode, "link")?)?),
            Type::CharDevice => Content::CharDevice(u64::from(inode.number)),
            Type::BlockDevice => Content::BlockDevice(u64::from(inode.number)),
            Type::Fifo => Content::Fifo,
            Type::Socket => Content::Socket,
        };
        let id = self.tree.add_leaf(&Leaf {
            meta: inode.meta,
            content,
        });
        if inode.links != 1 {
            self.leaves.insert(number, id);
        }
        Ok(id)
    }
}

/// The entries of one block of a directory.
fn entries(block: &[u8]) -> Result<Vec<(&[u8], u64)>, ReadError> {
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

/// A file whose content is an object, by the overlay's attributes.
fn object(inode: &mut Inode, wanted: Algorithm) -> Result<Content, ReadError> {
    let metacopy = inode.meta.xattrs.remove(METACOPY).unwrap_or_default();
    let redirect = inode.meta.xattrs.remove(REDIRECT).unwrap_or_default();
    let digest = Algorithm::ALL
        .into_iter()
        .find_map(|algorithm| algorithm.digest(metacopy.strip_prefix(&metacopy_head(algorithm))?))
        .ok_or_else(|| invalid("metacopy attribute", &metacopy.escape_ascii()))?;
    if redirect != format!("/{}", digest.object_path()).as_bytes() {
        return Err(invalid("redirect attribute", &redirect.escape_ascii()));
    }
    let found = digest.algorithm();
    if found != wanted {
        return Err(ReadError::Algorithm { found, wanted });
    }
    Ok(Content::Object {
        digest,
        size: inode.size,
    })
}

/// Takes the 256 stubs off the root.
fn unstub(tree: &mut Tree) {
    let root = tree.meta(DirId::ROOT);
    let label = root.xattrs.get(SELINUX);
    let label = label.map(|value| (SELINUX.to_vec(), value.to_vec()));
    let meta = Meta {
        mode: STUB_MODE,
        ..root.with(label.into_iter().collect())
    };
    for name in STUBS {
        if let Some(Node::Leaf(id)) = tree.child(DirId::ROOT, &name) {
            let leaf = tree.leaf(id);
            if leaf.content == Content::CharDevice(0) && leaf.meta.to_owned() == meta {
                tree.remove(DirId::ROOT, &name);
            }
        }
    }
}

/// Makes the files that stand for whiteouts whiteouts, and takes the marks off their directories.
fn restore_whiteouts(tree: &mut Tree, version: Version) {
    let mut hidden = HashSet::new();
    for id in tree.leaves() {
        let leaf = tree.leaf(id);
        if leaf.content == Content::Inline(&[]) && has(leaf.meta.xattrs, &WHITEOUT) {
            let mut meta = leaf.meta.to_owned();
            strip(&mut meta, &WHITEOUT);
            let content = Content::CharDevice(0);
            tree.set_leaf(id, &Leaf { meta, content });
            hidden.insert(id);
        }
    }
    let marks = version.whiteout_parent();
    for id in tree.directories() {
        if !has(tree.meta(id).xattrs, marks) {
            continue;
        }
        let mut entries = tree.entries(id);
        if entries.any(|(_, node)| matches!(node, Node::Leaf(id) if hidden.contains(&id))) {
            let mut meta = tree.meta(id).to_owned();
            strip(&mut meta, marks);
            tree.set_meta(id, &meta);
        }
    }
}

fn has(xattrs: Xattrs<'_>, marks: &[(&[u8], &[u8])]) -> bool {
    marks
        .iter()
        .all(|(name, value)| xattrs.get(name) == Some(value))
}

fn strip(meta: &mut Meta, marks: &[(&[u8], &[u8])]) {
    for (name, _) in marks {
        meta.xattrs.remove(*name);
    }
}

fn unescape_names(meta: &mut Meta) {
    if meta.xattrs.keys().any(|name| name.starts_with(ESCAPED)) {
        meta.xattrs = std::mem::take(&mut meta.xattrs)
            .into_iter()
            .map(|(name, value)| match name.strip_prefix(ESCAPED) {
                Some(rest) => ([OVERLAY, rest].concat(), value),
                None => (name, value),
            })
            .collect();
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::erofs::{Version, write};

    #[test]
    fn targets_that_no_kernel_takes_are_refused() {
        let with = |target: &[u8]| {
            let mut tree: Tree = Tree::new();
            let link = tree.add_leaf(&Leaf {
                meta: Meta::default(),
                content: Content::Symlink(target.to_vec()),
            });
            tree.insert(DirId::ROOT, b"link", Node::Leaf(link));
            read(&write(&tree, Version::V1))
        };
        assert!(with(&[b'x'; MAX_TARGET]).is_ok());
        for bad in [&[b'x'; MAX_TARGET + 1][..], b"", b"a\0b"] {
            let error = with(bad).unwrap_err();
            assert!(error.to_string().contains("target"), "{error}");
        }
    }
}
