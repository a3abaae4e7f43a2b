//! Generated trees: proptest makes names, metadata and contents, as a test wants them; here they
//! become directories and hard links.

use elea_formats::tree::{Content, Directory, Leaf, LeafId, Meta, Node, Tree};
use proptest::collection::btree_map;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A tree as it is generated.
#[derive(Debug, Clone)]
enum Sketch {
    Directory(Meta, BTreeMap<Vec<u8>, Sketch>),
    Leaf(Meta, Content),
    /// Another name for an earlier leaf, by its place modulo their number.
    Link(usize),
}

/// Trees of about `size` entries, at most five directories deep.
pub fn tree(
    name: impl Strategy<Value = Vec<u8>> + Clone + 'static,
    meta: impl Strategy<Value = Meta> + Clone + 'static,
    content: impl Strategy<Value = Content> + 'static,
    size: u32,
) -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        7 => (meta.clone(), content).prop_map(|(meta, content)| Sketch::Leaf(meta, content)),
        1 => any::<usize>().prop_map(Sketch::Link),
    ];
    let (below, folder) = (name.clone(), meta.clone());
    let sketch = leaf.prop_recursive(4, size, 16, move |inner| {
        (folder.clone(), btree_map(below.clone(), inner, 0..16))
            .prop_map(|(meta, entries)| Sketch::Directory(meta, entries))
    });
    (meta, btree_map(name, sketch, 0..16)).prop_map(|(meta, entries)| {
        let mut tree = Tree::default();
        tree.root = build(meta, entries, &mut tree.leaves);
        tree
    })
}

fn build(meta: Meta, entries: BTreeMap<Vec<u8>, Sketch>, leaves: &mut Vec<Leaf>) -> Directory {
    let mut directory = Directory {
        meta,
        entries: BTreeMap::new(),
    };
    for (name, sketch) in entries {
        let node = match sketch {
            Sketch::Directory(meta, entries) => Node::Directory(build(meta, entries, leaves)),
            Sketch::Leaf(meta, content) => {
                leaves.push(Leaf { meta, content });
                Node::Leaf(LeafId(leaves.len() - 1))
            }
            Sketch::Link(_) if leaves.is_empty() => continue,
            Sketch::Link(place) => Node::Leaf(LeafId(place % leaves.len())),
        };
        directory.entries.insert(name, node);
    }
    directory
}
