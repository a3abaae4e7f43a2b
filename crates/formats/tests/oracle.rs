//! Our images are the reference writer's, bit for bit, and we read what it wrote.
//!
//! The reference is the `composefs` crate as the program of `oracle/`: its place is in
//! `ELEA_ORACLE`, or it is where `cargo build --release --manifest-path oracle/Cargo.toml` puts it.

#![expect(clippy::unwrap_used, reason = "a test may fail")]
#![expect(clippy::print_stdout, reason = "what is skipped is told")]

use elea_formats::digest::Digest;
use elea_formats::tree::{Content, Directory, Leaf, LeafId, Meta, Node, Time, Tree};
use elea_formats::{dump, erofs};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

fn oracle() -> Option<PathBuf> {
    let path = std::env::var_os("ELEA_ORACLE").map_or_else(
        || {
            PathBuf::from(env!("CARGO_MANIFEST_DIR"))
                .join("../../oracle/target/release/elea-oracle")
        },
        PathBuf::from,
    );
    if path.exists() {
        return Some(path);
    }
    println!("skipped: no elea-oracle");
    None
}

fn ask(oracle: &PathBuf, verb: &str, input: &[u8]) -> Result<Vec<u8>, String> {
    let mut child = Command::new(oracle)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A tree as it is generated: names come later, so that they are unique.
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

fn xattrs() -> impl Strategy<Value = BTreeMap<Vec<u8>, Vec<u8>>> {
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

fn meta() -> impl Strategy<Value = Meta> {
    let id = prop_oneof![
        4 => Just(0),
        1 => 0_u32..70_000,
        1 => any::<u32>(),
    ];
    let seconds = prop_oneof![
        4 => Just(1_700_000_000_i64),
        1 => Just(0_i64),
        // The oracle's parser takes no times before 1970.
        1 => 0_i64..5,
        1 => 0_i64..(1 << 40),
    ];
    let nanoseconds = prop_oneof![3 => Just(0_u32), 1 => 0_u32..1_000_000_000];
    (
        0_u32..0o10000,
        id.clone(),
        id,
        seconds,
        nanoseconds,
        xattrs(),
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
    let size = prop_oneof![
        2 => 1_u64..100_000,
        1 => (0_u32..50, 0_u64..3).prop_map(|(bits, add)| (1 << bits) + add),
        1 => any::<u64>().prop_map(|size| (size >> 16).max(1)),
    ];
    // The oracle's parser takes no longer ones.
    let length = prop_oneof![0_usize..70, 0_usize..=512];
    let target = prop_oneof![1_usize..60, 900_usize..=1024];
    prop_oneof![
        4 => length.prop_map(|length| Content::Inline(vec![b'i'; length])),
        4 => (any::<u32>(), size).prop_map(|(seed, size)| Content::Object {
            digest: Digest::sha256(&seed.to_le_bytes()),
            size,
        }),
        2 => target.prop_map(|length| Content::Symlink(vec![b's'; length])),
        1 => any::<u32>().prop_map(|number| Content::BlockDevice(number.into())),
        1 => prop_oneof![Just(0), any::<u32>()].prop_map(|number| Content::CharDevice(number.into())),
        1 => Just(Content::Fifo),
        1 => Just(Content::Socket),
    ]
}

fn sketch() -> impl Strategy<Value = Sketch> {
    let leaf = prop_oneof![
        8 => (meta(), content()).prop_map(|(meta, content)| Sketch::Leaf(meta, content)),
        1 => any::<usize>().prop_map(Sketch::Link),
    ];
    leaf.prop_recursive(4, 120, 16, |inner| {
        (meta(), btree_map(name(), inner, 0..16))
            .prop_map(|(meta, entries)| Sketch::Directory(meta, entries))
    })
}

fn tree() -> impl Strategy<Value = Tree> {
    (meta(), btree_map(name(), sketch(), 0..16)).prop_map(|(meta, entries)| {
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
            Sketch::Link(place) => {
                let place = place % leaves.len();
                // The reference takes no second name for a whiteout.
                if leaves[place].content == Content::CharDevice(0) {
                    continue;
                }
                Node::Leaf(LeafId(place))
            }
        };
        directory.entries.insert(name, node);
    }
    directory
}

/// Compares images, and says in words where they differ.
fn compare(oracle: &PathBuf, tree: &Tree) -> Result<(), TestCaseError> {
    let text = dump::encode(tree);
    let theirs = ask(oracle, "write", text.as_bytes())
        .map_err(|e| TestCaseError::fail(format!("the oracle refuses: {e}\n{text}")))?;
    let ours = erofs::write(tree);
    if ours != theirs {
        let place = ours.iter().zip(&theirs).position(|(a, b)| a != b);
        return Err(TestCaseError::fail(format!(
            "{} and {} bytes differ at {place:?}\n{text}",
            ours.len(),
            theirs.len()
        )));
    }
    let back = erofs::read(&theirs).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
    prop_assert_eq!(dump::encode(&back), text);
    Ok(())
}

#[test]
fn generated_trees_give_the_reference_image() {
    let Some(oracle) = oracle() else { return };
    let cases = std::env::var("PROPTEST_CASES").map_or(100, |n| n.parse().unwrap());
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    runner.run(&tree(), |tree| compare(&oracle, &tree)).unwrap();
}

/// Directories of every size around the edges of blocks, and what else is large.
#[test]
fn large_trees_give_the_reference_image() {
    let Some(oracle) = oracle() else { return };
    let leaf = |seed: usize| Leaf {
        meta: Meta {
            mode: 0o644,
            xattrs: BTreeMap::from([(b"user.n".to_vec(), (seed % 50).to_string().into_bytes())]),
            ..Meta::default()
        },
        content: Content::Object {
            digest: Digest::sha256(&seed.to_le_bytes()),
            size: 1 << (seed % 45),
        },
    };
    for count in [1, 100, 127, 128, 129, 255, 256, 300, 5000] {
        let mut tree = Tree::default();
        for seed in 0..count {
            let id = tree.add_leaf(leaf(seed));
            let name = format!("{seed:020}").into_bytes();
            tree.root.entries.insert(name, Node::Leaf(id));
            let mut child = Directory::default();
            child.entries.insert(b"again".to_vec(), Node::Leaf(id));
            if seed % 3 == 0 {
                let name = format!("d{seed}").into_bytes();
                tree.root.entries.insert(name, Node::Directory(child));
            }
        }
        compare(&oracle, &tree).unwrap();
    }
    // More shared attributes at one inode than the format's count is wide is where the two
    // reference writers disagree, so this stays below.
    let many: BTreeMap<_, _> = (0..120)
        .map(|n| (format!("user.{n:03}").into_bytes(), b"v".to_vec()))
        .collect();
    let mut tree = Tree::default();
    for name in ["a", "b"] {
        let mut leaf = leaf(7);
        leaf.meta.xattrs.clone_from(&many);
        let id = tree.add_leaf(leaf);
        tree.root.entries.insert(name.into(), Node::Leaf(id));
    }
    compare(&oracle, &tree).unwrap();
}
