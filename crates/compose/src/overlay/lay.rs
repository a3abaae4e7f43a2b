//! What the kernel's overlay writes into its upper folder, laid over the tree below.
//!
//! Source: `Documentation/filesystems/overlayfs.rst`, "whiteouts and opaque directories". The overlay has neither
//! `metacopy` nor `redirect_dir` nor `index`.

use elea_formats::tree::{Content, DirId, LeafId, Meta, MetaRef, Node, Tree};
use std::collections::HashMap;

/// Attributes that are the overlay's own.
const OWN: &[u8] = b"trusted.overlay.";
const OPAQUE: &[u8] = b"trusted.overlay.opaque";
/// A character device with the number 0/0 stands where something of the lower tree was removed.
const WHITEOUT: u64 = 0;

/// Whether nothing in a tree has a meaning of its own to an overlay.
pub(super) fn is_plain(tree: &Tree) -> bool {
    let plain = |meta: &MetaRef<'_>| !meta.xattrs.iter().any(|(name, _)| name.starts_with(OWN));
    // Only what has a name counts: a tree that was read from an image has made the image's own whiteouts, too.
    let look = |_: &[u8], node: Node| match node {
        Node::Directory(id) if plain(&tree.meta(id)) => Ok(()),
        Node::Leaf(id) => {
            let leaf = tree.leaf(id);
            let is_whiteout = leaf.content == Content::CharDevice(WHITEOUT);
            if plain(&leaf.meta) && !is_whiteout {
                Ok(())
            } else {
                Err(())
            }
        }
        Node::Directory(_) => Err(()),
    };
    tree.walk(look).is_ok()
}

/// Takes the attributes of overlays from a tree that programs made on one.
pub(crate) fn clean(tree: &mut Tree) {
    tree.each_meta(|meta| meta.xattrs.retain(|name, _| !name.starts_with(OWN)));
}

/// Lays an upper folder over the tree. An error is a path at which that is in doubt: a file with several names was
/// changed or replaced by one of them, and an overlay does not tell which. The tree is of no use then.
pub(super) fn lay(tree: &mut Tree, upper: &Tree) -> Result<(), Vec<u8>> {
    let mut laying = Laying {
        names: tree.count_names(),
        tree,
        upper,
        linked: HashMap::new(),
    };
    laying.folder(DirId::ROOT, DirId::ROOT, &mut Vec::new())
}

struct Laying<'a> {
    tree: &'a mut Tree,
    upper: &'a Tree,
    /// How many names each leaf of the lower tree has.
    names: Vec<u32>,
    /// The leaves of the upper folder that are in the tree by now.
    linked: HashMap<LeafId, LeafId>,
}

impl Laying<'_> {
    fn folder(&mut self, to: DirId, from: DirId, path: &mut Vec<u8>) -> Result<(), Vec<u8>> {
        let upper = self.upper;
        self.tree.set_meta(to, &cleaned(&upper.meta(from)));
        for (name, node) in upper.entries(from) {
            let length = path.len();
            path.push(b'/');
            path.extend(name);
            match node {
                Node::Leaf(id) if upper.content(id) == Content::CharDevice(WHITEOUT) => {
                    self.tree.remove(to, name);
                }
                Node::Leaf(id) => self.leaf(to, name, id, path)?,
                Node::Directory(id) => {
                    let is_opaque = upper.meta(id).xattrs.get(OPAQUE).is_some();
                    let below = match self.tree.child(to, name) {
                        Some(Node::Directory(below)) if !is_opaque => below,
                        _ => self.tree.add_directory(to, name, &Meta::default()),
                    };
                    self.folder(below, id, path)?;
                }
            }
            path.truncate(length);
        }
        Ok(())
    }

    fn leaf(&mut self, to: DirId, name: &[u8], id: LeafId, path: &[u8]) -> Result<(), Vec<u8>> {
        if let Some(Node::Leaf(old)) = self.tree.child(to, name)
            && self.names.get(old.index()).is_some_and(|names| *names > 1)
        {
            return Err(path.to_vec());
        }
        let upper = self.upper;
        let tree = &mut *self.tree;
        let leaf = *self.linked.entry(id).or_insert_with(|| {
            let mut leaf = upper.leaf(id).to_owned();
            leaf.meta = cleaned(&upper.leaf(id).meta);
            tree.add_leaf(&leaf)
        });
        self.tree.insert(to, name, Node::Leaf(leaf));
        Ok(())
    }
}

/// Without the attributes of the overlay.
fn cleaned(meta: &MetaRef<'_>) -> Meta {
    let mut meta = meta.to_owned();
    meta.xattrs.retain(|name, _| !name.starts_with(OWN));
    meta
}
