//! A file-system tree: names, metadata, and objects or inline content.
//!
//! A tree is a few tables of records, and its directories, leaves and names are numbers: a million
//! files take some 100 MB, and that may be in a file instead of memory (see [`Room`]).

mod meta;
mod paths;
mod walk;

pub use meta::{Content, ContentRef, Leaf, LeafRef, Meta, MetaRef, Time, Xattrs};
pub use paths::TooManyLinks;
pub(crate) use paths::{Found, walk_to};
pub use walk::{Walked, components, walk_both};

use crate::digest::{Algorithm, Digest};
use crate::table::{self, Bytes, Index, Place, Room, Table, read_u32, read_u64};
use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, OnceLock};

/// The number of a directory of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirId(u32);

impl DirId {
    /// The root, which every tree has.
    pub const ROOT: Self = Self(0);
}

/// The number of a leaf of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeafId(u32);

/// What stands under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Node {
    /// A directory.
    Directory(DirId),
    /// Anything else: the same number again is a hard link.
    Leaf(LeafId),
}

impl DirId {
    /// From 0, in the order of making.
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

impl LeafId {
    /// From 0, in the order of making.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl Node {
    /// The highest bit is set for a leaf.
    const LEAF: u32 = 1 << 31;
    /// In the place of a name that was removed.
    const REMOVED: u32 = u32::MAX;

    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Directory(id) => id.0,
            Self::Leaf(id) => id.0 | Self::LEAF,
        }
    }

    pub(crate) fn of_number(number: u32) -> Self {
        if number & Self::LEAF == 0 {
            Self::Directory(DirId(number))
        } else {
            Self::Leaf(LeafId(number & !Self::LEAF))
        }
    }
}

/// A whole tree, with a root that is `0:0 0755` of 1970 until it is told otherwise.
#[derive(Clone)]
pub struct Tree {
    algorithm: Algorithm,
    room: Arc<dyn Room>,
    hasher: RandomState,
    /// Names, attributes, targets and inline contents.
    bytes: Bytes,
    /// Distinct sets of attributes: place (64 bits).
    sets: Table,
    set_index: Index,
    /// Distinct owners and modes: mode, uid, gid, set (32 bits each).
    classes: Table,
    class_index: Index,
    /// [`Self::DIRECTORY`]
    directories: Table,
    /// [`Self::ENTRY`]
    entries: Table,
    /// By directory and name; made when a name is looked for in a directory of more than [`FEW`].
    entry_index: OnceLock<Index>,
    /// [`Self::LEAF`] and a digest.
    leaves: Table,
    /// Whether the names of every directory are in their order.
    is_sorted: bool,
}

/// In a directory of so many names or fewer they are looked through.
const FEW: u32 = 32;

/// In the place of an entry's number: none.
const NONE: u32 = u32::MAX;

/// Numbers are of 31 bits: more directories, leaves or names than that need terabytes of room.
fn numbered(index: usize) -> u32 {
    u32::try_from(index)
        .ok()
        .filter(|number| number & Node::LEAF == 0)
        .expect("a tree has less than 2³¹ entries")
}

/// What a leaf's record says of its content.
mod kind {
    pub(super) const INLINE: u32 = 0;
    pub(super) const OBJECT: u32 = 1;
    pub(super) const SYMLINK: u32 = 2;
    pub(super) const BLOCK: u32 = 3;
    pub(super) const CHARACTER: u32 = 4;
    pub(super) const FIFO: u32 = 5;
    pub(super) const SOCKET: u32 = 6;
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree")
            .field("directories", &self.directories.len())
            .field("entries", &self.entries.len())
            .field("leaves", &self.leaves.len())
            .finish_non_exhaustive()
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self::within(&table::memory(), Algorithm::Sha256)
    }
}

impl Tree {
    /// Class (32 bits), seconds (64), nanoseconds (32), first and last entry, entries ever made (32 each).
    const DIRECTORY: usize = 28;
    /// Directory, next entry, node (32 bits each), place of the name (64).
    const ENTRY: usize = 20;
    /// Class (32 bits), seconds (64), nanoseconds, kind (32 each), size or place or number (64); a digest comes after.
    const LEAF: usize = 28;

    /// A tree with nothing in it, in memory, whose objects are named by SHA-256.
    pub fn new() -> Self {
        Self::default()
    }

    /// A tree with nothing in it, whose tables are in this room once they are large. Its objects are named
    /// by this algorithm.
    pub fn within(room: &Arc<dyn Room>, algorithm: Algorithm) -> Self {
        let mut tree = Self {
            algorithm,
            room: Arc::clone(room),
            hasher: RandomState::new(),
            bytes: Bytes::new(room),
            sets: Table::new(room, 8),
            set_index: Index::new(room),
            classes: Table::new(room, 16),
            class_index: Index::new(room),
            directories: Table::new(room, Self::DIRECTORY),
            entries: Table::new(room, Self::ENTRY),
            entry_index: OnceLock::new(),
            leaves: Table::new(room, Self::LEAF + algorithm.bytes()),
            is_sorted: false,
        };
        tree.new_directory(&Meta {
            mode: 0o755,
            ..Meta::default()
        });
        tree
    }

    /// What its objects are named by.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The room of its tables.
    pub fn room(&self) -> &Arc<dyn Room> {
        &self.room
    }

    /// How many directories were made; some may have no name any more.
    pub(crate) fn directory_count(&self) -> usize {
        self.directories.len()
    }

    /// The directories that were made, in that order; some may have no name any more.
    pub fn directories(&self) -> impl Iterator<Item = DirId> + use<> {
        (0..numbered(self.directories.len())).map(DirId)
    }

    /// The leaves that were made, in that order; some may have no name, or none any more.
    pub fn leaves(&self) -> impl DoubleEndedIterator<Item = LeafId> + ExactSizeIterator + use<> {
        (0..numbered(self.leaves.len())).map(LeafId)
    }

    /// What a directory has.
    pub fn meta(&self, directory: DirId) -> MetaRef<'_> {
        self.read_meta(self.directories.get(directory.index()))
    }

    /// Sets what a directory has.
    pub fn set_meta(&mut self, directory: DirId, meta: &Meta) {
        let head = self.meta_record(meta);
        self.directories.get_mut(directory.index())[..16].copy_from_slice(&head);
    }

    /// A leaf.
    pub fn leaf(&self, id: LeafId) -> LeafRef<'_> {
        LeafRef {
            meta: self.read_meta(self.leaves.get(id.index())),
            content: self.content(id),
        }
    }

    /// The number of a node's set of attributes.
    pub(crate) fn set_of(&self, node: Node) -> u32 {
        let record = match node {
            Node::Directory(id) => self.directories.get(id.index()),
            Node::Leaf(id) => self.leaves.get(id.index()),
        };
        read_u32(self.classes.get(read_u32(record, 0) as usize), 12)
    }

    /// What a leaf holds.
    pub fn content(&self, id: LeafId) -> ContentRef<'_> {
        let record = self.leaves.get(id.index());
        let number = read_u64(record, 20);
        match read_u32(record, 16) {
            kind::INLINE => Content::Inline(self.bytes.get(Place(number))),
            kind::OBJECT => Content::Object {
                digest: self
                    .algorithm
                    .digest(&record[Self::LEAF..])
                    .expect("a record has a whole digest"),
                size: number,
            },
            kind::SYMLINK => Content::Symlink(self.bytes.get(Place(number))),
            kind::BLOCK => Content::BlockDevice(number),
            kind::CHARACTER => Content::CharDevice(number),
            kind::FIFO => Content::Fifo,
            _ => Content::Socket,
        }
    }

    /// Makes a leaf; it has no name until one is put into a directory.
    pub fn add_leaf(&mut self, leaf: &Leaf) -> LeafId {
        let record = self.leaf_record(leaf);
        LeafId(numbered(self.leaves.push(&record)))
    }

    /// The first 64 bits of the names of objects that several leaves may have: of all others, one leaf alone
    /// has the object. Needs 8 bytes of memory for each leaf.
    pub fn repeated_objects(&self) -> HashSet<u64> {
        let objects = self.leaves().filter_map(|id| self.object(id));
        let mut starts: Vec<u64> = objects.map(|(digest, _)| digest.start()).collect();
        starts.sort_unstable();
        let pairs = starts.windows(2).filter(|pair| pair[0] == pair[1]);
        pairs.map(|pair| pair[0]).collect()
    }

    /// The object that a leaf's content is, and its size in bytes.
    pub fn object(&self, id: LeafId) -> Option<(Digest, u64)> {
        match self.content(id) {
            Content::Object { digest, size } => Some((digest, size)),
            _ => None,
        }
    }

    /// Makes a leaf and gives it a name; what had the name loses it.
    pub fn put_leaf(&mut self, directory: DirId, name: &[u8], leaf: &Leaf) -> LeafId {
        let id = self.add_leaf(leaf);
        self.insert(directory, name, Node::Leaf(id));
        id
    }

    /// Makes a leaf another one, under all its names.
    pub fn set_leaf(&mut self, id: LeafId, leaf: &Leaf) {
        let record = self.leaf_record(leaf);
        self.leaves.get_mut(id.index()).copy_from_slice(&record);
    }

    /// What has a name in a directory.
    pub fn child(&self, directory: DirId, name: &[u8]) -> Option<Node> {
        let entry = self.find(directory, name)?;
        Some(Node::of_number(read_u32(
            self.entries.get(entry as usize),
            8,
        )))
    }

    /// Gives a name in a directory to a leaf or a directory without a name; what had it loses it.
    pub fn insert(&mut self, directory: DirId, name: &[u8], node: Node) {
        if let Some(entry) = self.find(directory, name) {
            let record = self.entries.get_mut(entry as usize);
            record[8..12].copy_from_slice(&node.number().to_le_bytes());
            return;
        }
        self.append(directory, name, node);
    }

    /// Gives a name that the directory does not have yet to a leaf or a directory without a name. Whether it
    /// has it is not looked at: this is for those who read the names of a directory.
    pub fn append(&mut self, directory: DirId, name: &[u8], node: Node) {
        self.is_sorted = false;
        let place = self.bytes.push(name);
        let mut record = [0; 20];
        record[..4].copy_from_slice(&directory.0.to_le_bytes());
        record[4..8].copy_from_slice(&NONE.to_le_bytes());
        record[8..12].copy_from_slice(&node.number().to_le_bytes());
        record[12..].copy_from_slice(&place.0.to_le_bytes());
        let entry = numbered(self.entries.push(&record));
        let ends = &mut self.directories.get_mut(directory.index())[16..];
        let last = read_u32(ends, 4);
        ends[4..8].copy_from_slice(&entry.to_le_bytes());
        let count = read_u32(ends, 8) + 1;
        ends[8..].copy_from_slice(&count.to_le_bytes());
        if last == NONE {
            ends[..4].copy_from_slice(&entry.to_le_bytes());
        } else {
            self.entries.get_mut(last as usize)[4..8].copy_from_slice(&entry.to_le_bytes());
        }
        let hash = self.hash(directory, name);
        if let Some(index) = self.entry_index.get_mut() {
            index.add(hash, entry);
        }
    }

    /// Makes a directory and gives it a name; what had the name loses it.
    pub fn add_directory(&mut self, parent: DirId, name: &[u8], meta: &Meta) -> DirId {
        let id = self.new_directory(meta);
        self.insert(parent, name, Node::Directory(id));
        id
    }

    /// The same for a name that the directory does not have yet, as for [`Tree::append`].
    pub fn append_directory(&mut self, parent: DirId, name: &[u8], meta: &Meta) -> DirId {
        let id = self.new_directory(meta);
        self.append(parent, name, Node::Directory(id));
        id
    }

    /// Takes a name out of a directory, with all that is below it.
    pub fn remove(&mut self, directory: DirId, name: &[u8]) {
        if let Some(entry) = self.find(directory, name) {
            let hash = self.hash(directory, name);
            if let Some(index) = self.entry_index.get_mut() {
                index.remove(hash, |other| other == entry);
            }
            let record = self.entries.get_mut(entry as usize);
            record[8..12].copy_from_slice(&Node::REMOVED.to_le_bytes());
        }
    }

    /// Takes all names out of a directory.
    pub fn clear(&mut self, directory: DirId) {
        self.retain(directory, |_, _| false);
    }

    /// Takes the names out of a directory that `keep` refuses.
    pub fn retain(&mut self, directory: DirId, mut keep: impl FnMut(&Self, Node) -> bool) {
        let gone: Vec<Vec<u8>> = self
            .entries(directory)
            .filter(|(_, node)| !keep(self, *node))
            .map(|(name, _)| name.to_vec())
            .collect();
        for name in gone {
            self.remove(directory, &name);
        }
    }

    /// Puts the names of every directory in their order, so that they need not be sorted each time that they are
    /// asked for.
    pub fn sort(&mut self) {
        for directory in 0..self.directories.len() {
            let sorted = self.sorted(DirId(numbered(directory)));
            let mut next = NONE;
            for entry in sorted.iter().rev() {
                self.entries.get_mut(*entry as usize)[4..8].copy_from_slice(&next.to_le_bytes());
                next = *entry;
            }
            let last = sorted.last().copied().unwrap_or(NONE);
            let ends = &mut self.directories.get_mut(directory)[16..];
            ends[..4].copy_from_slice(&next.to_le_bytes());
            ends[4..8].copy_from_slice(&last.to_le_bytes());
        }
        self.is_sorted = true;
    }

    /// The names in a directory, without `.` and `..`, sorted by their bytes.
    pub fn entries(&self, directory: DirId) -> Entries<'_> {
        Entries {
            tree: self,
            sorted: self.sorted(directory).into_iter(),
        }
    }

    fn sorted(&self, directory: DirId) -> Vec<u32> {
        let mut sorted = Vec::new();
        let mut next = read_u32(self.directories.get(directory.index()), 16);
        while next != NONE {
            let record = self.entries.get(next as usize);
            if read_u32(record, 8) != Node::REMOVED {
                sorted.push(next);
            }
            next = read_u32(record, 4);
        }
        if !self.is_sorted {
            sorted.sort_by(|a, b| self.name(*a).cmp(self.name(*b)));
        }
        sorted
    }

    /// What stands at a path, without following symbolic links. `/`, doubled and leading
    /// slashes are ignored; `.` and `..` are ordinary names and never found.
    pub fn get(&self, path: &[u8]) -> Option<Node> {
        let mut here = Node::Directory(DirId::ROOT);
        for part in components(path) {
            let Node::Directory(directory) = here else {
                return None;
            };
            here = self.child(directory, part)?;
        }
        Some(here)
    }

    /// The directory at a path, if there is one.
    pub fn directory(&self, path: &[u8]) -> Option<DirId> {
        match self.get(path)? {
            Node::Directory(id) => Some(id),
            Node::Leaf(_) => None,
        }
    }

    /// Lets `change` change the metadata of every directory and leaf.
    pub fn each_meta(&mut self, mut change: impl FnMut(&mut Meta)) {
        for number in 0..numbered(self.directories.len()) {
            let mut meta = self.meta(DirId(number)).to_owned();
            change(&mut meta);
            self.set_meta(DirId(number), &meta);
        }
        for id in self.leaves() {
            let mut meta = self.read_meta(self.leaves.get(id.index())).to_owned();
            change(&mut meta);
            self.set_leaf_meta(id, &meta);
        }
    }

    /// Sets the metadata of a leaf, under all its names.
    pub fn set_leaf_meta(&mut self, id: LeafId, meta: &Meta) {
        let head = self.meta_record(meta);
        self.leaves.get_mut(id.index())[..16].copy_from_slice(&head);
    }

    /// The same tree with its objects named by another algorithm: `name` is given the digest of each.
    #[must_use]
    pub fn rename_objects(
        self,
        algorithm: Algorithm,
        mut name: impl FnMut(&Digest) -> Digest,
    ) -> Self {
        let width = Self::LEAF + algorithm.bytes();
        let mut leaves = Table::new(&self.room, width);
        for id in self.leaves() {
            let mut record = self.leaves.get(id.index())[..Self::LEAF].to_vec();
            if let Content::Object { digest, .. } = self.content(id) {
                record.extend_from_slice(name(&digest).as_bytes());
            }
            record.resize(width, 0);
            leaves.push(&record);
        }
        Self {
            algorithm,
            leaves,
            ..self
        }
    }

    fn new_directory(&mut self, meta: &Meta) -> DirId {
        let mut record = [0xff; 28];
        record[..16].copy_from_slice(&self.meta_record(meta));
        record[24..].fill(0);
        DirId(numbered(self.directories.push(&record)))
    }

    fn name(&self, entry: u32) -> &[u8] {
        let record = self.entries.get(entry as usize);
        self.bytes.get(Place(read_u64(record, 12)))
    }

    fn hash(&self, directory: DirId, name: &[u8]) -> u64 {
        self.hasher.hash_one((directory.0, name))
    }

    fn find(&self, directory: DirId, name: &[u8]) -> Option<u32> {
        let record = self.directories.get(directory.index());
        if read_u32(record, 24) <= FEW {
            let mut next = read_u32(record, 16);
            while next != NONE {
                let record = self.entries.get(next as usize);
                if read_u32(record, 8) != Node::REMOVED && self.name(next) == name {
                    return Some(next);
                }
                next = read_u32(record, 4);
            }
            return None;
        }
        let index = self.entry_index.get_or_init(|| self.index_entries());
        index.find(self.hash(directory, name), |entry| {
            let record = self.entries.get(entry as usize);
            read_u32(record, 0) == directory.0 && self.name(entry) == name
        })
    }

    fn index_entries(&self) -> Index {
        let mut index = Index::new(&self.room);
        for entry in 0..numbered(self.entries.len()) {
            let record = self.entries.get(entry as usize);
            if read_u32(record, 8) != Node::REMOVED {
                let directory = DirId(read_u32(record, 0));
                index.add(self.hash(directory, self.name(entry)), entry);
            }
        }
        index
    }

    fn read_meta(&self, record: &[u8]) -> MetaRef<'_> {
        let class = self.classes.get(read_u32(record, 0) as usize);
        let set = self.sets.get(read_u32(class, 12) as usize);
        Meta {
            mode: read_u32(class, 0),
            uid: read_u32(class, 4),
            gid: read_u32(class, 8),
            mtime: Time {
                seconds: read_u64(record, 4).cast_signed(),
                nanoseconds: read_u32(record, 12),
            },
            xattrs: Xattrs {
                encoded: self.bytes.get(Place(read_u64(set, 0))),
            },
        }
    }

    /// The first 16 bytes of a directory's or leaf's record.
    fn meta_record(&mut self, meta: &Meta) -> [u8; 16] {
        let set = self.set(&meta::encode(&meta.xattrs));
        let mut class = [0; 16];
        for (into, value) in class
            .chunks_mut(4)
            .zip([meta.mode, meta.uid, meta.gid, set])
        {
            into.copy_from_slice(&value.to_le_bytes());
        }
        let hash = self.hasher.hash_one(class);
        let classes = &self.classes;
        let found = self
            .class_index
            .find(hash, |other| classes.get(other as usize) == class);
        let number = found.unwrap_or_else(|| {
            let number = numbered(self.classes.push(&class));
            self.class_index.add(hash, number);
            number
        });
        let mut record = [0; 16];
        record[..4].copy_from_slice(&number.to_le_bytes());
        record[4..12].copy_from_slice(&meta.mtime.seconds.to_le_bytes());
        record[12..].copy_from_slice(&meta.mtime.nanoseconds.to_le_bytes());
        record
    }

    /// The number of a set of attributes.
    fn set(&mut self, encoded: &[u8]) -> u32 {
        let hash = self.hasher.hash_one(encoded);
        let (sets, bytes) = (&self.sets, &self.bytes);
        let bytes_of = |set: u32| bytes.get(Place(read_u64(sets.get(set as usize), 0)));
        let found = self
            .set_index
            .find(hash, |other| bytes_of(other) == encoded);
        found.unwrap_or_else(|| {
            let place = self.bytes.push(encoded);
            let number = numbered(self.sets.push(&place.0.to_le_bytes()));
            self.set_index.add(hash, number);
            number
        })
    }

    fn leaf_record(&mut self, leaf: &Leaf) -> Vec<u8> {
        let mut record = self.meta_record(&leaf.meta).to_vec();
        let (kind, number) = match &leaf.content {
            Content::Inline(bytes) => (kind::INLINE, self.bytes.push(bytes).0),
            Content::Object { size, .. } => (kind::OBJECT, *size),
            Content::Symlink(target) => (kind::SYMLINK, self.bytes.push(target).0),
            Content::BlockDevice(number) => (kind::BLOCK, *number),
            Content::CharDevice(number) => (kind::CHARACTER, *number),
            Content::Fifo => (kind::FIFO, 0),
            Content::Socket => (kind::SOCKET, 0),
        };
        record.extend(kind.to_le_bytes());
        record.extend(number.to_le_bytes());
        if let Content::Object { digest, .. } = &leaf.content {
            // Those who read trees from outside refuse others.
            assert_eq!(digest.algorithm(), self.algorithm, "an object of a tree");
            record.extend_from_slice(digest.as_bytes());
        }
        record.resize(Self::LEAF + self.algorithm.bytes(), 0);
        record
    }
}

/// The names in a directory, in order: see [`Tree::entries`].
#[derive(Debug)]
pub struct Entries<'t> {
    tree: &'t Tree,
    sorted: std::vec::IntoIter<u32>,
}

impl<'t> Iterator for Entries<'t> {
    type Item = (&'t [u8], Node);

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.sorted.next()?;
        let record = self.tree.entries.get(entry as usize);
        Some((
            self.tree.bytes.get(Place(read_u64(record, 12))),
            Node::of_number(read_u32(record, 8)),
        ))
    }
}

#[cfg(test)]
mod tests;
