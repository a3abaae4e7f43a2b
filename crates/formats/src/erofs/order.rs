//! Which inodes an image has, in their order.
//!
//! Breadth first, children in the order of their names. A leaf with several names gets its number
//! in the directory that holds its first name in depth-first order.

use super::Type;
use crate::table::Table;
use crate::tree::{Content, DirId, Entries, LeafId, Node, Tree};
use std::iter::Peekable;

/// The names of the stubs in the root that hide the folders of objects on kernels without data-only layers.
pub(super) const STUBS: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut names = [[0; 2]; 256];
    let mut i = 0;
    while i < 256 {
        names[i] = [digits[i / 16], digits[i % 16]];
        i += 1;
    }
    names
};

/// What an inode is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// A directory or a leaf of the tree.
    Node(Node),
    /// A stub.
    Stub,
}

/// In the place of a node's number.
const STUB: u32 = u32::MAX;
/// In the place of an inode's number.
const NONE: u32 = u32::MAX;

/// The inodes of a tree.
pub(super) struct Order<'t> {
    pub(super) tree: &'t Tree,
    /// What each inode is of.
    sources: Table,
    /// Of each directory: its inode, that of its parent, and whether it hides something.
    directories: Table,
    /// Of each leaf: its inode, its names, and the directory of the first one.
    leaves: Table,
    /// Of each stub: its inode.
    stubs: [u32; 256],
}

/// Numbers of inodes are those of the tree's nodes and the stubs: less than 2³².
fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(NONE)
}

fn field(table: &Table, index: usize, at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&table.get(index)[at * 4..at * 4 + 4]);
    u32::from_le_bytes(bytes)
}

fn set_field(table: &mut Table, index: usize, at: usize, value: u32) {
    table.get_mut(index)[at * 4..at * 4 + 4].copy_from_slice(&value.to_le_bytes());
}

impl<'t> Order<'t> {
    pub(super) fn of(tree: &'t Tree) -> Self {
        let mut order = Self {
            tree,
            sources: Table::new(tree.room(), 4),
            directories: Table::new(tree.room(), 12),
            leaves: Table::new(tree.room(), 12),
            stubs: [NONE; 256],
        };
        order.directories.grow(tree.directory_count());
        order.leaves.grow(tree.leaves().len());
        order.count();
        order.place();
        order
    }

    /// How many inodes there are; the root is the first.
    pub(super) fn len(&self) -> usize {
        self.sources.len()
    }

    pub(super) fn source(&self, inode: usize) -> Source {
        match self.sources.u32(inode) {
            STUB => Source::Stub,
            number => Source::Node(Node::of_number(number)),
        }
    }

    /// How many names a leaf has.
    pub(super) fn names(&self, leaf: LeafId) -> usize {
        field(&self.leaves, leaf.index(), 1) as usize
    }

    /// Whether a whiteout that is content is first named in a directory.
    pub(super) fn hides(&self, directory: DirId) -> bool {
        field(&self.directories, directory.index(), 2) != 0
    }

    /// The names of each leaf, and the folder of the first one in depth-first order.
    fn count(&mut self) {
        let tree = self.tree;
        let mut open = vec![(DirId::ROOT, tree.entries(DirId::ROOT))];
        while let Some((directory, entries)) = open.last_mut() {
            let directory = *directory;
            match entries.next() {
                None => drop(open.pop()),
                Some((_, Node::Directory(id))) => open.push((id, tree.entries(id))),
                Some((_, Node::Leaf(id))) => {
                    let names = self.names(id);
                    if names == 0 {
                        set_field(&mut self.leaves, id.index(), 0, NONE);
                        set_field(&mut self.leaves, id.index(), 2, narrow(directory.index()));
                    }
                    set_field(&mut self.leaves, id.index(), 1, narrow(names + 1));
                }
            }
        }
    }

    fn push(&mut self, number: u32) -> u32 {
        narrow(self.sources.push(&number.to_le_bytes()))
    }

    fn place(&mut self) {
        let root = Node::Directory(DirId::ROOT);
        self.push(root.number());
        let mut next = 0;
        while next < self.sources.len() {
            if let Source::Node(Node::Directory(id)) = self.source(next) {
                self.place_entries(id, narrow(next));
            }
            next += 1;
        }
    }

    fn place_entries(&mut self, directory: DirId, me: u32) {
        let tree = self.tree;
        let stubs: &[[u8; 2]] = if me == 0 { &STUBS } else { &[] };
        let mut stubs = stubs.iter().enumerate().peekable();
        for (name, node) in tree.entries(directory) {
            while let Some((number, stub)) = stubs.next_if(|(_, stub)| &stub[..] <= name) {
                if &stub[..] < name {
                    self.stubs[number] = self.push(STUB);
                }
            }
            match node {
                Node::Directory(id) => {
                    let inode = self.push(node.number());
                    set_field(&mut self.directories, id.index(), 0, inode);
                    set_field(&mut self.directories, id.index(), 1, me);
                }
                Node::Leaf(id) => {
                    let home = field(&self.leaves, id.index(), 2) as usize == directory.index();
                    if home && tree.content(id) == Content::CharDevice(0) {
                        set_field(&mut self.directories, directory.index(), 2, 1);
                    }
                    if home && field(&self.leaves, id.index(), 0) == NONE {
                        let inode = self.push(node.number());
                        set_field(&mut self.leaves, id.index(), 0, inode);
                    }
                }
            }
        }
        for (number, _) in stubs {
            self.stubs[number] = self.push(STUB);
        }
    }

    /// The entries of a directory as the image has them: with `.`, `..` and the stubs, sorted.
    pub(super) fn entries(&self, directory: DirId) -> Dirents<'_, 't> {
        let me = field(&self.directories, directory.index(), 0);
        let parent = field(&self.directories, directory.index(), 1);
        let mut added: Vec<(&[u8], u32, Type)> = vec![
            (b".", me, Type::Directory),
            (b"..", parent, Type::Directory),
        ];
        if directory == DirId::ROOT {
            let stubs = STUBS.iter().zip(&self.stubs);
            let stubs = stubs.filter(|(_, inode)| **inode != NONE);
            added.extend(stubs.map(|(name, inode)| (&name[..], *inode, Type::CharDevice)));
        }
        Dirents {
            order: self,
            added: added.into_iter().peekable(),
            found: self.tree.entries(directory).peekable(),
        }
    }

    fn inode_of(&self, node: Node) -> u32 {
        match node {
            Node::Directory(id) => field(&self.directories, id.index(), 0),
            Node::Leaf(id) => field(&self.leaves, id.index(), 0),
        }
    }

    fn kind_of(&self, node: Node) -> Type {
        match node {
            Node::Directory(_) => Type::Directory,
            Node::Leaf(id) => Type::of_content(&self.tree.content(id)),
        }
    }
}

/// An entry of a directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dirent<'t> {
    pub(super) name: &'t [u8],
    pub(super) inode: usize,
    pub(super) kind: Type,
}

/// See [`Order::entries`].
pub(super) struct Dirents<'o, 't> {
    order: &'o Order<'t>,
    added: Peekable<std::vec::IntoIter<(&'t [u8], u32, Type)>>,
    found: Peekable<Entries<'t>>,
}

impl<'t> Iterator for Dirents<'_, 't> {
    type Item = Dirent<'t>;

    fn next(&mut self) -> Option<Self::Item> {
        let before = match (self.added.peek(), self.found.peek()) {
            (Some((added, ..)), Some((found, _))) => added < found,
            (added, _) => added.is_some(),
        };
        let (name, inode, kind) = if before {
            self.added.next()?
        } else {
            let (name, node) = self.found.next()?;
            (name, self.order.inode_of(node), self.order.kind_of(node))
        };
        Some(Dirent {
            name,
            inode: inode as usize,
            kind,
        })
    }
}
