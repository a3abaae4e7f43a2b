//! A file-system tree in memory: names, metadata, and objects or inline content.

use crate::digest::Digest;
use std::collections::BTreeMap;

/// A point in time, with nanoseconds as the file system stores them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// Nanoseconds, 0 to 999,999,999.
    pub nanoseconds: u32,
}

/// What every inode has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meta {
    /// Permission bits with set-id and sticky (`0o7777`), without the file type.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Time of the last change of content.
    pub mtime: Time,
    /// Extended attributes by full name (`security.capability`).
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What a leaf holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A small regular file, kept in the image itself. The empty file is always this.
    Inline(Vec<u8>),
    /// A regular file whose content is an object.
    Object {
        /// The object's fs-verity digest.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
    /// A block device and its number (`makedev` encoding).
    BlockDevice(u64),
    /// A character device and its number.
    CharDevice(u64),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// An inode that is not a directory. Hard links are several names of one leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Owner, mode, times, attributes.
    pub meta: Meta,
    /// What it holds.
    pub content: Content,
}

/// The place of a leaf in its tree's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeafId(pub usize);

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Directory(Directory),
    /// Anything else, by its place in [`Tree::leaves`].
    Leaf(LeafId),
}

/// A directory; entries are sorted by the bytes of their names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directory {
    /// Owner, mode, times, attributes.
    pub meta: Meta,
    /// The entries, without `.` and `..`.
    pub entries: BTreeMap<Vec<u8>, Node>,
}

impl Directory {
    /// Calls `visit` for this directory and every one below it, parents first.
    pub fn visit_mut(&mut self, mut visit: impl FnMut(&mut Self)) {
        let mut folders = vec![self];
        while let Some(folder) = folders.pop() {
            visit(folder);
            folders.extend(folder.entries.values_mut().filter_map(|node| match node {
                Node::Directory(child) => Some(child),
                Node::Leaf(_) => None,
            }));
        }
    }
}

/// A whole tree.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// The root directory.
    pub root: Directory,
    /// The leaves; one may have several names, or none once its names were removed.
    pub leaves: Vec<Leaf>,
}

/// One step of [`Tree::walk`].
#[derive(Debug, Clone, Copy)]
pub enum Entry<'a> {
    /// A directory, before its entries.
    Directory(&'a Directory),
    /// A leaf with its id: the same id again is a hard link.
    Leaf(LeafId, &'a Leaf),
}

impl Tree {
    /// Adds a leaf to the table; it has no name until one is put into a directory.
    pub fn add_leaf(&mut self, leaf: Leaf) -> LeafId {
        self.leaves.push(leaf);
        LeafId(self.leaves.len() - 1)
    }

    /// The leaf of an id of this tree.
    pub fn leaf(&self, id: LeafId) -> &Leaf {
        &self.leaves[id.0]
    }

    /// What stands at a path, without following symbolic links. `/`, doubled and leading
    /// slashes are ignored; `.` and `..` are ordinary names and never found.
    pub fn get(&self, path: &[u8]) -> Option<Entry<'_>> {
        let mut here = &self.root;
        let mut parts = components(path).peekable();
        while let Some(part) = parts.next() {
            match here.entries.get(part)? {
                Node::Directory(next) => here = next,
                Node::Leaf(id) => {
                    return parts
                        .peek()
                        .is_none()
                        .then(|| Entry::Leaf(*id, self.leaf(*id)));
                }
            }
        }
        Some(Entry::Directory(here))
    }

    /// The directory at a path, if there is one.
    pub fn directory_mut(&mut self, path: &[u8]) -> Option<&mut Directory> {
        let mut here = &mut self.root;
        for part in components(path) {
            match here.entries.get_mut(part)? {
                Node::Directory(next) => here = next,
                Node::Leaf(_) => return None,
            }
        }
        Some(here)
    }

    /// Calls `visit` for every entry with its path (`/usr/bin/sh`; the root is `/`),
    /// parents first, names in byte order: the order of a dump file.
    pub fn walk<'a, E>(
        &'a self,
        mut visit: impl FnMut(&[u8], Entry<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        visit(b"/", Entry::Directory(&self.root))?;
        let mut path = Vec::new();
        self.walk_into(&self.root, &mut path, &mut visit)
    }

    fn walk_into<'a, E>(
        &'a self,
        directory: &'a Directory,
        path: &mut Vec<u8>,
        visit: &mut impl FnMut(&[u8], Entry<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        for (name, node) in &directory.entries {
            let length = path.len();
            path.push(b'/');
            path.extend_from_slice(name);
            match node {
                Node::Directory(child) => {
                    visit(path, Entry::Directory(child))?;
                    self.walk_into(child, path, visit)?;
                }
                Node::Leaf(id) => visit(path, Entry::Leaf(*id, self.leaf(*id)))?,
            }
            path.truncate(length);
        }
        Ok(())
    }
}

/// The parts of a path between slashes.
pub fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|b| *b == b'/').filter(|part| !part.is_empty())
}
