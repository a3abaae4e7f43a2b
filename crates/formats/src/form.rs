//! Forms: what makes two trees the same image, whatever road they came by.
//!
//! A digest is of a tree in a named form; `docs/formats/tree-forms.md` gives the rules and the
//! reason for each. A rule of a released form never changes: a better form gets a new name.

pub mod oci;
mod rule;

pub use rule::{Property, Rule};

use crate::digest::Digest;
use crate::tree::{Content, DirId, Leaf, LeafRef, Meta, Node, Time, Tree};
use std::fmt;
use std::str::FromStr;

/// A named way to make a tree canonical.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Form {
    /// The tree as found; equal to what the reference writer makes of it.
    Raw,
    /// For systems and apps: only what every road carries.
    #[default]
    Os1,
}

/// A name of no form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no form that this version knows: use `raw` or `os-1`")]
pub struct UnknownForm(String);

/// In the form `os-1`, files of up to this many bytes are [`Content::Inline`], larger ones are
/// objects. What reads folders and archives makes them so; [`settle`] does for other trees.
pub const INLINE_LIMIT: usize = 64;

/// The latest time, in seconds: what a tar header can say in octal (in the year 2242).
const LATEST: i64 = (1 << 33) - 1;

/// The directories that an image of the form `os-1` has empty, and their modes.
const EMPTIED: [(&[u8], u32); 6] = [
    (b"boot", 0o755),
    (b"dev", 0o755),
    (b"proc", 0o555),
    (b"run", 0o755),
    (b"sys", 0o555),
    (b"tmp", 0o1777),
];

const CAPABILITY: &[u8] = b"security.capability";
const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";
const USER: &[u8] = b"user.";
/// What container tools leave on files; it never belongs to the content.
const LEAVINGS: [&[u8]; 3] = [
    b"user.overlay.",
    b"user.containers.",
    b"user.rootlesscontainers",
];

impl Form {
    /// Its name in manifests, signatures and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Os1 => "os-1",
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Form {
    type Err = UnknownForm;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "raw" => Ok(Self::Raw),
            "os-1" => Ok(Self::Os1),
            _ => Err(UnknownForm(s.chars().take(80).collect())),
        }
    }
}

/// Brings a tree into a form, and its names in their order. Doing it twice is doing it once.
pub fn canonical(tree: &mut Tree, form: Form) {
    match form {
        Form::Raw => {}
        Form::Os1 => os1(tree),
    }
    tree.sort();
}

/// Has small contents in the tree and larger ones in objects, as `os-1` does, whoever made it.
///
/// `load` gives the content of an object of at most [`INLINE_LIMIT`] bytes, `save` makes an
/// object; their errors end it.
pub fn settle<E>(
    tree: &mut Tree,
    mut load: impl FnMut(&Digest) -> Result<Vec<u8>, E>,
    mut save: impl FnMut(&[u8]) -> Result<Digest, E>,
) -> Result<(), E> {
    for id in tree.leaves() {
        let leaf = tree.leaf(id);
        let content = match leaf.content {
            Content::Inline(bytes) if bytes.len() > INLINE_LIMIT => Content::Object {
                digest: save(bytes)?,
                size: bytes.len() as u64,
            },
            Content::Object { digest, size } if size <= INLINE_LIMIT as u64 => {
                Content::Inline(load(&digest)?)
            }
            _ => continue,
        };
        let meta = leaf.meta.to_owned();
        tree.set_leaf(id, &Leaf { meta, content });
    }
    Ok(())
}

fn os1(tree: &mut Tree) {
    tree.set_meta(DirId::ROOT, &fixed(0o755));
    for (name, mode) in EMPTIED {
        tree.add_directory(DirId::ROOT, name, &fixed(mode));
    }
    for id in tree.leaves() {
        let leaf = tree.leaf(id);
        if is_canonical(&leaf) {
            continue;
        }
        let mut meta = leaf.meta.to_owned();
        if matches!(leaf.content, Content::Symlink(_)) {
            // Nothing reads a link's mode, and not every archive keeps it.
            meta.mode = 0o777;
        }
        canonical_meta(&mut meta);
        tree.set_leaf_meta(id, &meta);
    }
    for id in tree.directories() {
        let mut meta = tree.meta(id).to_owned();
        canonical_meta(&mut meta);
        tree.set_meta(id, &meta);
        // Archives have no sockets.
        tree.retain(id, |tree, node| match node {
            Node::Leaf(id) => tree.content(id) != Content::Socket,
            Node::Directory(_) => true,
        });
    }
}

/// Root's, from 1970.
fn fixed(mode: u32) -> Meta {
    Meta {
        mode,
        ..Meta::default()
    }
}

/// Whether there is nothing to change, as in most files.
fn is_canonical(leaf: &LeafRef<'_>) -> bool {
    let Meta { mode, mtime, .. } = leaf.meta;
    let mode_stays = match leaf.content {
        Content::Symlink(_) => mode == 0o777,
        _ => mode <= 0o7777,
    };
    let time_stays = mtime.nanoseconds == 0 && (0..=LATEST).contains(&mtime.seconds);
    mode_stays && time_stays && leaf.meta.xattrs.is_empty()
}

fn canonical_meta(meta: &mut Meta) {
    meta.mode &= 0o7777;
    meta.mtime = Time {
        seconds: meta.mtime.seconds.clamp(0, LATEST),
        nanoseconds: 0,
    };
    meta.xattrs.retain(|name, value| match name.as_slice() {
        CAPABILITY => {
            plain_capability(value);
            true
        }
        ACCESS_ACL => !is_minimal_acl(value),
        DEFAULT_ACL => value.len() > ACL_HEADER,
        // Archives that Go's programs write and read have no attribute without a value, and none of
        // such a name.
        _ => {
            name.starts_with(USER)
                && !value.is_empty()
                && !name.iter().any(|byte| matches!(byte, b'=' | b'%'))
                && !LEAVINGS.iter().any(|prefix| name.starts_with(prefix))
        }
    });
}

/// Revision 3 with root's own id is what the kernel shows as revision 2
/// (`linux/capability.h`, `vfs_ns_cap_data`).
fn plain_capability(value: &mut Vec<u8>) {
    if value.len() == 24 && value[3] == 3 && value[20..] == [0; 4] {
        value.truncate(20);
        value[3] = 2;
    }
}

/// The version word of an ACL (`linux/posix_acl_xattr.h`).
const ACL_HEADER: usize = 4;

/// Whether an ACL says no more than the mode: the kernel stores none then.
fn is_minimal_acl(value: &[u8]) -> bool {
    value.get(ACL_HEADER..).is_none_or(|entries| {
        // USER_OBJ, GROUP_OBJ, OTHER; 8 bytes each.
        let tags: Vec<&[u8]> = entries.chunks(8).map(|e| &e[..e.len().min(2)]).collect();
        entries.len() == 24 && tags == [&[1, 0][..], &[4, 0], &[0x20, 0]] || entries.is_empty()
    })
}

#[cfg(test)]
mod tests;
