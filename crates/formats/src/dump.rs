//! The text form of a tree: composefs-dump(5), which `mkcomposefs --from-file` reads and
//! `composefs-info dump` writes.
//!
//! One line for each name: `PATH SIZE MODE NLINK UID GID RDEV MTIME PAYLOAD CONTENT DIGEST
//! [KEY=VALUE…]`, parents first. The parser is strict: it takes what [`encode`] and the
//! reference tools write and refuses everything that a tree cannot hold.

mod parse;

pub use parse::{DumpError, Reason, parse};

use crate::tree::{Content, Directory, Entry, LeafId, Meta, Node, Tree};
use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::Write as _;

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const BLOCK_DEVICE: u32 = 0o060_000;
const CHAR_DEVICE: u32 = 0o020_000;
const FIFO: u32 = 0o010_000;
const SOCKET: u32 = 0o140_000;

/// The dump of a tree: ASCII, names in byte order. The second and later names of a leaf, in
/// this order, are hard links to the first.
pub fn encode(tree: &Tree) -> String {
    let links = link_counts(tree);
    let mut first: HashMap<LeafId, Vec<u8>> = HashMap::new();
    let mut out = String::new();
    let Ok(()) = tree.walk(|path, entry| {
        match entry {
            Entry::Directory(directory) => encode_directory(&mut out, path, directory),
            Entry::Leaf(id, leaf) => {
                if let Some(target) = first.get(&id) {
                    field(&mut out, path);
                    out.push_str(" 0 @120000 - - - - 0.0 ");
                    field(&mut out, target);
                    out.push_str(" - -\n");
                } else {
                    encode_leaf(&mut out, path, &leaf.meta, &leaf.content, links[id.0]);
                    if links[id.0] > 1 {
                        first.insert(id, path.to_vec());
                    }
                }
            }
        }
        Ok::<(), Infallible>(())
    });
    out
}

/// How many names each leaf has.
fn link_counts(tree: &Tree) -> Vec<usize> {
    let mut links = vec![0; tree.leaves.len()];
    let Ok(()) = tree.walk(|_, entry| {
        if let Entry::Leaf(id, _) = entry {
            links[id.0] += 1;
        }
        Ok::<(), Infallible>(())
    });
    links
}

fn encode_directory(out: &mut String, path: &[u8], directory: &Directory) {
    let folders = directory
        .entries
        .values()
        .filter(|node| matches!(node, Node::Directory(_)))
        .count();
    head(out, path, 0, DIRECTORY, folders + 2, &directory.meta, 0);
    out.push_str("- - -");
    attributes(out, &directory.meta);
}

fn encode_leaf(out: &mut String, path: &[u8], meta: &Meta, content: &Content, links: usize) {
    let (kind, size, device) = match content {
        Content::Inline(data) => (REGULAR, data.len() as u64, 0),
        Content::Object { size, .. } => (REGULAR, *size, 0),
        Content::Symlink(target) => (SYMLINK, target.len() as u64, 0),
        Content::BlockDevice(number) => (BLOCK_DEVICE, 0, *number),
        Content::CharDevice(number) => (CHAR_DEVICE, 0, *number),
        Content::Fifo => (FIFO, 0, 0),
        Content::Socket => (SOCKET, 0, 0),
    };
    head(out, path, size, kind, links, meta, device);
    match content {
        Content::Inline(data) => {
            out.push_str("- ");
            field(out, data);
            out.push_str(" -");
        }
        Content::Object { digest, .. } => {
            out.push_str(&digest.object_path());
            let _ = write!(out, " - {digest}");
        }
        Content::Symlink(target) => {
            field(out, target);
            out.push_str(" - -");
        }
        _ => out.push_str("- - -"),
    }
    attributes(out, meta);
}

/// The fields up to the time.
fn head(
    out: &mut String,
    path: &[u8],
    size: u64,
    kind: u32,
    links: usize,
    meta: &Meta,
    device: u64,
) {
    field(out, path);
    // Writing to a string does not fail.
    let _ = write!(
        out,
        " {size} {:o} {links} {} {} {device} {}.{} ",
        kind | (meta.mode & 0o7777),
        meta.uid,
        meta.gid,
        meta.mtime.seconds,
        meta.mtime.nanoseconds
    );
}

fn attributes(out: &mut String, meta: &Meta) {
    for (name, value) in &meta.xattrs {
        out.push(' ');
        escape(out, name, true);
        out.push('=');
        escape(out, value, true);
    }
    out.push('\n');
}

/// A field that may be absent: `-`.
fn field(out: &mut String, bytes: &[u8]) {
    match bytes {
        [] => out.push('-'),
        b"-" => out.push_str("\\x2d"),
        _ => escape(out, bytes, false),
    }
}

fn escape(out: &mut String, bytes: &[u8], equals: bool) {
    for byte in bytes {
        match byte {
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            b'=' if equals => out.push_str("\\x3d"),
            b'!'..=b'~' => out.push(char::from(*byte)),
            _ => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
}
