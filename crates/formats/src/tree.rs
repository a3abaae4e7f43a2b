//! A file-system tree in memory: names, metadata, and objects or inline content.

use crate::digest::Digest;
use std::collections::{BTreeMap, BTreeSet};

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

/// What a leaf holds. Objects are named by SHA-256 unless the type says otherwise
/// (see [`crate::verity::Algorithm`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content<A = Digest> {
    /// A small regular file, kept in the image itself. The empty file is always this.
    Inline(Vec<u8>),
    /// A regular file whose content is an object.
    Object {
        /// The object's fs-verity digest.
        digest: A,
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
pub struct Leaf<A = Digest> {
    /// Owner, mode, times, attributes.
    pub meta: Meta,
    /// What it holds.
    pub content: Content<A>,
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
#[derive(Debug, Clone)]
pub struct Tree<A = Digest> {
    /// The root directory.
    pub root: Directory,
    /// The leaves; one may have several names, or none once its names were removed.
    pub leaves: Vec<Leaf<A>>,
}

/// One step of [`Tree::walk`].
#[derive(Debug, Clone, Copy)]
pub enum Entry<'a, A = Digest> {
    /// A directory, before its entries.
    Directory(&'a Directory),
    /// A leaf with its id: the same id again is a hard link.
    Leaf(LeafId, &'a Leaf<A>),
}

impl<A> Default for Tree<A> {
    fn default() -> Self {
        Self {
            root: Directory::default(),
            leaves: Vec::new(),
        }
    }
}

impl<A> Tree<A> {
    /// Calls `change` for the metadata of every directory and leaf.
    pub fn each_meta(&mut self, mut change: impl FnMut(&mut Meta)) {
        for leaf in &mut self.leaves {
            change(&mut leaf.meta);
        }
        let mut folders = vec![&mut self.root];
        while let Some(folder) = folders.pop() {
            change(&mut folder.meta);
            folders.extend(folder.entries.values_mut().filter_map(|node| match node {
                Node::Directory(child) => Some(child),
                Node::Leaf(_) => None,
            }));
        }
    }

    /// The same tree with other names for its objects: `name` is given the digest of each.
    pub fn rename_objects<B>(self, mut name: impl FnMut(A) -> B) -> Tree<B> {
        let leaves = self.leaves.into_iter().map(|leaf| Leaf {
            meta: leaf.meta,
            content: match leaf.content {
                Content::Object { digest, size } => Content::Object {
                    digest: name(digest),
                    size,
                },
                Content::Inline(data) => Content::Inline(data),
                Content::Symlink(target) => Content::Symlink(target),
                Content::BlockDevice(number) => Content::BlockDevice(number),
                Content::CharDevice(number) => Content::CharDevice(number),
                Content::Fifo => Content::Fifo,
                Content::Socket => Content::Socket,
            },
        });
        Tree {
            leaves: leaves.collect(),
            root: self.root,
        }
    }

    /// Adds a leaf to the table; it has no name until one is put into a directory.
    pub fn add_leaf(&mut self, leaf: Leaf<A>) -> LeafId {
        self.leaves.push(leaf);
        LeafId(self.leaves.len() - 1)
    }

    /// The leaf of an id of this tree.
    pub fn leaf(&self, id: LeafId) -> &Leaf<A> {
        &self.leaves[id.0]
    }

    /// What stands at a path, without following symbolic links. `/`, doubled and leading
    /// slashes are ignored; `.` and `..` are ordinary names and never found.
    pub fn get(&self, path: &[u8]) -> Option<Entry<'_, A>> {
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
        mut visit: impl FnMut(&[u8], Entry<'a, A>) -> Result<(), E>,
    ) -> Result<(), E> {
        visit(b"/", Entry::Directory(&self.root))?;
        let mut path = Vec::new();
        self.walk_into(&self.root, &mut path, &mut visit)
    }

    fn walk_into<'a, E>(
        &'a self,
        directory: &'a Directory,
        path: &mut Vec<u8>,
        visit: &mut impl FnMut(&[u8], Entry<'a, A>) -> Result<(), E>,
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

/// Calls `visit` for every path that one of two trees has, with what each of them has there: in the
/// order of [`Tree::walk`].
pub fn walk_both<'a>(
    a: &'a Tree,
    b: &'a Tree,
    mut visit: impl FnMut(&[u8], Option<Entry<'a>>, Option<Entry<'a>>),
) {
    let roots = [a, b].map(|tree| Some(Entry::Directory(&tree.root)));
    visit(b"/", roots[0], roots[1]);
    walk_both_into([a, b], roots, &mut Vec::new(), &mut visit);
}

fn walk_both_into<'a>(
    trees: [&'a Tree; 2],
    folders: [Option<Entry<'a>>; 2],
    path: &mut Vec<u8>,
    visit: &mut impl FnMut(&[u8], Option<Entry<'a>>, Option<Entry<'a>>),
) {
    let folders = folders.map(|entry| match entry {
        Some(Entry::Directory(folder)) => Some(folder),
        _ => None,
    });
    let keys = |folder: Option<&'a Directory>| folder.into_iter().flat_map(|f| f.entries.keys());
    let names: BTreeSet<&Vec<u8>> = keys(folders[0]).chain(keys(folders[1])).collect();
    for name in names {
        let length = path.len();
        path.push(b'/');
        path.extend_from_slice(name);
        let found = [0, 1].map(|side| {
            let node = folders[side]?.entries.get(name)?;
            Some(match node {
                Node::Directory(child) => Entry::Directory(child),
                Node::Leaf(id) => Entry::Leaf(*id, trees[side].leaf(*id)),
            })
        });
        visit(path, found[0], found[1]);
        walk_both_into(trees, found, path, visit);
        path.truncate(length);
    }
}

/// The parts of a path between slashes.
pub fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|b| *b == b'/').filter(|part| !part.is_empty())
}
