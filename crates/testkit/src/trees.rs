//! Generated trees: proptest makes names, metadata and contents, as a test wants them; here they
//! become directories and hard links.

use elea_formats::tree::{Content, DirId, Leaf, Meta, Node, Tree};
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
        let mut tree = Tree::new();
        tree.set_meta(DirId::ROOT, &meta);
        build(&mut tree, DirId::ROOT, entries);
        tree
    })
}

fn build(tree: &mut Tree, directory: DirId, entries: BTreeMap<Vec<u8>, Sketch>) {
    for (name, sketch) in entries {
        match sketch {
            Sketch::Directory(meta, entries) => {
                let new = tree.add_directory(directory, &name, &meta);
                build(tree, new, entries);
            }
            Sketch::Leaf(meta, content) => {
                tree.put_leaf(directory, &name, &Leaf { meta, content });
            }
            Sketch::Link(place) => {
                let mut leaves = tree.leaves();
                if leaves.len() > 0
                    && let Some(id) = leaves.nth(place % leaves.len())
                {
                    tree.insert(directory, &name, Node::Leaf(id));
                }
            }
        }
    }
}
