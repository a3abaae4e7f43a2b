//! A tree as the list of inodes that an image holds, in their order.

use super::attributes::Attribute;
use super::{
    BLOCK, ESCAPED, METACOPY, OPAQUE, OVERLAY, REDIRECT, SELINUX, Type, Version, WHITEOUT,
};
use crate::tree::{Content, Directory, Leaf, LeafId, Meta, Node, Tree};
use crate::verity::Algorithm;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// An inode before it has a place.
#[derive(Debug)]
pub(super) struct Inode<'a> {
    pub(super) meta: &'a Meta,
    pub(super) kind: Type,
    pub(super) links: usize,
    /// `st_size`.
    pub(super) size: u64,
    pub(super) body: Body<'a>,
    /// Attributes that stand at the inode; before sharing, all.
    pub(super) own: Vec<Attribute>,
    /// Places in the shared table.
    pub(super) shared: Vec<usize>,
    /// Bits of the names that it has.
    pub(super) filter: u32,
}

/// What an inode holds.
#[derive(Debug)]
pub(super) enum Body<'a> {
    /// Entries: whole blocks, then those that stand at the inode.
    Directory {
        blocks: Vec<Vec<Entry<'a>>>,
        tail: Vec<Entry<'a>>,
    },
    /// A file's bytes: whole blocks, then the rest at the inode.
    Bytes { data: &'a [u8], blocks: usize },
    /// A link's target, in a block of its own where it does not fit beside the inode.
    Target { target: &'a [u8], promoted: bool },
    /// A file whose content is an object: holes of this count, and the size of each as a power of two.
    Holes {
        count: usize,
        bits: u32,
        promoted: bool,
    },
    /// Nothing but a number: devices, pipes, sockets, empty files.
    Number(u32),
}

/// An entry of a directory.
#[derive(Debug, Clone)]
pub(super) struct Entry<'a> {
    pub(super) name: &'a [u8],
    pub(super) inode: usize,
    pub(super) kind: Type,
}

/// At most so much of a file or directory stands at its inode.
const MAX_TAIL: usize = BLOCK / 2;

/// What stands under a name.
enum Child<'a, A> {
    Directory(&'a Directory),
    Leaf(LeafId, &'a Leaf<A>),
    /// One of the 256 names that hide the object folders on kernels without data-only layers.
    Stub,
}

impl Inode<'_> {
    /// Gives it an attribute in the place of one of the same name.
    fn set(&mut self, name: &[u8], value: &[u8]) {
        self.own.retain(|attribute| attribute.name != name);
        self.own.push(Attribute::new(name, value));
    }
}

struct Collector<'a, A> {
    tree: &'a Tree<A>,
    inodes: Vec<Inode<'a>>,
    /// Names of each leaf, and the folder of the first one in depth-first order.
    names: HashMap<LeafId, (usize, *const Directory)>,
    /// Leaves that have an inode.
    placed: HashMap<LeafId, usize>,
    stub: &'a Meta,
    version: Version,
}

/// The metadata of the 256 stubs: the root's owner, times and `security.selinux` label.
pub(super) fn stub_meta(root: &Meta) -> Meta {
    Meta {
        mode: 0o644,
        xattrs: root
            .xattrs
            .iter()
            .filter(|(name, _)| name.as_slice() == SELINUX)
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        ..root.clone()
    }
}

/// The names of the stubs.
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

/// The inodes of a tree, breadth first, children in the order of their names. A leaf with
/// several names gets its number in the folder that holds its first name in depth-first order.
pub(super) fn collect<'a, A: Algorithm>(
    tree: &'a Tree<A>,
    stub: &'a Meta,
    version: Version,
) -> Vec<Inode<'a>> {
    let mut collector = Collector {
        tree,
        version,
        inodes: Vec::new(),
        names: HashMap::new(),
        placed: HashMap::new(),
        stub,
    };
    collector.count(&tree.root);
    let root = collector.directory(&tree.root);
    let mut queue = VecDeque::from([(&tree.root, root, root)]);
    let mut later = Vec::new();
    while let Some((directory, parent, me)) = queue.pop_front() {
        let entries = collector.entries(directory, parent, me, &mut queue);
        later.push((me, entries));
    }
    for (me, entries) in later {
        collector.fill(me, entries);
    }
    collector.inodes[root].set(OPAQUE, b"y");
    collector.inodes
}

/// An entry whose leaf may not have its number yet.
type Open<'a> = (&'a [u8], Result<usize, LeafId>);

impl<'a, A: Algorithm> Collector<'a, A> {
    fn count(&mut self, directory: &'a Directory) {
        for node in directory.entries.values() {
            match node {
                Node::Directory(child) => self.count(child),
                Node::Leaf(id) => {
                    self.names
                        .entry(*id)
                        .or_insert((0, std::ptr::from_ref(directory)))
                        .0 += 1;
                }
            }
        }
    }

    fn entries(
        &mut self,
        directory: &'a Directory,
        parent: usize,
        me: usize,
        queue: &mut VecDeque<(&'a Directory, usize, usize)>,
    ) -> Vec<Open<'a>> {
        let mut children: BTreeMap<&[u8], Child<'a, A>> = BTreeMap::new();
        if me == 0 {
            children.extend(STUBS.iter().map(|name| (&name[..], Child::Stub)));
        }
        for (name, node) in &directory.entries {
            let child = match node {
                Node::Directory(child) => Child::Directory(child),
                Node::Leaf(id) => Child::Leaf(*id, self.tree.leaf(*id)),
            };
            children.insert(name, child);
        }
        let mut entries: Vec<Open<'a>> = vec![(&b"."[..], Ok(me)), (&b".."[..], Ok(parent))];
        let mut hides = false;
        for (name, child) in children {
            let inode = match child {
                Child::Directory(child) => {
                    let inode = self.directory(child);
                    queue.push_back((child, me, inode));
                    Ok(inode)
                }
                Child::Stub => {
                    let stub = self.stub;
                    Ok(self.push(stub, Type::CharDevice, 1, 0, Body::Number(0)))
                }
                Child::Leaf(id, leaf) => {
                    let (links, first) = self.names[&id];
                    let home = std::ptr::eq(first, directory);
                    hides |= home && leaf.content == Content::CharDevice(0);
                    match self.placed.get(&id) {
                        Some(inode) => Ok(*inode),
                        None if home => Ok(self.leaf(id, leaf, links)),
                        None => Err(id),
                    }
                }
            };
            entries.push((name, inode));
        }
        if hides {
            for (name, value) in self.version.whiteout_parent() {
                self.inodes[me].set(name, value);
            }
        }
        entries.sort_unstable_by_key(|(name, _)| *name);
        entries
    }

    /// Cuts the entries of a directory into blocks.
    fn fill(&mut self, me: usize, entries: Vec<Open<'a>>) {
        let (mut blocks, mut tail) = (Vec::new(), Vec::new());
        let (mut bytes, mut links) = (0, 0);
        for (name, inode) in entries {
            let inode = inode.unwrap_or_else(|id| self.placed[&id]);
            let kind = self.inodes[inode].kind;
            links += usize::from(kind == Type::Directory);
            let size = 12 + name.len();
            if bytes + size > BLOCK {
                blocks.push(std::mem::take(&mut tail));
                bytes = 0;
            }
            bytes += size;
            tail.push(Entry { name, inode, kind });
        }
        if bytes > MAX_TAIL {
            blocks.push(std::mem::take(&mut tail));
            bytes = 0;
        }
        let inode = &mut self.inodes[me];
        inode.size = (blocks.len() * BLOCK + bytes) as u64;
        inode.links = links;
        inode.body = Body::Directory { blocks, tail };
    }

    fn directory(&mut self, directory: &'a Directory) -> usize {
        let body = Body::Directory {
            blocks: Vec::new(),
            tail: Vec::new(),
        };
        self.push(&directory.meta, Type::Directory, 0, 0, body)
    }

    fn leaf(&mut self, id: LeafId, leaf: &'a Leaf<A>, links: usize) -> usize {
        let mut extra: Vec<(&[u8], Vec<u8>)> = Vec::new();
        let (kind, size, body) = match &leaf.content {
            Content::Inline(data) if data.is_empty() => (Type::Regular, 0, Body::Number(0)),
            Content::Inline(data) => {
                let blocks = data.len() / BLOCK + usize::from(data.len() % BLOCK > MAX_TAIL);
                (
                    Type::Regular,
                    data.len() as u64,
                    Body::Bytes { data, blocks },
                )
            }
            Content::Object { digest, size } => {
                let hex = digest.to_string();
                extra.push((METACOPY, metacopy(digest)));
                let redirect = format!("/{}/{}", &hex[..2], &hex[2..]);
                extra.push((REDIRECT, redirect.into_bytes()));
                (Type::Regular, *size, holes(*size))
            }
            Content::Symlink(target) => {
                let promoted = false;
                (
                    Type::Symlink,
                    target.len() as u64,
                    Body::Target { target, promoted },
                )
            }
            // A whiteout that is content would hide things in the overlay, so it is escaped.
            Content::CharDevice(0) => {
                extra.extend(WHITEOUT.map(|(name, value)| (name, value.to_vec())));
                (Type::Regular, 0, Body::Number(0))
            }
            Content::CharDevice(number) => (Type::CharDevice, 0, Body::Number(device(*number))),
            Content::BlockDevice(number) => (Type::BlockDevice, 0, Body::Number(device(*number))),
            Content::Fifo => (Type::Fifo, 0, Body::Number(0)),
            Content::Socket => (Type::Socket, 0, Body::Number(0)),
        };
        let inode = self.push(&leaf.meta, kind, links, size, body);
        for (name, value) in extra {
            self.inodes[inode].set(name, &value);
        }
        self.placed.insert(id, inode);
        inode
    }

    fn push(
        &mut self,
        meta: &'a Meta,
        kind: Type,
        links: usize,
        size: u64,
        body: Body<'a>,
    ) -> usize {
        let own = meta
            .xattrs
            .iter()
            .map(|(name, value)| match name.strip_prefix(OVERLAY) {
                Some(rest) => Attribute::new(&[ESCAPED, rest].concat(), value),
                None => Attribute::new(name, value),
            });
        self.inodes.push(Inode {
            meta,
            kind,
            links,
            size,
            body,
            own: own.collect(),
            shared: Vec::new(),
            filter: 0,
        });
        self.inodes.len() - 1
    }
}

/// The value of overlayfs's metacopy attribute (`fs/overlayfs/overlayfs.h`, `struct ovl_metacopy`): version, length,
/// flags, algorithm, digest.
fn metacopy<A: Algorithm>(digest: &A) -> Vec<u8> {
    let bytes = digest.bytes();
    let length = u8::try_from(4 + bytes.len()).unwrap_or(u8::MAX);
    [&[0, length, 0, A::NUMBER], bytes].concat()
}

/// The low 32 bits of a `makedev` number are the kernel's own encoding.
fn device(number: u64) -> u32 {
    (number & 0xffff_ffff) as u32
}

/// As few holes as possible for a size, each of a power of two between 4 KiB and 8 TiB.
fn holes(size: u64) -> Body<'static> {
    let bits = (64 - size.saturating_sub(1).leading_zeros()).clamp(12, 12 + 31);
    let count = usize::try_from(size.div_ceil(1 << bits)).unwrap_or(usize::MAX);
    Body::Holes {
        count,
        bits: bits - 12,
        promoted: false,
    }
}
