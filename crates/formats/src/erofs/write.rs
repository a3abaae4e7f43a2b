//! A tree to the bytes of its image: each inode gets its place, then everything is written once, in order.

use super::inode::{Body, Inode};
use super::order::{Dirent, Order};
use super::shared::Shared;
use super::{
    BLOCK, FEATURES, FIRST_INODE, FLAG_HAS_ACL, HEADER_MAGIC, LAYOUT_CHUNKS, LAYOUT_INLINE,
    LAYOUT_PLAIN, SLOT, SUPERBLOCK, SUPERBLOCK_MAGIC, Version, attributes,
};
use crate::digest::Digest;
use crate::table::{Table, read_u32};
use crate::tree::{DirId, Time, Tree};
use crate::verity::Hasher;
use std::convert::Infallible;

/// The most hole entries that a block of their own takes.
const MAX_HOLES: usize = BLOCK / 4;
/// So many bytes are given at once, or a little more.
const PIECE: usize = 64 << 10;

/// Writes the image of a tree into memory: see [`write_to`].
pub fn write(tree: &Tree, version: Version) -> Vec<u8> {
    let mut image = Vec::new();
    let done = write_to(tree, version, |piece| {
        image.extend_from_slice(piece);
        Ok::<(), Infallible>(())
    });
    match done {
        Ok(()) => image,
    }
}

/// The fs-verity digest of the image of a tree, which names it; nothing is kept of the image.
pub fn digest(tree: &Tree, version: Version) -> Digest {
    let mut hasher = Hasher::new(tree.algorithm());
    let done = write_to(tree, version, |piece| {
        hasher.update(piece);
        Ok::<(), Infallible>(())
    });
    match done {
        Ok(()) => hasher.finish().digest,
    }
}

/// Gives the image of a tree to `out`, piece by piece from its start; an error of `out` ends it. Leaves
/// without a name are left out. Beside the tree, some 20 bytes of its room are needed for each inode.
///
/// The tree is written as it is: see [`crate::form::canonical`] for what makes two trees
/// equal. Names longer than 255 bytes, attribute names longer than 255 and values longer
/// than 65,535 bytes, which no file system has, are not representable.
pub fn write_to<E>(
    tree: &Tree,
    version: Version,
    out: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let order = Order::of(tree);
    let times = (0..order.len()).map(|inode| order.meta(inode).mtime);
    let writer = Writer {
        time: times.min().unwrap_or_default(),
        shared: Shared::of(&order, version),
        version,
        order,
    };
    let layout = writer.lay_out();
    let mut out = Out {
        to: out,
        pending: Vec::with_capacity(2 * PIECE),
        given: 0,
    };
    writer.head(&layout, &mut out.pending);
    let mut block = layout.blocks / BLOCK as u64;
    for number in 0..writer.order.len() {
        let inode = writer.inode(number);
        writer.write_inode(number, &inode, narrow(block), &layout, &mut out)?;
        block += inode.body.blocks() as u64;
    }
    out.pad_to(layout.inodes_end)?;
    writer.shared.encode(|bytes| out.add(bytes))?;
    out.pad_to(layout.blocks)?;
    for number in 0..writer.order.len() {
        if layout.has_blocks(number) {
            writer.write_blocks(&writer.inode(number), &layout, &mut out)?;
        }
    }
    out.pad_to(layout.end)?;
    out.flush()
}

/// Where everything stands, in bytes.
struct Layout {
    /// Of each inode: its slot, and whether it has blocks.
    inodes: Table,
    inodes_end: u64,
    blocks: u64,
    end: u64,
}

impl Layout {
    fn slot(&self, inode: usize) -> u32 {
        read_u32(self.inodes.get(inode), 0)
    }

    fn has_blocks(&self, inode: usize) -> bool {
        self.inodes.get(inode)[4] != 0
    }

    fn inode(&self, inode: usize) -> u64 {
        u64::from(self.slot(inode)) * SLOT as u64
    }
}

/// What was written, and what waits to be.
struct Out<F> {
    to: F,
    pending: Vec<u8>,
    given: u64,
}

impl<E, F: FnMut(&[u8]) -> Result<(), E>> Out<F> {
    fn flush(&mut self) -> Result<(), E> {
        (self.to)(&self.pending)?;
        self.given += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    fn settle(&mut self) -> Result<(), E> {
        if self.pending.len() < PIECE {
            return Ok(());
        }
        self.flush()
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), E> {
        self.pending.extend_from_slice(bytes);
        self.settle()
    }

    /// Writes zeros up to a place.
    fn pad_to(&mut self, place: u64) -> Result<(), E> {
        loop {
            let missing = place.saturating_sub(self.given + self.pending.len() as u64);
            if missing == 0 {
                return Ok(());
            }
            let some = usize::try_from(missing).map_or(PIECE, |missing| missing.min(PIECE));
            self.pending.resize(self.pending.len() + some, 0);
            self.settle()?;
        }
    }
}

/// The kernel's fields are 32 bits wide: an image has less than 16 TiB, and its inodes 128 GiB.
fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// A field of a compact inode, which [`Inode::is_compact`] found to fit.
fn short<V: TryInto<u16>>(value: V) -> u16 {
    value.try_into().unwrap_or(u16::MAX)
}

struct Writer<'t> {
    order: Order<'t>,
    shared: Shared<'t>,
    version: Version,
    /// The time that compact inodes have.
    time: Time,
}

impl<'t> Writer<'t> {
    fn inode(&self, number: usize) -> Inode<'t> {
        self.order
            .inode(number, self.version, &self.shared, self.time)
    }

    /// Gives every inode and block its place. No tail may cross the end of a block, and old
    /// kernels refuse a link whose inode does.
    fn lay_out(&self) -> Layout {
        let room = self.order.tree.room();
        let mut inodes = Table::new(room, 5);
        let mut at = FIRST_INODE;
        let mut blocks = 0_u64;
        for number in 0..self.order.len() {
            let inode = self.inode(number);
            let attributes = inode.attributes_size(&inode.part(&self.shared));
            let head = inode.header(self.time) + attributes;
            let tail = inode.body.tail();
            let to_block = |at: usize| at.next_multiple_of(BLOCK) - at;
            at += match &inode.body {
                Body::Target { target, .. } if at % BLOCK + head + target.len() > BLOCK => {
                    to_block(at)
                }
                Body::Holes { promoted: true, .. } => to_block(at),
                Body::Target { .. } | Body::Number(_) => 0,
                _ => {
                    let left = to_block(at + head);
                    if left != 0 && left < tail {
                        left.next_multiple_of(SLOT)
                    } else {
                        0
                    }
                }
            };
            let [a, b, c, d] = narrow((at / SLOT) as u64).to_le_bytes();
            inodes.push(&[a, b, c, d, u8::from(inode.body.blocks() > 0)]);
            blocks += inode.body.blocks() as u64;
            at = (at + head + tail).next_multiple_of(SLOT);
        }
        let inodes_end = at as u64;
        let first = (inodes_end + self.shared.size() as u64).next_multiple_of(BLOCK as u64);
        Layout {
            inodes,
            inodes_end,
            blocks: first,
            end: first + blocks * BLOCK as u64,
        }
    }

    /// The header and the superblock.
    fn head(&self, layout: &Layout, out: &mut Vec<u8>) {
        let flags = if self.shared.has_acl { FLAG_HAS_ACL } else { 0 };
        for field in [HEADER_MAGIC, 1, flags, self.version.number()] {
            out.extend(field.to_le_bytes());
        }
        out.resize(SUPERBLOCK, 0);
        let start = out.len();
        out.extend(SUPERBLOCK_MAGIC.to_le_bytes());
        out.extend(0_u32.to_le_bytes());
        out.extend(FEATURES.to_le_bytes());
        out.extend([12, 0]);
        // The root is the first inode, so its number is always small.
        out.extend(short(layout.slot(0)).to_le_bytes());
        out.extend((self.order.len() as u64).to_le_bytes());
        out.extend(self.time.seconds.to_le_bytes());
        out.extend(self.time.nanoseconds.to_le_bytes());
        out.extend(narrow(layout.end / BLOCK as u64).to_le_bytes());
        out.extend(0_u32.to_le_bytes());
        out.extend(narrow(layout.inodes_end / BLOCK as u64).to_le_bytes());
        out.resize(start + 128, 0);
    }

    fn write_inode<E>(
        &self,
        number: usize,
        inode: &Inode<'t>,
        block: u32,
        layout: &Layout,
        out: &mut Out<impl FnMut(&[u8]) -> Result<(), E>>,
    ) -> Result<(), E> {
        out.pad_to(layout.inode(number))?;
        let (data_layout, value) = match &inode.body {
            Body::Number(value) => (LAYOUT_PLAIN, *value),
            Body::Holes { bits, promoted, .. } => {
                let upper = if *promoted { block & 0xffff_0000 } else { 0 };
                (LAYOUT_CHUNKS, upper | bits)
            }
            body if body.tail() == 0 => (LAYOUT_PLAIN, block),
            body if body.blocks() == 0 => (LAYOUT_INLINE, 0),
            _ => (LAYOUT_INLINE, block),
        };
        let parted = inode.part(&self.shared);
        let words = match inode.attributes_size(&parted) {
            0 => 0,
            size => short(1 + (size - attributes::HEADER) / 4),
        };
        let mode = inode.kind.mode() | (inode.meta.mode & 0o7777) as u16;
        let compact = inode.is_compact(self.time);
        let bytes = &mut out.pending;
        bytes.extend((data_layout | u16::from(!compact)).to_le_bytes());
        bytes.extend(words.to_le_bytes());
        bytes.extend(mode.to_le_bytes());
        if compact {
            bytes.extend(short(inode.links).to_le_bytes());
            bytes.extend(narrow(inode.size).to_le_bytes());
            bytes.extend(0_u32.to_le_bytes());
            bytes.extend(value.to_le_bytes());
            bytes.extend(narrow(number as u64).to_le_bytes());
            bytes.extend(short(inode.meta.uid).to_le_bytes());
            bytes.extend(short(inode.meta.gid).to_le_bytes());
            bytes.extend([0; 4]);
        } else {
            bytes.extend(0_u16.to_le_bytes());
            bytes.extend(inode.size.to_le_bytes());
            bytes.extend(value.to_le_bytes());
            bytes.extend(narrow(number as u64).to_le_bytes());
            bytes.extend(inode.meta.uid.to_le_bytes());
            bytes.extend(inode.meta.gid.to_le_bytes());
            bytes.extend(inode.meta.mtime.seconds.to_le_bytes());
            bytes.extend(inode.meta.mtime.nanoseconds.to_le_bytes());
            bytes.extend(narrow(inode.links as u64).to_le_bytes());
            bytes.extend([0; 16]);
        }
        inode.encode_attributes(&parted, layout.inodes_end, bytes);
        match &inode.body {
            Body::Directory { id, blocks, .. } => {
                self.each_group(*id, |group, entries| {
                    if group == *blocks {
                        write_entries(bytes, entries, layout);
                    }
                    Ok::<(), E>(())
                })?;
            }
            Body::Bytes { data, blocks } => {
                bytes.extend_from_slice(data.get(blocks * BLOCK..).unwrap_or_default());
            }
            Body::Target {
                target,
                promoted: false,
            } => bytes.extend_from_slice(target),
            Body::Holes {
                count,
                promoted: false,
                ..
            } => bytes.resize(bytes.len() + count * 4, 0xff),
            _ => {}
        }
        out.settle()
    }

    /// Gives `visit` the entries of a directory as they stand together: block by block, then those beside
    /// the inode.
    fn each_group<E>(
        &self,
        id: DirId,
        mut visit: impl FnMut(usize, &[Dirent<'t>]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut group, mut bytes) = (0, 0);
        let mut entries = Vec::new();
        for entry in self.order.entries(id) {
            let size = 12 + entry.name.len();
            if bytes + size > BLOCK {
                visit(group, &entries)?;
                entries.clear();
                (group, bytes) = (group + 1, 0);
            }
            bytes += size;
            entries.push(entry);
        }
        visit(group, &entries)
    }

    fn write_blocks<E>(
        &self,
        inode: &Inode<'t>,
        layout: &Layout,
        out: &mut Out<impl FnMut(&[u8]) -> Result<(), E>>,
    ) -> Result<(), E> {
        let blocks = inode.body.blocks();
        if blocks == 0 {
            return Ok(());
        }
        let end = out.given + (out.pending.len() + blocks * BLOCK) as u64;
        match &inode.body {
            Body::Directory { id, .. } => {
                self.each_group(*id, |group, entries| {
                    if group == blocks {
                        return Ok(());
                    }
                    let start = out.pending.len();
                    write_entries(&mut out.pending, entries, layout);
                    out.pending.resize(start + BLOCK, 0);
                    out.settle()
                })?;
            }
            Body::Bytes { data, blocks } => out.add(&data[..data.len().min(blocks * BLOCK)])?,
            Body::Target { target, .. } => out.add(&target[..target.len().min(BLOCK)])?,
            Body::Holes { .. } => out.add(&[0xff; 4 * MAX_HOLES])?,
            Body::Number(_) => {}
        }
        out.pad_to(end)
    }
}

fn write_entries(out: &mut Vec<u8>, entries: &[Dirent<'_>], layout: &Layout) {
    let mut name_at = 12 * entries.len();
    for entry in entries {
        out.extend(u64::from(layout.slot(entry.inode)).to_le_bytes());
        // Entries and names of a block fit into it.
        out.extend(u16::try_from(name_at).unwrap_or(u16::MAX).to_le_bytes());
        out.extend([entry.kind.entry(), 0]);
        name_at += entry.name.len();
    }
    for entry in entries {
        out.extend_from_slice(entry.name);
    }
}
