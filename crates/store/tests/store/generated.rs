//! Trees that nobody would make, by every road.

use crate::sample::origin;
use elea_formats::digest::Digest;
use elea_formats::form::Form;
use elea_formats::tree::{Content, Meta, Time, Tree};
use elea_store::Store;
use elea_store::export::{self, Compression};
use elea_sys::progress::Silent;
use elea_testkit::trees;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::fs::File;

fn name() -> impl Strategy<Value = Vec<u8>> + Clone {
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

fn meta() -> impl Strategy<Value = Meta> + Clone {
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
        let packed =
            export::layers(&store, &tree, Compression::Chunked, folder.path(), &Silent).unwrap();
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
    let trees = trees::tree(name(), meta(), content(), 60);
    runner.run(&trees, check).unwrap();
}
