//! Bytes to a tree. Everything is checked: an image may come from anywhere.

use super::inode::STUB_MODE;
use super::order::STUBS;
use super::source::{Entry, Head, Source, invalid, object, target};
use super::{
    ESCAPED, LAYOUT_CHUNKS, METACOPY, OPAQUE, OVERLAY, REDIRECT, SELINUX, Type, Version, WHITEOUT,
};
use crate::digest::Algorithm;
use crate::table::memory;
use crate::tree::{Content, DirId, Leaf, LeafId, Meta, Node, Tree, Xattrs};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Why an image was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReadError {
    /// It ends before something that it names.
    #[error("the image ends before its {what}: it is truncated or damaged")]
    Truncated {
        /// "superblock", "directory".
        what: &'static str,
    },
    /// A field has a value that no composefs image has.
    #[error(
        "the image's {what} is {value}: it is no composefs image that elea reads (V0, V1, V2), or damaged"
    )]
    Invalid {
        /// "magic number", "directory entry".
        what: &'static str,
        /// What was found.
        value: String,
    },
    /// Its objects have names of another algorithm than those of the tree that it is read into.
    #[error(
        "the image names objects by {found}, and here they are named by {wanted}; use a store with {found} (`elea store init --algorithm {found}`)"
    )]
    Algorithm {
        /// What the image has.
        found: Algorithm,
        /// What the tree has.
        wanted: Algorithm,
    },
    /// The same bytes are used again and again, or folders nest without end.
    #[error("the image's {what} are larger than the image allows")]
    TooLarge {
        /// "folders", "attributes".
        what: &'static str,
    },
}

/// Folders deeper than this have no path that the kernel takes.
pub(super) const MAX_DEPTH: usize = 2048;

/// Reads an image of V0, V1 or V2 back into its tree: the stubs and the overlay's own attributes
/// are taken off, escaped attributes and whiteouts restored. Writing the tree again in the same
/// version gives the same bytes if the image is canonical. The tree has the algorithm that the image has.
///
/// Time and memory are bounded by a small multiple of the size of `image`.
pub fn read(image: &[u8]) -> Result<Tree, ReadError> {
    match read_into(image, Tree::new()) {
        Err(ReadError::Algorithm { found, .. }) => read_into(image, Tree::within(&memory(), found)),
        read => read,
    }
}

/// The same, into a tree that has nothing in it yet, with its room and its algorithm.
pub fn read_into(image: &[u8], tree: Tree) -> Result<Tree, ReadError> {
    let mut reader = Reader::new(Source::open(image)?, tree)?;
    reader.directories()?;
    reader.finish()
}

/// What was read of an image.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) source: Source<'a>,
    /// Bytes of content and of attributes that may still be read.
    content_left: usize,
    attributes_left: usize,
    pub(super) tree: Tree,
    /// Directories that were found.
    seen: HashSet<u64>,
    /// Leaves that say that they have several names.
    leaves: HashMap<u64, LeafId>,
}

impl<'a> Reader<'a> {
    /// Begins with the root.
    pub(super) fn new(source: Source<'a>, tree: Tree) -> Result<Self, ReadError> {
        let mut reader = Self {
            source,
            tree,
            content_left: source.size(),
            // Shared attributes are read once for each inode that names them.
            attributes_left: source.size().saturating_mul(16).saturating_add(16 << 20),
            seen: HashSet::new(),
            leaves: HashMap::new(),
        };
        let root = reader.directory(source.root)?;
        let meta = reader.meta(&root)?;
        reader.tree.set_meta(DirId::ROOT, &meta);
        Ok(reader)
    }

    /// The tree, when all is read that is to be.
    pub(super) fn finish(self) -> Result<Tree, ReadError> {
        let mut tree = self.tree;
        if let Some(version) = self.source.version {
            let mut root = tree.meta(DirId::ROOT).to_owned();
            let opaque = root.xattrs.remove(OPAQUE);
            if opaque.as_deref() != Some(b"y") {
                return Err(invalid("root", &"not opaque"));
            }
            tree.set_meta(DirId::ROOT, &root);
            unstub(&mut tree);
            restore_whiteouts(&mut tree, version);
        }
        tree.each_meta(unescape_names);
        Ok(tree)
    }

    /// What an inode has.
    pub(super) fn meta(&mut self, head: &Head) -> Result<Meta, ReadError> {
        let mut xattrs = BTreeMap::new();
        for attribute in self.source.attributes(head)? {
            spend(&mut self.attributes_left, attribute.size(), "attributes")?;
            let name = attribute.name(self.source.version)?;
            if xattrs.contains_key(&name) {
                return Err(invalid("attribute name", &name.escape_ascii()));
            }
            xattrs.insert(name, attribute.value.to_vec());
        }
        Ok(Meta {
            mode: head.mode,
            uid: head.uid,
            gid: head.gid,
            mtime: head.mtime,
            xattrs,
        })
    }

    fn content(&mut self, head: &Head, what: &'static str) -> Result<Vec<u8>, ReadError> {
        let pieces = self.source.content(head, what)?;
        spend(
            &mut self.content_left,
            pieces.iter().map(|p| p.len()).sum(),
            what,
        )?;
        Ok(pieces.concat())
    }

    /// The names in a directory that was found.
    pub(super) fn entries(&mut self, head: &Head) -> Result<Vec<Entry<'a>>, ReadError> {
        let size = usize::try_from(head.size).unwrap_or(usize::MAX);
        spend(&mut self.content_left, size, "folders")?;
        self.source.entries(head)
    }

    /// Reads all that is below the root.
    fn directories(&mut self) -> Result<(), ReadError> {
        let root = self.source.head(self.source.root)?;
        let mut open = vec![(root, DirId::ROOT, 0)];
        while let Some((head, id, depth)) = open.pop() {
            for (name, number) in self.entries(&head)? {
                let child = self.source.head(number)?;
                if child.kind != Type::Directory {
                    self.leaf(id, name, number, &child)?;
                    continue;
                }
                if depth == MAX_DEPTH {
                    return Err(ReadError::TooLarge { what: "folders" });
                }
                let child = self.directory(number)?;
                let meta = self.meta(&child)?;
                let new = self.tree.append_directory(id, name, &meta);
                open.push((child, new, depth + 1));
            }
        }
        Ok(())
    }

    /// A directory that was not seen before.
    pub(super) fn directory(&mut self, number: u64) -> Result<Head, ReadError> {
        if !self.seen.insert(number) {
            return Err(ReadError::TooLarge { what: "folders" });
        }
        let head = self.source.head(number)?;
        if head.kind != Type::Directory {
            return Err(invalid("directory", &format!("{:?}", head.kind)));
        }
        Ok(head)
    }

    /// Gives a leaf its name; it may have others.
    pub(super) fn leaf(
        &mut self,
        folder: DirId,
        name: &[u8],
        number: u64,
        head: &Head,
    ) -> Result<(), ReadError> {
        let known = self.leaves.get(&number).copied();
        let id = match known {
            Some(id) => id,
            None => self.new_leaf(number, head)?,
        };
        self.tree.append(folder, name, Node::Leaf(id));
        Ok(())
    }

    fn new_leaf(&mut self, number: u64, head: &Head) -> Result<LeafId, ReadError> {
        let mut meta = self.meta(head)?;
        let content = match head.kind {
            Type::Regular if head.layout == LAYOUT_CHUNKS => {
                content_of(&mut meta, head.size, self.tree.algorithm())?
            }
            _ => self.held(head)?,
        };
        let id = self.tree.add_leaf(&Leaf { meta, content });
        if head.links != 1 {
            self.leaves.insert(number, id);
        }
        Ok(id)
    }

    /// What a leaf is that is no object.
    pub(super) fn held(&mut self, head: &Head) -> Result<Content, ReadError> {
        Ok(match head.kind {
            Type::Directory => return Err(invalid("file", &"Directory")),
            Type::Regular if head.size == 0 => Content::Inline(Vec::new()),
            Type::Regular => Content::Inline(self.content(head, "file")?),
            Type::Symlink => Content::Symlink(target(&self.content(head, "link")?)?.to_vec()),
            Type::CharDevice => Content::CharDevice(u64::from(head.number)),
            Type::BlockDevice => Content::BlockDevice(u64::from(head.number)),
            Type::Fifo => Content::Fifo,
            Type::Socket => Content::Socket,
        })
    }
}

/// Takes what is read from what may be.
pub(super) fn spend(left: &mut usize, size: usize, what: &'static str) -> Result<(), ReadError> {
    *left = left.checked_sub(size).ok_or(ReadError::TooLarge { what })?;
    Ok(())
}

/// The content of a file that is an object, by the overlay's attributes, which are taken off.
pub(super) fn content_of(
    meta: &mut Meta,
    size: u64,
    wanted: Algorithm,
) -> Result<Content, ReadError> {
    let metacopy = meta.xattrs.remove(METACOPY).unwrap_or_default();
    let redirect = meta.xattrs.remove(REDIRECT).unwrap_or_default();
    let digest =
        object(&metacopy).ok_or_else(|| invalid("metacopy attribute", &metacopy.escape_ascii()))?;
    if redirect != format!("/{}", digest.object_path()).as_bytes() {
        return Err(invalid("redirect attribute", &redirect.escape_ascii()));
    }
    let found = digest.algorithm();
    if found != wanted {
        return Err(ReadError::Algorithm { found, wanted });
    }
    Ok(Content::Object { digest, size })
}

/// Takes the 256 stubs off the root.
fn unstub(tree: &mut Tree) {
    let root = tree.meta(DirId::ROOT);
    let label = root.xattrs.get(SELINUX);
    let label = label.map(|value| (SELINUX.to_vec(), value.to_vec()));
    let meta = Meta {
        mode: STUB_MODE,
        ..root.with(label.into_iter().collect())
    };
    for name in STUBS {
        if let Some(Node::Leaf(id)) = tree.child(DirId::ROOT, &name) {
            let leaf = tree.leaf(id);
            if leaf.content == Content::CharDevice(0) && leaf.meta.to_owned() == meta {
                tree.remove(DirId::ROOT, &name);
            }
        }
    }
}

/// Makes the files that stand for whiteouts whiteouts, and takes the marks off their directories.
fn restore_whiteouts(tree: &mut Tree, version: Version) {
    let mut hidden = HashSet::new();
    for id in tree.leaves() {
        let leaf = tree.leaf(id);
        if leaf.content == Content::Inline(&[]) && has(leaf.meta.xattrs, &WHITEOUT) {
            let mut meta = leaf.meta.to_owned();
            strip(&mut meta, &WHITEOUT);
            let content = Content::CharDevice(0);
            tree.set_leaf(id, &Leaf { meta, content });
            hidden.insert(id);
        }
    }
    let marks = version.whiteout_parent();
    for id in tree.directories() {
        if !has(tree.meta(id).xattrs, marks) {
            continue;
        }
        let mut entries = tree.entries(id);
        if entries.any(|(_, node)| matches!(node, Node::Leaf(id) if hidden.contains(&id))) {
            let mut meta = tree.meta(id).to_owned();
            strip(&mut meta, marks);
            tree.set_meta(id, &meta);
        }
    }
}

fn has(xattrs: Xattrs<'_>, marks: &[(&[u8], &[u8])]) -> bool {
    marks
        .iter()
        .all(|(name, value)| xattrs.get(name) == Some(value))
}

fn strip(meta: &mut Meta, marks: &[(&[u8], &[u8])]) {
    for (name, _) in marks {
        meta.xattrs.remove(*name);
    }
}

fn unescape_names(meta: &mut Meta) {
    if meta.xattrs.keys().any(|name| name.starts_with(ESCAPED)) {
        meta.xattrs = std::mem::take(&mut meta.xattrs)
            .into_iter()
            .map(|(name, value)| match name.strip_prefix(ESCAPED) {
                Some(rest) => ([OVERLAY, rest].concat(), value),
                None => (name, value),
            })
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::MAX_TARGET;
    use super::*;
    use crate::erofs::{Version, write};

    #[test]
    fn targets_that_no_kernel_takes_are_refused() {
        let with = |target: &[u8]| {
            let mut tree: Tree = Tree::new();
            let link = tree.add_leaf(&Leaf {
                meta: Meta::default(),
                content: Content::Symlink(target.to_vec()),
            });
            tree.insert(DirId::ROOT, b"link", Node::Leaf(link));
            read(&write(&tree, Version::V1))
        };
        assert!(with(&[b'x'; MAX_TARGET]).is_ok());
        for bad in [&[b'x'; MAX_TARGET + 1][..], b"", b"a\0b"] {
            let error = with(bad).unwrap_err();
            assert!(error.to_string().contains("target"), "{error}");
        }
    }
}
