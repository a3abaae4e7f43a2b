//! The text form of a tree: composefs-dump(5), which `mkcomposefs --from-file` reads and
//! `composefs-info dump` writes.
//!
//! One line for each name: `PATH SIZE MODE NLINK UID GID RDEV MTIME PAYLOAD CONTENT DIGEST
//! [KEY=VALUE…]`, parents first. The parser is strict: it takes what [`encode`] and the
//! reference tools write and refuses everything that a tree cannot hold.

mod parse;

pub use parse::{DumpError, MAX_LINE, Parser, Reason, parse};

use crate::tree::{Content, DirId, LeafId, LeafRef, MetaRef, Node, Tree};
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
    let mut out = String::new();
    let Ok(()) = encode_to(tree, |line| {
        out.push_str(line);
        Ok::<(), Infallible>(())
    });
    out
}

/// Gives the dump of a tree to `out`, line by line with their ends; an error of `out` ends it.
pub fn encode_to<E>(tree: &Tree, mut out: impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
    let links = tree.count_names();
    let mut first: HashMap<LeafId, Vec<u8>> = HashMap::new();
    let mut line = String::new();
    tree.walk(|path, node| {
        line.clear();
        match node {
            Node::Directory(id) => encode_directory(&mut line, path, tree, id),
            Node::Leaf(id) => {
                if let Some(target) = first.get(&id) {
                    field(&mut line, path);
                    line.push_str(" 0 @120000 - - - - 0.0 ");
                    field(&mut line, target);
                    line.push_str(" - -\n");
                } else {
                    let links = links[id.index()];
                    encode_leaf(&mut line, path, &tree.leaf(id), links);
                    if links > 1 {
                        first.insert(id, path.to_vec());
                    }
                }
            }
        }
        out(&line)
    })
}

fn encode_directory(out: &mut String, path: &[u8], tree: &Tree, id: DirId) {
    let folders = tree.entries(id);
    let folders = folders.filter(|(_, node)| matches!(node, Node::Directory(_)));
    // Fewer than the tree has nodes.
    let links = u32::try_from(folders.count() + 2).unwrap_or(u32::MAX);
    let meta = tree.meta(id);
    head(out, path, 0, DIRECTORY, links, &meta, 0);
    out.push_str("- - -");
    attributes(out, &meta);
}

fn encode_leaf(out: &mut String, path: &[u8], leaf: &LeafRef<'_>, links: u32) {
    let (kind, size, device) = match leaf.content {
        Content::Inline(data) => (REGULAR, data.len() as u64, 0),
        Content::Object { size, .. } => (REGULAR, size, 0),
        Content::Symlink(target) => (SYMLINK, target.len() as u64, 0),
        Content::BlockDevice(number) => (BLOCK_DEVICE, 0, number),
        Content::CharDevice(number) => (CHAR_DEVICE, 0, number),
        Content::Fifo => (FIFO, 0, 0),
        Content::Socket => (SOCKET, 0, 0),
    };
    head(out, path, size, kind, links, &leaf.meta, device);
    match leaf.content {
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
    attributes(out, &leaf.meta);
}

/// The fields up to the time.
fn head(
    out: &mut String,
    path: &[u8],
    size: u64,
    kind: u32,
    links: u32,
    meta: &MetaRef<'_>,
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

fn attributes(out: &mut String, meta: &MetaRef<'_>) {
    for (name, value) in meta.xattrs.iter() {
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
