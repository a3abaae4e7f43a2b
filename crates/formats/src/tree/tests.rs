use super::*;
use crate::digest::Sha256;
use std::collections::BTreeMap;

fn meta(mode: u32, attributes: &[(&str, &str)]) -> Meta {
    let pair = |(name, value): &(&str, &str)| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    Meta {
        mode,
        uid: 7,
        gid: 8,
        mtime: Time {
            seconds: -5,
            nanoseconds: 9,
        },
        xattrs: attributes.iter().map(pair).collect(),
    }
}

fn leaf(content: Content) -> Leaf {
    Leaf {
        meta: meta(0o644, &[("user.a", "1"), ("user.b", "")]),
        content,
    }
}

fn names(tree: &Tree, directory: DirId) -> Vec<&[u8]> {
    tree.entries(directory).map(|(name, _)| name).collect()
}

#[test]
fn every_kind_of_leaf_comes_back() {
    let mut tree = Tree::new();
    let contents = [
        Content::Inline(Vec::new()),
        Content::Inline(b"x".to_vec()),
        Content::Object {
            digest: Sha256::of(b"y").into(),
            size: 1 << 40,
        },
        Content::Symlink(b"to".to_vec()),
        Content::BlockDevice(1 << 40),
        Content::CharDevice(0),
        Content::Fifo,
        Content::Socket,
    ];
    let leaves = contents.map(leaf);
    let ids: Vec<LeafId> = leaves.iter().map(|leaf| tree.add_leaf(leaf)).collect();
    assert_eq!(tree.leaves().collect::<Vec<_>>(), ids);
    for (id, leaf) in ids.iter().zip(&leaves) {
        assert_eq!(tree.leaf(*id).to_owned(), *leaf);
        assert_eq!(tree.content(*id), leaf.content.as_ref());
    }
    let changed = Leaf {
        meta: meta(0o600, &[]),
        content: Content::Fifo,
    };
    tree.set_leaf(ids[1], &changed);
    assert_eq!(tree.leaf(ids[1]).to_owned(), changed);
    assert_eq!(tree.leaf(ids[2]).to_owned(), leaves[2]);
}

#[test]
fn names_are_given_taken_and_replaced() {
    let mut tree = Tree::new();
    let id = tree.add_leaf(&leaf(Content::Fifo));
    let folder = tree.add_directory(DirId::ROOT, b"folder", &meta(0o700, &[]));
    for name in ["b", "c", "a"] {
        tree.insert(folder, name.as_bytes(), Node::Leaf(id));
    }
    assert_eq!(names(&tree, folder), [b"a", b"b", b"c"]);
    assert_eq!(tree.get(b"/folder//b"), Some(Node::Leaf(id)));
    assert_eq!(tree.get(b"folder/b/x"), None);
    tree.remove(folder, b"b");
    tree.remove(folder, b"missing");
    assert_eq!(tree.get(b"folder/b"), None);
    tree.insert(folder, b"b", Node::Leaf(id));
    let inner = tree.add_directory(folder, b"a", &meta(0o711, &[]));
    assert_eq!(names(&tree, folder), [b"a", b"b", b"c"]);
    assert_eq!(tree.directory(b"folder/a"), Some(inner));
    assert_eq!(tree.meta(inner).mode, 0o711);
    tree.retain(folder, |_, node| node == Node::Leaf(id));
    assert_eq!(names(&tree, folder), [b"b", b"c"]);
    tree.clear(folder);
    assert_eq!(names(&tree, folder), [] as [&[u8]; 0]);
    assert_eq!(tree.directory(b""), Some(DirId::ROOT));
}

#[test]
fn a_million_names_are_found_and_in_order() {
    let mut tree: Tree = Tree::new();
    let id = tree.add_leaf(&leaf(Content::Fifo));
    let name = |i: u32| format!("{:08x}", i.wrapping_mul(0x9e37_79b1));
    let folders: Vec<DirId> = (0..100)
        .map(|i| tree.add_directory(DirId::ROOT, name(i).as_bytes(), &Meta::default()))
        .collect();
    let count = 1_000_000 / if cfg!(debug_assertions) { 10 } else { 1 };
    for i in 0..count {
        let folder = folders[i as usize % 100];
        tree.insert(folder, name(i).as_bytes(), Node::Leaf(id));
    }
    let copy = tree.clone();
    tree.clear(folders[50]);
    for i in (0..count).step_by(101) {
        let gone = i % 100 == 50;
        let found = tree.child(folders[i as usize % 100], name(i).as_bytes());
        assert_eq!(found.is_none(), gone);
    }
    let mut last = Vec::new();
    let mut seen = 0;
    copy.walk(|path, node| {
        if matches!(node, Node::Leaf(_)) {
            assert!(last.as_slice() < path);
            last = path.to_vec();
            seen += 1;
        }
        Ok::<(), ()>(())
    })
    .unwrap();
    assert_eq!(seen, count);
}

#[test]
fn two_trees_are_walked_side_by_side() {
    let mut trees = [Tree::new(), Tree::new()];
    for (side, tree) in trees.iter_mut().enumerate() {
        let id = tree.add_leaf(&leaf(Content::Fifo));
        let only = ["left", "right"][side];
        let folder = tree.add_directory(DirId::ROOT, b"both", &Meta::default());
        tree.insert(folder, only.as_bytes(), Node::Leaf(id));
        tree.insert(folder, b"same", Node::Leaf(id));
        if side == 0 {
            tree.insert(DirId::ROOT, b"mixed", Node::Leaf(id));
        } else {
            let mixed = tree.add_directory(DirId::ROOT, b"mixed", &Meta::default());
            tree.insert(mixed, b"x", Node::Leaf(id));
        }
    }
    let mut seen = BTreeMap::new();
    let mut order = Vec::new();
    walk_both(&trees[0], &trees[1], |path, found| {
        let path = String::from_utf8(path.to_vec()).unwrap();
        order.push(path.clone());
        seen.insert(path, found.map(|node| node.is_some()));
    });
    let expected = [
        ("/", [true, true]),
        ("/both", [true, true]),
        ("/both/left", [true, false]),
        ("/both/right", [false, true]),
        ("/both/same", [true, true]),
        ("/mixed", [true, true]),
        ("/mixed/x", [false, true]),
    ];
    assert_eq!(order, expected.map(|(path, _)| path));
    assert_eq!(
        seen,
        expected
            .map(|(path, found)| (path.to_owned(), found))
            .into()
    );
}

#[test]
fn sorted_names_are_kept_and_more_come_after_them() {
    let mut tree = Tree::new();
    let leaf = tree.add_leaf(&Leaf {
        meta: Meta::default(),
        content: Content::Fifo,
    });
    let below = tree.add_directory(DirId::ROOT, b"m", &Meta::default());
    for name in [&b"z"[..], b"b", b"a", b"y"] {
        tree.append(DirId::ROOT, name, Node::Leaf(leaf));
    }
    tree.remove(DirId::ROOT, b"y");
    tree.remove(DirId::ROOT, b"z");
    tree.sort();
    tree.insert(DirId::ROOT, b"y", Node::Leaf(leaf));
    // One that had no name at all.
    tree.insert(below, b"x", Node::Leaf(leaf));
    let names = |tree: &Tree, directory| -> Vec<Vec<u8>> {
        let entries = tree.entries(directory);
        entries.map(|(name, _)| name.to_vec()).collect()
    };
    assert_eq!(names(&tree, DirId::ROOT), [&b"a"[..], b"b", b"m", b"y"]);
    assert_eq!(names(&tree, below), [b"x"]);
    tree.clear(below);
    tree.sort();
    assert_eq!(names(&tree, below), [] as [Vec<u8>; 0]);
    tree.insert(below, b"x", Node::Leaf(leaf));
    assert_eq!(names(&tree, below), [b"x"]);
    assert_eq!(tree.get(b"m/x"), Some(Node::Leaf(leaf)));
}
