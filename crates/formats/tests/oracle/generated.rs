//! Trees that nobody would make, thousands of them.

use crate::{c_oracle, compare_c, compare_crate, crate_oracle, runner, single_whiteouts};
use elea_formats::digest::Sha256;
use elea_formats::dump;
use elea_formats::erofs::{self, Version};
use elea_formats::tree::{Content, Meta, Time, Tree};
use elea_testkit::trees;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// What a writer takes: the crate less than C.
#[derive(Clone, Copy)]
struct Limits {
    inline: usize,
    target: usize,
    earliest: i64,
    /// Whether files have the overlay's own marks.
    marks: bool,
}

/// The crate's parser takes no times before 1970.
const CRATE: Limits = Limits {
    inline: 512,
    target: 1024,
    earliest: 0,
    marks: false,
};

const C: Limits = Limits {
    inline: 5000,
    target: 4095,
    earliest: -(1 << 40),
    marks: true,
};

/// `composefs-info` shows no marks.
const INFO: Limits = Limits { marks: false, ..C };

fn name() -> impl Strategy<Value = Vec<u8>> + Clone {
    let byte = any::<u8>().prop_map(|byte| match byte {
        0 => 1,
        b'/' => b'-',
        byte => byte,
    });
    let any = vec(byte, 1..40);
    let long = (1_usize..=255).prop_map(|length| vec![b'n'; length]);
    // The stubs' names, and what sorts around `.` and `..`.
    let special = prop::sample::select(vec!["00", "7f", "ff", "f", "-", "...", ".a", "=", "\\"])
        .prop_map(|name| name.as_bytes().to_vec());
    prop_oneof![4 => any, 2 => long, 2 => special]
        .prop_filter("a name", |name| !matches!(name.as_slice(), b"." | b".."))
}

fn xattrs() -> impl Strategy<Value = BTreeMap<Vec<u8>, Vec<u8>>> + Clone {
    let known = prop::sample::select(vec![
        "user.a",
        "user.",
        "user.overlay.origin",
        "security.selinux",
        "security.capability",
        "system.posix_acl_access",
        "system.posix_acl_default",
        "trusted.x",
        "trusted.overlay.redirect",
        "trusted.overlay.overlay.opaque",
        "trusted.overlay",
        "lustre.lov",
        "other",
    ])
    .prop_map(|name| name.as_bytes().to_vec());
    let other = vec(1_u8.., 1..60).prop_map(|mut name| {
        name.splice(0..0, *b"user.");
        name
    });
    // Few values, so that some are shared.
    let value = prop_oneof![
        4 => prop::sample::select(vec![vec![], b"v".to_vec(), b"w".to_vec(), b"longer".to_vec()]),
        1 => vec(any::<u8>(), 0..300),
    ];
    let name = prop_oneof![5 => known, 1 => other];
    prop_oneof![
        3 => Just(BTreeMap::new()),
        2 => btree_map(name, value, 0..6),
    ]
}

/// Names that only C treats as it should: marks of the overlay's own, and what begins like an ACL.
fn marks() -> impl Strategy<Value = BTreeMap<Vec<u8>, Vec<u8>>> + Clone {
    let name = prop::sample::select(vec![
        "trusted.overlay.opaque",
        "trusted.overlay.whiteouts",
        "trusted.overlay.metacopy",
        "user.overlay.opaque",
        "user.overlay.whiteout",
        "user.overlay.whiteouts",
        "system.posix_acl_access.not",
        "system.posix_acl_default2",
    ]);
    let value = prop::sample::select(vec![vec![], b"x".to_vec(), b"y".to_vec()]);
    prop_oneof![
        4 => Just(BTreeMap::new()),
        1 => btree_map(name.prop_map(|name| name.as_bytes().to_vec()), value, 0..4),
    ]
}

fn meta(limits: Limits) -> impl Strategy<Value = Meta> + Clone {
    let id = prop_oneof![
        4 => Just(0),
        1 => 0_u32..70_000,
        1 => any::<u32>(),
    ];
    let seconds = prop_oneof![
        4 => Just(1_700_000_000_i64),
        1 => Just(0_i64),
        1 => (-5_i64..5).prop_map(move |seconds| seconds.max(limits.earliest)),
        1 => limits.earliest..(1 << 40),
    ];
    let nanoseconds = prop_oneof![3 => Just(0_u32), 1 => 0_u32..1_000_000_000];
    let more = if limits.marks {
        marks().boxed()
    } else {
        Just(BTreeMap::new()).boxed()
    };
    let attributes = (xattrs(), more).prop_map(|(mut xattrs, more)| {
        xattrs.extend(more);
        xattrs
    });
    (
        0_u32..0o10000,
        id.clone(),
        id,
        seconds,
        nanoseconds,
        attributes,
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

fn content(limits: Limits) -> impl Strategy<Value = Content> {
    let size = prop_oneof![
        2 => 1_u64..100_000,
        1 => (0_u32..50, 0_u64..3).prop_map(|(bits, add)| (1 << bits) + add),
        1 => any::<u64>().prop_map(|size| (size >> 11).max(1)),
    ];
    let length = prop_oneof![0_usize..70, 0_usize..=limits.inline];
    let target = prop_oneof![1_usize..60, limits.target - 124..=limits.target];
    let any_number = any::<u32>().prop_map(u64::from);
    prop_oneof![
        4 => length.prop_map(|length| Content::Inline(vec![b'i'; length])),
        4 => (any::<u32>(), size).prop_map(|(seed, size)| Content::Object {
            digest: Sha256::of(&seed.to_le_bytes()).into(),
            size,
        }),
        2 => target.prop_map(|length| Content::Symlink(vec![b's'; length])),
        1 => any_number.clone().prop_map(Content::BlockDevice),
        1 => prop_oneof![Just(0), any_number].prop_map(Content::CharDevice),
        1 => Just(Content::Fifo),
        1 => Just(Content::Socket),
    ]
}

fn tree(limits: Limits, size: u32) -> impl Strategy<Value = Tree> {
    trees::tree(name(), meta(limits), content(limits), size)
}

/// Small trees that both writers take.
pub(crate) fn small_tree() -> impl Strategy<Value = Tree> {
    tree(CRATE, 10).prop_map(|mut tree| {
        single_whiteouts(&mut tree);
        tree
    })
}

#[test]
fn generated_trees_give_the_crates_image() {
    let Some(oracle) = crate_oracle() else { return };
    let oracle = RefCell::new(oracle);
    let check = |mut tree: Tree| {
        single_whiteouts(&mut tree);
        compare_crate(&mut oracle.borrow_mut(), &tree).map_err(TestCaseError::fail)
    };
    runner(1).run(&tree(CRATE, 60), check).unwrap();
}

#[test]
fn generated_trees_give_mkcomposefs_image() {
    let Some(c) = c_oracle() else { return };
    let check = |tree: Tree| compare_c(&c, &tree).map_err(TestCaseError::fail);
    runner(20).run(&tree(C, 120), check).unwrap();
}

/// `composefs-info` misses the last attribute of a file if nothing follows its prefix, no name and
/// no value.
fn shown_by_info(meta: &mut Meta) {
    meta.xattrs.retain(|name, value| {
        !value.is_empty() || !(name == b"user." || name.starts_with(b"system.posix_acl_"))
    });
}

/// Export and import again, with what `composefs-info` exports from our image as well.
#[test]
fn a_dump_gives_the_image_again() {
    let Some(c) = c_oracle() else { return };
    let folder = std::env::temp_dir().join(format!("elea-dump-{}", std::process::id()));
    let check = |mut tree: Tree| {
        tree.each_meta(shown_by_info);
        let image = erofs::write(&tree, Version::V1);
        std::fs::write(&folder, &image).unwrap();
        let theirs = c.dump(&folder).map_err(TestCaseError::fail)?;
        let ours = dump::encode(&erofs::read(&image).unwrap());
        for text in [&theirs, ours.as_bytes()] {
            let shown = String::from_utf8_lossy(text);
            let parsed = dump::parse(text);
            let parsed = parsed.map_err(|e| TestCaseError::fail(format!("{e}\n{shown}")))?;
            prop_assert!(erofs::write(&parsed, Version::V1) == image, "{shown}");
        }
        Ok(())
    };
    runner(20).run(&tree(INFO, 30), check).unwrap();
    std::fs::remove_file(&folder).unwrap();
}
