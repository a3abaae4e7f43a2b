//! Trees that nobody would make, by every road.

use crate::sample::origin;
use elea_formats::digest::Digest;
use elea_formats::form::Form;
use elea_formats::tree::{Content, Directory, Leaf, LeafId, Meta, Node, Time, Tree};
use elea_store::{Store, export};
use elea_sys::progress::Silent;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::collections::BTreeMap;
use std::fs::File;

#[derive(Debug, Clone)]
enum Sketch {
    Directory(Meta, BTreeMap<Vec<u8>, Sketch>),
    Leaf(Meta, Content),
    /// Another name for an earlier leaf, by its place modulo their number.
    Link(usize),
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_map(|byte| match byte {
        0 => 1,
        b'/' | b'.' => b'-',
        byte => byte,
    });
    prop_oneof![
        3 => vec(byte.clone(), 1..20),
        1 => vec(byte, 90..=255),
    ]
}

fn meta() -> impl Strategy<Value = Meta> {
    let id = prop_oneof![3 => Just(0), 1 => 0..u32::MAX];
    let seconds = prop_oneof![
        3 => 0_i64..2_000_000_000,
        1 => any::<i64>(),
        1 => -5_i64..5,
    ];
    let value = vec(any::<u8>(), 1..40);
    let name = prop::sample::select(vec!["user.a", "user.b=%c", "user.\n", "trusted.x"]);
    let xattrs = btree_map(name.prop_map(|n| n.as_bytes().to_vec()), value, 0..3);
    (
        0_u32..0o10000,
        id.clone(),
        id,
        seconds,
        0_u32..1_000_000_000,
        xattrs,
    )
        .prop_map(|(mode, uid, gid, seconds, nanoseconds, xattrs)| Meta {
            mode,
            uid,
            gid,
            mtime: Time {
                seconds,
                nanoseconds,
            },
            xattrs,
        })
}

fn content() -> impl Strategy<Value = Content> {
    let number = (0_u32..4096, 0_u32..1 << 20).prop_map(|(a, b)| rustix::fs::makedev(a, b));
    prop_oneof![
        4 => vec(any::<u8>(), 0..200).prop_map(Content::Inline),
        1 => (any::<u8>(), 0_usize..5000).prop_map(|(b, n)| Content::Inline(vec![b; n])),
        2 => vec(1_u8.., 1..300).prop_map(Content::Symlink),
        1 => number.clone().prop_map(Content::CharDevice),
        1 => number.prop_map(Content::BlockDevice),
        1 => Just(Content::Fifo),
    ]
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        6 => (meta(), content()).prop_map(|(meta, content)| Sketch::Leaf(meta, content)),
        1 => any::<usize>().prop_map(Sketch::Link),
    ];
    let sketch = leaf.prop_recursive(4, 60, 8, |inner| {
        (meta(), btree_map(name(), inner, 0..8))
            .prop_map(|(meta, entries)| Sketch::Directory(meta, entries))
    });
    (meta(), btree_map(name(), sketch, 0..10)).prop_map(|(meta, entries)| {
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

/// The canonical tree as text.
fn dump_of(store: &Store, tree: &Tree) -> String {
    let image = seal(store, tree.clone());
    elea_formats::dump::encode(&store.tree(&image).unwrap())
}

fn seal(store: &Store, tree: Tree) -> Digest {
    store.seal(tree, Form::Os1, &origin()).unwrap().image
}

#[test]
fn generated_trees_keep_their_name_by_every_road() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::init(&dir.path().join("store")).unwrap();
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let check = |tree: Tree| {
        // As it is, with every time and attribute.
        let (mut raw, mut again) = (Vec::new(), Vec::new());
        export::tar(&store, &tree, &mut raw).unwrap();
        let back = store.import_tar(raw.as_slice(), &Silent).unwrap();
        export::tar(&store, &back, &mut again).unwrap();
        prop_assert!(raw == again, "a tar file of a tar file");
        let image = seal(&store, tree);
        let tree = store.tree(&image).unwrap();
        prop_assert_eq!(seal(&store, tree.clone()), image, "sealing again");
        let mut tar = Vec::new();
        export::tar(&store, &tree, &mut tar).unwrap();
        let back = store.import_tar(tar.as_slice(), &Silent).unwrap();
        prop_assert_eq!(dump_of(&store, &back), dump_of(&store, &tree), "by tar");
        prop_assert_eq!(seal(&store, back), image, "by tar");
        let folder = tempfile::tempdir().unwrap();
        let packed = export::layers(&store, &tree, folder.path(), &Silent).unwrap();
        let layers: Vec<_> = packed
            .iter()
            .map(|one| {
                let file = File::open(&one.path).unwrap();
                store
                    .import_layer(&one.blob, one.media_type, file, &Silent)
                    .unwrap()
            })
            .collect();
        let back = store.assemble(&layers).unwrap();
        prop_assert_eq!(seal(&store, back), image, "by layers");
        Ok(())
    };
    runner.run(&tree(), check).unwrap();
}
