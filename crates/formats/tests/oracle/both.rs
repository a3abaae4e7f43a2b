//! What is left out of two images that are read at once is what they have alike.

use elea_formats::digest::{Algorithm, Sha256};
use elea_formats::dump;
use elea_formats::erofs::{Both, Version, read, read_both, write};
use elea_formats::table::memory;
use elea_formats::tree::{Content, DirId, Leaf, Meta, Node, Time, Tree, Walked, walk_both};
use elea_testkit::trees;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const OLD: &str = "\
/ 0 40755 6 0 0 0 1.0 - - -
/a 0 40755 3 0 0 0 1.0 - - -
/a/b 0 40755 2 0 0 0 1.0 - - -
/a/b/c 3 100644 1 0 0 0 1.0 - abc -
/a/b/same 3 100644 1 0 0 0 1.0 - abc -
/e 0 40755 2 0 0 0 1.0 - - -
/e/1 1 120777 1 0 0 0 1.0 x - -
/e/2 0 40755 2 0 0 0 1.0 - - -
/h 1 100644 2 0 0 0 1.0 - h -
/i 0 @120000 - - - - 0.0 /h - -
/m 0 40755 2 0 0 0 1.0 - - -
/m/f 3 100644 1 0 0 0 1.0 - abc -
/p 3 100644 1 0 0 0 1.0 - abc - user.x=y
";

/// The paths that two trees do not have alike, as text.
fn differences(a: &Tree, b: &Tree) -> Vec<String> {
    let names = [a, b].map(Tree::count_names);
    let line = |side: usize, node: Option<Node>| match node {
        None => String::new(),
        Some(Node::Directory(id)) => format!("{:?}", [a, b][side].meta(id).to_owned()),
        Some(Node::Leaf(id)) => {
            format!("{:?} {}", [a, b][side].leaf(id), names[side][id.index()])
        }
    };
    let mut found = Vec::new();
    walk_both(a, b, |path, [old, new]: Walked| {
        let [old, new] = [line(0, old), line(1, new)];
        if old != new {
            found.push(format!("{} {old} {new}", path.escape_ascii()));
        }
    });
    found
}

fn both(old: &[u8], new: &[u8]) -> Both {
    let tree = || Tree::within(&memory(), Algorithm::Sha256);
    read_both([old, new], [tree(), tree()], None).unwrap()
}

fn paths(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    let walked = tree.walk(|path, _| {
        found.push(path.escape_ascii().to_string());
        Ok::<_, ()>(())
    });
    walked.unwrap();
    found
}

#[test]
fn what_is_the_same_is_left_out() {
    let tree = |text: &str| dump::parse(text.as_bytes()).unwrap();
    let image = |text: &str| write(&tree(text), Version::V1);
    let old = image(OLD);
    let nothing = both(&old, &old);
    // A file with attributes that is no object is never left out, nor is one with two names.
    let kept = ["/", "/h", "/i", "/p"];
    assert_eq!(nothing.trees.each_ref().map(paths), [kept, kept]);
    let changed = OLD
        .replace(
            "/a/b/c 3 100644 1 0 0 0 1.0 - abc",
            "/a/b/c 3 100644 1 0 0 0 1.0 - abd",
        )
        .replace("/m 0 40755", "/m 0 40700");
    let new = image(&changed);
    let found = both(&old, &new);
    let expected = ["/", "/a", "/a/b", "/a/b/c", "/h", "/i", "/m", "/p"];
    assert_eq!(found.trees.each_ref().map(paths), [expected, expected]);
    let whole = [&old, &new].map(|image| read(image).unwrap());
    assert_eq!(
        differences(&found.trees[0], &found.trees[1]),
        differences(&whole[0], &whole[1])
    );
}

#[test]
fn one_folder_of_the_root_can_be_read_alone() {
    let old = write(&dump::parse(OLD.as_bytes()).unwrap(), Version::V1);
    let changed = OLD.replace(" 1.0 - abc", " 2.0 - abc");
    let new = write(&dump::parse(changed.as_bytes()).unwrap(), Version::V1);
    let of = |only: Option<&[u8]>| {
        let tree = || Tree::within(&memory(), Algorithm::Sha256);
        let both = read_both([&old, &new], [tree(), tree()], only).unwrap();
        differences(&both.trees[0], &both.trees[1])
    };
    let all = of(None);
    let below = |folder: &str| -> Vec<String> {
        let mine = all.iter().filter(|line| line.starts_with(folder));
        mine.cloned().collect()
    };
    assert_eq!(
        [all.len(), below("/a/").len(), below("/m/").len()],
        [4, 2, 1]
    );
    assert_eq!(of(Some(b"a")), below("/a/"));
    assert_eq!(of(Some(b"m")), below("/m/"));
    // What stands there may be no folder, or nothing.
    assert_eq!(of(Some(b"p")), below("/p "));
    assert!(of(Some(b"e")).is_empty() && of(Some(b"none")).is_empty());
}

#[test]
fn every_image_of_two_can_be_the_damaged_one() {
    let tree = dump::parse(OLD.as_bytes()).unwrap();
    let good = write(&tree, Version::V1);
    let tree = || Tree::within(&memory(), Algorithm::Sha256);
    for length in (0..good.len()).step_by(509) {
        let cut = &good[..length];
        for (side, images) in [(0, [cut, &good]), (1, [&good, cut])] {
            if let Err((found, _)) = read_both(images, [tree(), tree()], None) {
                assert_eq!(found, side, "{length}");
            }
        }
    }
    let (side, _) = read_both([&good, b""], [tree(), tree()], None).unwrap_err();
    assert_eq!(side, 1);
}

/// Attributes, some of which mean something in an image.
const NAMES: &[&str] = &[
    "user.a",
    "trusted.overlay.opaque",
    "user.overlay.whiteouts",
    "security.selinux",
];

fn meta() -> impl Strategy<Value = Meta> + Clone {
    let name = prop::sample::select(NAMES);
    let xattrs = btree_map(
        name.prop_map(|n| n.as_bytes().to_vec()),
        Just(b"x".to_vec()),
        0..2,
    );
    (
        0_u32..3,
        0_u32..2,
        0_i64..2,
        prop_oneof![3 => Just(BTreeMap::new()), 1 => xattrs],
    )
        .prop_map(|(mode, uid, seconds, xattrs)| Meta {
            mode,
            uid,
            gid: 0,
            mtime: Time {
                seconds,
                nanoseconds: 0,
            },
            xattrs,
        })
}

fn content() -> impl Strategy<Value = Content> + Clone {
    let object = |(byte, size): (u8, u64)| Content::Object {
        digest: Sha256::of(&[byte]).into(),
        size,
    };
    prop_oneof![
        (0_u8..4, 5000_u64..5002).prop_map(object),
        vec(0_u8..2, 0..3).prop_map(Content::Inline),
        vec(1_u8..3, 1..3).prop_map(Content::Symlink),
        (0_u64..2).prop_map(Content::CharDevice),
        Just(Content::Fifo),
    ]
}

/// The same tree, but for what the choices change, one for each path.
fn changed(text: &str, choices: &[u8], metas: &[Meta], contents: &[Content]) -> Tree {
    let mut tree = dump::parse(text.as_bytes()).unwrap();
    let mut all = Vec::new();
    let walked = tree.walk(|path, node| {
        all.push((path.to_vec(), node));
        Ok::<_, ()>(())
    });
    walked.unwrap();
    for (at, (path, node)) in all.into_iter().enumerate() {
        let choice = choices[at % choices.len()];
        let meta = &metas[at % metas.len()];
        let content = &contents[at % contents.len()];
        let end = path.iter().rposition(|b| *b == b'/').unwrap_or(0);
        let folder = tree.folder(&path[..end]).ok().flatten();
        match (choice, node) {
            (0, Node::Directory(id)) => tree.set_meta(id, meta),
            (0, Node::Leaf(id)) => {
                let meta = meta.clone();
                tree.set_leaf(
                    id,
                    &Leaf {
                        meta,
                        content: content.clone(),
                    },
                );
            }
            (1, _) if path.len() > 1 => {
                if let Some(folder) = folder {
                    tree.remove(folder, &path[end + 1..]);
                }
            }
            (2, Node::Directory(id)) => {
                tree.put_leaf(
                    id,
                    b"new",
                    &Leaf {
                        meta: meta.clone(),
                        content: content.clone(),
                    },
                );
            }
            (3, Node::Directory(id)) => {
                tree.add_directory(id, b"more", meta);
            }
            (4, Node::Leaf(id)) => tree.insert(DirId::ROOT, b"also", Node::Leaf(id)),
            _ => {}
        }
    }
    tree
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn they_differ_as_the_whole_trees_do(
        tree in trees::tree(vec(b'a'..b'e', 1..3), meta(), content(), 30),
        choices in vec(prop_oneof![1 => 0_u8..5, 4 => Just(9_u8)], 1..9),
        metas in vec(meta(), 1..4),
        contents in vec(content(), 1..4),
        version in prop::sample::select([Version::V0, Version::V1].as_slice()),
    ) {
        let text = dump::encode(&tree);
        let other = changed(&text, &choices, &metas, &contents);
        let images = [write(&tree, version), write(&other, version)];
        let whole = images.each_ref().map(|image| read(image).unwrap());
        let found = both(&images[0], &images[1]);
        prop_assert_eq!(
            differences(&found.trees[0], &found.trees[1]),
            differences(&whole[0], &whole[1])
        );
        // What was left out of one was left out of the other, and the objects of it are told.
        let objects = |tree: &Tree| -> BTreeSet<u64> {
                tree.leaves().filter_map(|id| Some(tree.object(id)?.0.start())).collect()
            };
            for (side, image) in whole.iter().enumerate() {
            let mut known = objects(&found.trees[side]);
            known.extend(&found.same);
            let named = objects(image);
            prop_assert_eq!(known, named);
        }
    }
}
