//! What the image says of an inode, all but its place.

use super::attributes::{Attribute, HEADER, Plain, escaped};
use super::order::{Order, Source};
use super::shared::Shared;
use super::{BLOCK, COMPACT, EXTENDED, OPAQUE, SELINUX, SLOT, Type, Version, WHITEOUT, attributes};
use crate::digest::Digest;
use crate::tree::{Content, ContentRef, DirId, MetaRef, Node, Time};
use std::borrow::Cow;

/// At most so much of a file or directory stands at its inode.
const MAX_TAIL: usize = BLOCK / 2;
/// An inode names at most this many shared attributes; more stay its own.
const MAX_SHARED: usize = 128;

/// An inode.
pub(super) struct Inode<'t> {
    pub(super) meta: MetaRef<'t>,
    pub(super) kind: Type,
    pub(super) links: usize,
    /// `st_size`.
    pub(super) size: u64,
    pub(super) body: Body<'t>,
    /// Sorted by name.
    pub(super) attributes: Vec<Attribute<'t>>,
}

/// What an inode holds.
pub(super) enum Body<'t> {
    /// Entries: whole blocks, then bytes of those that stand at the inode.
    Directory {
        id: DirId,
        blocks: usize,
        tail: usize,
    },
    /// A file's bytes: whole blocks, then the rest at the inode.
    Bytes { data: &'t [u8], blocks: usize },
    /// A link's target, in a block of its own where it does not fit beside the inode.
    Target { target: &'t [u8], promoted: bool },
    /// A file whose content is an object: holes of this count, and the size of each as a power of two.
    Holes {
        count: usize,
        bits: u32,
        promoted: bool,
    },
    /// Nothing but a number: devices, pipes, sockets, empty files.
    Number(u32),
}

/// Which of its attributes an inode has beside it, and which in the shared table.
pub(super) struct Parted<'i, 't> {
    pub(super) own: Vec<&'i Attribute<'t>>,
    /// Places in the shared table, in bytes.
    pub(super) shared: Vec<usize>,
}

/// The permissions of a stub.
pub(super) const STUB_MODE: u32 = 0o644;

impl<'t> Order<'t> {
    /// The metadata of an inode; a stub has the root's owner and times.
    pub(super) fn meta(&self, inode: usize) -> MetaRef<'t> {
        match self.source(inode) {
            Source::Node(Node::Directory(id)) => self.tree.meta(id),
            Source::Node(Node::Leaf(id)) => self.tree.leaf(id).meta,
            Source::Stub => MetaRef {
                mode: STUB_MODE,
                ..self.tree.meta(DirId::ROOT)
            },
        }
    }

    /// The attributes of an inode, sorted by name.
    pub(super) fn attributes(&self, inode: usize, version: Version) -> Vec<Attribute<'t>> {
        let meta = self.meta(inode);
        let source = self.source(inode);
        if source == Source::Stub {
            let label = meta.xattrs.iter().find(|(name, _)| *name == SELINUX);
            let label = label.map(|(name, value)| plain(name, value));
            return label.into_iter().collect();
        }
        let mut all: Vec<_> = escaped(meta.xattrs).map(Attribute::Plain).collect();
        if let Some(digest) = self.object(inode) {
            all.extend([Attribute::Metacopy(digest), Attribute::Redirect(digest)]);
        }
        for (name, value) in self.marks(inode, version) {
            all.retain(|attribute| attribute.name() != name);
            all.push(plain(name, value));
        }
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all
    }

    /// What overlayfs must see on an inode beside the tree's own attributes.
    pub(super) fn marks(
        &self,
        inode: usize,
        version: Version,
    ) -> impl Iterator<Item = (&'static [u8], &'static [u8])> + use<> {
        let (file, parent, root) = match self.source(inode) {
            // A whiteout that is content would hide things in the overlay, so it is escaped.
            Source::Node(Node::Leaf(id)) => (
                self.tree.content(id) == Content::CharDevice(0),
                false,
                false,
            ),
            Source::Node(Node::Directory(id)) => (false, self.hides(id), id == DirId::ROOT),
            Source::Stub => (false, false, false),
        };
        let file = file.then_some(WHITEOUT).into_iter().flatten();
        let parent = parent.then_some(version.whiteout_parent());
        let root = root.then_some((OPAQUE, b"y".as_slice()));
        file.chain(parent.into_iter().flatten().copied())
            .chain(root)
    }

    /// The object that an inode's content is.
    pub(super) fn object(&self, inode: usize) -> Option<Digest> {
        match self.source(inode) {
            Source::Node(Node::Leaf(id)) => match self.tree.content(id) {
                Content::Object { digest, .. } => Some(digest),
                _ => None,
            },
            _ => None,
        }
    }

    /// An inode; `time` is the one that compact inodes have.
    pub(super) fn inode(
        &self,
        number: usize,
        version: Version,
        shared: &Shared<'t>,
        time: Time,
    ) -> Inode<'t> {
        let (kind, links, size, body) = match self.source(number) {
            Source::Stub => (Type::CharDevice, 1, 0, Body::Number(0)),
            Source::Node(Node::Directory(id)) => self.folder(id),
            Source::Node(Node::Leaf(id)) => {
                let content = self.tree.content(id);
                let (size, body) = of_content(content);
                (Type::of_content(&content), self.names(id), size, body)
            }
        };
        let mut inode = Inode {
            meta: self.meta(number),
            kind,
            links,
            size,
            body,
            attributes: self.attributes(number, version),
        };
        let header = inode.header(time);
        let attributes = inode.attributes_size(&inode.part(shared));
        inode.body.promote(header, attributes);
        inode
    }

    /// Cuts the entries of a directory into blocks: its kind, links, size, and these.
    fn folder(&self, id: DirId) -> (Type, usize, u64, Body<'t>) {
        let (mut links, mut blocks, mut tail) = (0, 0, 0);
        for entry in self.entries(id) {
            links += usize::from(entry.kind == Type::Directory);
            let size = 12 + entry.name.len();
            if tail + size > BLOCK {
                blocks += 1;
                tail = 0;
            }
            tail += size;
        }
        if tail > MAX_TAIL {
            blocks += 1;
            tail = 0;
        }
        let size = (blocks * BLOCK + tail) as u64;
        let body = Body::Directory { id, blocks, tail };
        (Type::Directory, links, size, body)
    }
}

fn plain<'t>(name: &'t [u8], value: &'t [u8]) -> Attribute<'t> {
    Attribute::Plain(Plain {
        name: Cow::Borrowed(name),
        value: Cow::Borrowed(value),
    })
}

impl Type {
    /// The type that content has in the image: a whiteout is a regular file.
    pub(super) fn of_content<B>(content: &Content<B>) -> Self {
        match content {
            Content::Inline(_) | Content::Object { .. } | Content::CharDevice(0) => Self::Regular,
            Content::Symlink(_) => Self::Symlink,
            Content::BlockDevice(_) => Self::BlockDevice,
            Content::CharDevice(_) => Self::CharDevice,
            Content::Fifo => Self::Fifo,
            Content::Socket => Self::Socket,
        }
    }
}

/// The size and the body of a leaf.
fn of_content(content: ContentRef<'_>) -> (u64, Body<'_>) {
    match content {
        Content::Inline(data) if !data.is_empty() => {
            let blocks = data.len() / BLOCK + usize::from(data.len() % BLOCK > MAX_TAIL);
            (data.len() as u64, Body::Bytes { data, blocks })
        }
        Content::Object { size, .. } => (size, holes(size)),
        Content::Symlink(target) => {
            let promoted = false;
            (target.len() as u64, Body::Target { target, promoted })
        }
        Content::CharDevice(number) | Content::BlockDevice(number) => {
            (0, Body::Number(device(number)))
        }
        Content::Inline(_) | Content::Fifo | Content::Socket => (0, Body::Number(0)),
    }
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

impl Body<'_> {
    /// Moves what does not fit beside its inode to a block of its own.
    fn promote(&mut self, header: usize, attributes: usize) {
        match self {
            Self::Target { target, promoted } => {
                *promoted = header + attributes + target.len() >= BLOCK;
            }
            Self::Holes {
                count, promoted, ..
            } => *promoted = *count * 4 + attributes % SLOT > BLOCK,
            _ => {}
        }
    }

    /// Bytes of content that stand at the inode.
    pub(super) fn tail(&self) -> usize {
        match self {
            Self::Directory { tail, .. } => *tail,
            Self::Bytes { data, blocks } => data.len().saturating_sub(blocks * BLOCK),
            Self::Target { promoted: true, .. }
            | Self::Holes { promoted: true, .. }
            | Self::Number(_) => 0,
            Self::Target { target, .. } => target.len(),
            Self::Holes { count, .. } => count * 4,
        }
    }

    /// Blocks of content.
    pub(super) fn blocks(&self) -> usize {
        match self {
            Self::Directory { blocks, .. } | Self::Bytes { blocks, .. } => *blocks,
            Self::Target { promoted, .. } | Self::Holes { promoted, .. } => usize::from(*promoted),
            Self::Number(_) => 0,
        }
    }
}

impl<'t> Inode<'t> {
    /// Whether the short inode says it all.
    pub(super) fn is_compact(&self, time: Time) -> bool {
        self.meta.mtime == time
            && u16::try_from(self.links).is_ok()
            && u16::try_from(self.meta.uid).is_ok()
            && u16::try_from(self.meta.gid).is_ok()
            && u32::try_from(self.size).is_ok()
    }

    /// The size of the inode itself.
    pub(super) fn header(&self, time: Time) -> usize {
        if self.is_compact(time) {
            COMPACT
        } else {
            EXTENDED
        }
    }

    /// Which attributes are its own.
    pub(super) fn part(&self, shared: &Shared<'t>) -> Parted<'_, 't> {
        let mut parted = Parted {
            own: Vec::new(),
            shared: Vec::new(),
        };
        for attribute in &self.attributes {
            match shared.find(attribute) {
                Some(place) if parted.shared.len() < MAX_SHARED => parted.shared.push(place),
                _ => parted.own.push(attribute),
            }
        }
        parted
    }

    /// The size of its attributes in the image.
    pub(super) fn attributes_size(&self, parted: &Parted<'_, 't>) -> usize {
        if self.attributes.is_empty() {
            return 0;
        }
        let own: usize = parted.own.iter().map(|attribute| attribute.size()).sum();
        HEADER + 4 * parted.shared.len() + own
    }

    /// Adds its attributes as the image has them; `shared_at` is where the shared table begins.
    pub(super) fn encode_attributes(
        &self,
        parted: &Parted<'_, 't>,
        shared_at: u64,
        out: &mut Vec<u8>,
    ) {
        if self.attributes.is_empty() {
            return;
        }
        let filter = self
            .attributes
            .iter()
            .map(attributes::Attribute::filter_bit);
        let filter = filter.fold(0, |all, bit| all | bit);
        out.extend((!filter).to_le_bytes());
        out.push(u8::try_from(parted.shared.len()).unwrap_or(u8::MAX));
        out.extend([0; 7]);
        for place in &parted.shared {
            // In words, from the start of the block in which the inodes end.
            let word = (shared_at % BLOCK as u64 + *place as u64) / 4;
            out.extend(u32::try_from(word).unwrap_or(u32::MAX).to_le_bytes());
        }
        for attribute in &parted.own {
            attribute.encode(out);
        }
    }
}
