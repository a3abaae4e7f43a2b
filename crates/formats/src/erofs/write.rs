//! Inodes to bytes: each gets its place, then everything is written once.

use super::attributes::{Shared, share};
use super::collect::{Body, Entry, Inode, collect, stub_meta};
use super::{
    BLOCK, COMPACT, EXTENDED, FEATURES, FIRST_INODE, FLAG_HAS_ACL, HEADER_MAGIC, LAYOUT_CHUNKS,
    LAYOUT_INLINE, LAYOUT_PLAIN, SLOT, SUPERBLOCK, SUPERBLOCK_MAGIC, Version, attributes,
};
use crate::tree::{Time, Tree};
use crate::verity::Algorithm;

/// The most hole entries that a block of their own takes.
const MAX_HOLES: usize = BLOCK / 4;

/// Where everything stands.
struct Layout {
    inodes: Vec<usize>,
    inodes_end: usize,
    blocks: Vec<usize>,
    end: usize,
    /// The time that compact inodes have.
    time: Time,
}

/// Writes the image of a tree. Leaves without a name are left out.
///
/// The tree is written as it is: see [`crate::form::canonical`] for what makes two trees
/// equal. Names longer than 255 bytes, attribute names longer than 255 and values longer
/// than 65,535 bytes, which no file system has, are not representable.
pub fn write<A: Algorithm>(tree: &Tree<A>, version: Version) -> Vec<u8> {
    let stub = stub_meta(&tree.root.meta);
    let mut inodes = collect(tree, &stub, version);
    let acl = inodes
        .iter()
        .any(|inode| inode.own.iter().any(attributes::Attribute::is_acl));
    let shared = share(&mut inodes);
    let time = inodes
        .iter()
        .map(|inode| inode.meta.mtime)
        .min()
        .unwrap_or_default();
    for inode in &mut inodes {
        promote(inode, time);
    }
    let layout = place(&inodes, &shared, time);
    let mut out = Vec::with_capacity(layout.end);
    let flags = if acl { FLAG_HAS_ACL } else { 0 };
    for field in [HEADER_MAGIC, 1, flags, version.number()] {
        out.extend(field.to_le_bytes());
    }
    out.resize(SUPERBLOCK, 0);
    superblock(&mut out, &layout);
    for (index, inode) in inodes.iter().enumerate() {
        write_inode(&mut out, index, inode, &shared, &layout);
    }
    out.resize(layout.inodes_end, 0);
    out.extend_from_slice(&shared.table);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
    for inode in &inodes {
        write_blocks(&mut out, inode, &layout);
    }
    out
}

/// Moves what does not fit beside its inode to a block of its own.
fn promote(inode: &mut Inode<'_>, time: Time) {
    let attributes = inode.attributes_size();
    let header = header_size(inode, time);
    match &mut inode.body {
        Body::Target { target, promoted } => {
            *promoted = header + attributes + target.len() >= BLOCK;
        }
        Body::Holes {
            count, promoted, ..
        } => *promoted = *count * 4 + attributes % SLOT > BLOCK,
        _ => {}
    }
}

fn header_size(inode: &Inode<'_>, time: Time) -> usize {
    let compact = inode.meta.mtime == time
        && u16::try_from(inode.links).is_ok()
        && u16::try_from(inode.meta.uid).is_ok()
        && u16::try_from(inode.meta.gid).is_ok()
        && u32::try_from(inode.size).is_ok();
    if compact { COMPACT } else { EXTENDED }
}

/// Bytes of content that stand at the inode.
fn tail(inode: &Inode<'_>) -> usize {
    match &inode.body {
        Body::Directory { tail, .. } => tail.iter().map(|entry| 12 + entry.name.len()).sum(),
        Body::Bytes { data, blocks } => data.len().saturating_sub(blocks * BLOCK),
        Body::Target { promoted: true, .. }
        | Body::Holes { promoted: true, .. }
        | Body::Number(_) => 0,
        Body::Target { target, .. } => target.len(),
        Body::Holes { count, .. } => count * 4,
    }
}

/// Blocks of content.
fn blocks(inode: &Inode<'_>) -> usize {
    match &inode.body {
        Body::Directory { blocks, .. } => blocks.len(),
        Body::Bytes { blocks, .. } => *blocks,
        Body::Target { promoted, .. } | Body::Holes { promoted, .. } => usize::from(*promoted),
        Body::Number(_) => 0,
    }
}

/// Gives every inode and block its place. No tail may cross the end of a block, and old
/// kernels refuse a link whose inode does.
fn place(inodes: &[Inode<'_>], shared: &Shared, time: Time) -> Layout {
    let mut at = FIRST_INODE;
    let mut layout = Layout {
        inodes: Vec::with_capacity(inodes.len()),
        inodes_end: 0,
        blocks: Vec::with_capacity(inodes.len()),
        end: 0,
        time,
    };
    for inode in inodes {
        let head = header_size(inode, time) + inode.attributes_size();
        let tail = tail(inode);
        let to_block = |at: usize| at.next_multiple_of(BLOCK) - at;
        at += match &inode.body {
            Body::Target { target, .. } if at % BLOCK + head + target.len() > BLOCK => to_block(at),
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
        layout.inodes.push(at);
        at = (at + head + tail).next_multiple_of(SLOT);
    }
    layout.inodes_end = at;
    at = (at + shared.table.len()).next_multiple_of(BLOCK);
    for inode in inodes {
        layout.blocks.push(at);
        at += blocks(inode) * BLOCK;
    }
    layout.end = at;
    layout
}

/// The kernel's fields are 32 bits wide; an image that is larger is not made from a tree in memory.
fn narrow(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// A field of a compact inode, where [`header_size`] found that it fits.
fn short<V: TryInto<u16>>(value: V) -> u16 {
    value.try_into().unwrap_or(u16::MAX)
}

fn superblock(out: &mut Vec<u8>, layout: &Layout) {
    let start = out.len();
    out.extend(SUPERBLOCK_MAGIC.to_le_bytes());
    out.extend(0_u32.to_le_bytes());
    out.extend(FEATURES.to_le_bytes());
    out.extend([12, 0]);
    // The root is the first inode, so its number is always small.
    let root = u16::try_from(layout.inodes[0] / SLOT).unwrap_or(u16::MAX);
    out.extend(root.to_le_bytes());
    out.extend((layout.inodes.len() as u64).to_le_bytes());
    out.extend(layout.time.seconds.to_le_bytes());
    out.extend(layout.time.nanoseconds.to_le_bytes());
    out.extend(narrow(layout.end / BLOCK).to_le_bytes());
    out.extend(0_u32.to_le_bytes());
    out.extend(narrow(layout.inodes_end / BLOCK).to_le_bytes());
    out.resize(start + 128, 0);
}

fn write_inode(
    out: &mut Vec<u8>,
    index: usize,
    inode: &Inode<'_>,
    shared: &Shared,
    layout: &Layout,
) {
    out.resize(layout.inodes[index], 0);
    let block = narrow(layout.blocks[index] / BLOCK);
    let (data_layout, number) = match &inode.body {
        Body::Number(number) => (LAYOUT_PLAIN, *number),
        Body::Holes { bits, promoted, .. } => {
            let upper = if *promoted { block & 0xffff_0000 } else { 0 };
            (LAYOUT_CHUNKS, upper | bits)
        }
        _ if tail(inode) == 0 => (LAYOUT_PLAIN, block),
        _ if blocks(inode) == 0 => (LAYOUT_INLINE, 0),
        _ => (LAYOUT_INLINE, block),
    };
    let attributes = inode.encode_attributes(shared, layout.inodes_end);
    let words = match attributes.len() {
        0 => 0,
        size => u16::try_from(1 + (size - attributes::HEADER) / 4).unwrap_or(u16::MAX),
    };
    let mode = inode.kind.mode() | (inode.meta.mode & 0o7777) as u16;
    let compact = header_size(inode, layout.time) == COMPACT;
    out.extend((data_layout | u16::from(!compact)).to_le_bytes());
    out.extend(words.to_le_bytes());
    out.extend(mode.to_le_bytes());
    if compact {
        out.extend(short(inode.links).to_le_bytes());
        out.extend(u32::try_from(inode.size).unwrap_or(u32::MAX).to_le_bytes());
        out.extend(0_u32.to_le_bytes());
        out.extend(number.to_le_bytes());
        out.extend(narrow(index).to_le_bytes());
        out.extend(short(inode.meta.uid).to_le_bytes());
        out.extend(short(inode.meta.gid).to_le_bytes());
        out.extend([0; 4]);
    } else {
        out.extend(0_u16.to_le_bytes());
        out.extend(inode.size.to_le_bytes());
        out.extend(number.to_le_bytes());
        out.extend(narrow(index).to_le_bytes());
        out.extend(inode.meta.uid.to_le_bytes());
        out.extend(inode.meta.gid.to_le_bytes());
        out.extend(inode.meta.mtime.seconds.to_le_bytes());
        out.extend(inode.meta.mtime.nanoseconds.to_le_bytes());
        out.extend(narrow(inode.links).to_le_bytes());
        out.extend([0; 16]);
    }
    out.extend(attributes);
    match &inode.body {
        Body::Directory { tail, .. } => write_entries(out, tail, layout),
        Body::Bytes { data, blocks } => {
            out.extend_from_slice(data.get(blocks * BLOCK..).unwrap_or_default());
        }
        Body::Target {
            target,
            promoted: false,
        } => out.extend_from_slice(target),
        Body::Holes {
            count,
            promoted: false,
            ..
        } => out.resize(out.len() + count * 4, 0xff),
        _ => {}
    }
}

fn write_entries(out: &mut Vec<u8>, entries: &[Entry<'_>], layout: &Layout) {
    let mut name_at = 12 * entries.len();
    for entry in entries {
        out.extend(((layout.inodes[entry.inode] / SLOT) as u64).to_le_bytes());
        // Entries and names of a block fit into it.
        out.extend(u16::try_from(name_at).unwrap_or(u16::MAX).to_le_bytes());
        out.extend([entry.kind.entry(), 0]);
        name_at += entry.name.len();
    }
    for entry in entries {
        out.extend_from_slice(entry.name);
    }
}

fn write_blocks(out: &mut Vec<u8>, inode: &Inode<'_>, layout: &Layout) {
    let end = out.len() + blocks(inode) * BLOCK;
    match &inode.body {
        Body::Directory { blocks, .. } => {
            for block in blocks {
                write_entries(out, block, layout);
                out.resize(out.len().next_multiple_of(BLOCK), 0);
            }
        }
        Body::Bytes { data, blocks } => {
            out.extend_from_slice(&data[..data.len().min(blocks * BLOCK)]);
        }
        Body::Target {
            target,
            promoted: true,
        } => out.extend_from_slice(&target[..target.len().min(BLOCK)]),
        Body::Holes { promoted: true, .. } => out.resize(out.len() + 4 * MAX_HOLES, 0xff),
        _ => {}
    }
    out.resize(end, 0);
}
