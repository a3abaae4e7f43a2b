//! The hard cases by name.

use crate::{c_oracle, compare_c, compare_crate, crate_oracle};
use elea_formats::digest::Sha256;
use elea_formats::tree::{Content, DirId, Leaf, LeafId, Meta, Node, Time, Tree};
use std::collections::BTreeMap;

/// Who takes a tree: the crate has limits that C has not.
#[derive(Clone, Copy, PartialEq)]
enum Judges {
    Both,
    OnlyC,
    /// C takes long for many links.
    OnlyCrate,
}

fn meta(mode: u32) -> Meta {
    Meta {
        mode,
        ..Meta::default()
    }
}

fn object(size: u64) -> Content {
    Content::Object {
        digest: Sha256::of(&size.to_le_bytes()).into(),
        size,
    }
}

fn put(tree: &mut Tree, name: impl Into<Vec<u8>>, meta: Meta, content: Content) -> LeafId {
    tree.put_leaf(DirId::ROOT, &name.into(), &Leaf { meta, content })
}

/// A tree with a root of some time and the leaves.
fn files(leaves: impl IntoIterator<Item = (Vec<u8>, Meta, Content)>) -> Tree {
    let mut tree = Tree::new();
    for (name, meta, content) in leaves {
        put(&mut tree, name, meta, content);
    }
    tree
}

fn with(name: &str, value: &[u8]) -> Meta {
    let mut meta = meta(0o644);
    meta.xattrs.insert(name.into(), value.to_vec());
    meta
}

fn hard_links() -> Tree {
    let mut tree = Tree::new();
    let id = put(&mut tree, "z", meta(0o644), object(70));
    let folder = tree.add_directory(DirId::ROOT, b"a", &Meta::default());
    let deep = tree.add_directory(folder, b"deep", &Meta::default());
    tree.insert(deep, b"first", Node::Leaf(id));
    // Two names in one directory, and a link and a device with several.
    for (name, content) in [
        ("s", Content::Symlink(b"t".to_vec())),
        ("c", Content::CharDevice(0x103)),
    ] {
        let id = put(&mut tree, name, meta(0o777), content);
        let second = [name.as_bytes(), b"2"].concat();
        tree.insert(DirId::ROOT, &second, Node::Leaf(id));
    }
    tree
}

fn many_links(count: usize) -> Tree {
    let mut tree = Tree::new();
    let id = put(&mut tree, "00000000", meta(0o644), object(1000));
    for number in 1..count {
        let name = format!("{number:08}").into_bytes();
        tree.insert(DirId::ROOT, &name, Node::Leaf(id));
    }
    tree
}

/// Attributes that several files share, more than one file can name.
fn many_shared(count: usize) -> Tree {
    let many: BTreeMap<_, _> = (0..count)
        .map(|n| (format!("user.{n:04}").into_bytes(), b"v".to_vec()))
        .collect();
    let mut meta = meta(0o644);
    meta.xattrs = many;
    files(["a", "b"].map(|name| (name.into(), meta.clone(), object(7))))
}

fn large_attributes() -> Tree {
    let names = (b'a'..=b'f').enumerate();
    let mut tree = files(names.map(|(n, name)| {
        let mut meta = with("user.own", &vec![name; 4000 + n * 97]);
        // Shared by three, and three blocks long.
        if n % 2 == 0 {
            meta.xattrs.insert(b"user.large".to_vec(), vec![7; 12_345]);
        }
        let content = match n % 3 {
            0 => Content::Inline(vec![b'x'; 64]),
            1 => object(9_999_999),
            _ => Content::Symlink(vec![b't'; 300]),
        };
        (vec![name], meta, content)
    }));
    tree.set_meta(DirId::ROOT, &with("user.root", &vec![b'r'; 30_000]));
    tree
}

fn attributes_of_note() -> Tree {
    // USER_OBJ, a named user, GROUP_OBJ, MASK, OTHER.
    let acl = [
        &[2, 0, 0, 0][..],
        &[1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff],
        &[2, 0, 4, 0, 0xe8, 3, 0, 0],
        &[4, 0, 4, 0, 0xff, 0xff, 0xff, 0xff],
        &[0x10, 0, 4, 0, 0xff, 0xff, 0xff, 0xff],
        &[0x20, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
    ]
    .concat();
    let capability = [
        1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let mut tree = files([
        (
            b"acl".to_vec(),
            with("system.posix_acl_access", &acl),
            object(100),
        ),
        (
            b"ping".to_vec(),
            with("security.capability", &capability),
            object(101),
        ),
        (
            b"no".to_vec(),
            with("system.posix_acl_accessory", b"x"),
            object(102),
        ),
    ]);
    let meta = with("system.posix_acl_default", &acl);
    tree.add_directory(DirId::ROOT, b"folder", &meta);
    tree
}

fn whiteout() -> Leaf {
    Leaf {
        meta: meta(0o644),
        content: Content::CharDevice(0),
    }
}

fn whiteouts(marked: &str) -> Tree {
    let mut tree = files([
        (b"gone".to_vec(), meta(0), Content::CharDevice(0)),
        // A stub's name, with and without its metadata.
        (b"00".to_vec(), meta(0o600), Content::CharDevice(0)),
        (b"7f".to_vec(), with("user.a", b"b"), Content::CharDevice(0)),
        (b"ff".to_vec(), meta(0o644), object(5000)),
    ]);
    let mut marked = with(marked, b"y");
    marked.xattrs.insert(b"user.mine".to_vec(), vec![1; 90]);
    let folder = tree.add_directory(DirId::ROOT, b"folder", &marked);
    tree.put_leaf(folder, b"below", &whiteout());
    tree
}

/// A whiteout with a name in each of two directories: the second one is not marked.
fn linked_whiteout() -> Tree {
    let mut tree = Tree::new();
    let id = tree.add_leaf(&whiteout());
    for name in ["a", "b"] {
        let folder = tree.add_directory(DirId::ROOT, name.as_bytes(), &Meta::default());
        tree.insert(folder, b"gone", Node::Leaf(id));
    }
    tree
}

fn kinds() -> Tree {
    let largest = u64::from(u32::MAX);
    files([
        (b"b".to_vec(), meta(0o660), Content::BlockDevice(0x0801)),
        (b"b0".to_vec(), meta(0o660), Content::BlockDevice(0)),
        (b"c".to_vec(), meta(0o4666), Content::CharDevice(0x0103)),
        (b"c9".to_vec(), meta(0o666), Content::CharDevice(largest)),
        (b"f".to_vec(), meta(0o600), Content::Fifo),
        (b"s".to_vec(), meta(0o1777), Content::Socket),
        (b"l".to_vec(), meta(0o777), Content::Symlink(b"/".to_vec())),
    ])
}

/// Sizes around the inline limit, and of contents that C keeps in the image.
fn small_files(sizes: impl IntoIterator<Item = usize>) -> Tree {
    files(sizes.into_iter().map(|size| {
        let content = Content::Inline(vec![b'c'; size]);
        (format!("{size:05}").into_bytes(), meta(0o644), content)
    }))
}

/// Sizes of objects around every power of two: 4 GiB and what sparse files claim.
fn large_files() -> Tree {
    let sizes = (0..=53).flat_map(|bits| [(1_u64 << bits) - 1, 1 << bits, (1 << bits) + 1]);
    let sizes = sizes.filter(|size| (1..=1 << 53).contains(size));
    files(sizes.flat_map(|size| {
        // Whole blocks of holes have room or not, as the attributes before them are long.
        ["", "a", "bcde"].map(|value| {
            let meta = with("user.v", value.as_bytes());
            (
                format!("{size:020}{value}").into_bytes(),
                meta,
                object(size),
            )
        })
    }))
}

fn names() -> Tree {
    let names = (1..=255).map(|length| vec![b'n'; length]);
    let bytes = (1..=255).filter(|byte| !matches!(byte, b'.' | b'/'));
    let bytes = bytes.map(|byte| vec![byte]);
    let strange = [
        &b"\xff\xfe\x80"[..],
        b"\xc3\xa4",
        b"a\nb",
        b"...",
        b" ",
        b"\\x41",
        b"-",
    ];
    let all = names.chain(bytes).chain(strange.map(<[u8]>::to_vec));
    files(all.map(|name| (name, meta(0o644), Content::Fifo)))
}

fn targets(lengths: impl IntoIterator<Item = usize>) -> Tree {
    files(lengths.into_iter().flat_map(|length| {
        [Meta::default(), with("user.a", &[b'v'; 50])].map(|meta| {
            let name = format!("{length:04}{}", meta.xattrs.len()).into_bytes();
            (name, meta, Content::Symlink(vec![b't'; length]))
        })
    }))
}

fn wide(count: usize) -> Tree {
    files((0..count).map(|number| {
        let content = object(1 + number as u64 % 90_000);
        (format!("entry-{number}").into_bytes(), meta(0o644), content)
    }))
}

fn deep(depth: u32) -> Tree {
    let mut tree = Tree::new();
    let mut here = DirId::ROOT;
    for level in 0..depth {
        let name = format!("level-{level}").into_bytes();
        here = tree.add_directory(here, &name, &meta(0o700 + level % 8));
    }
    tree
}

fn times(all: &[(i64, u32)]) -> Tree {
    let mut tree = files(
        all.iter()
            .enumerate()
            .map(|(number, (seconds, nanoseconds))| {
                let mut meta = meta(0o644);
                meta.mtime = Time {
                    seconds: *seconds,
                    nanoseconds: *nanoseconds,
                };
                (format!("{number}").into_bytes(), meta, Content::Fifo)
            }),
    );
    let mut root = meta(0o755);
    root.mtime.seconds = 1_700_000_000;
    tree.set_meta(DirId::ROOT, &root);
    tree
}

fn owners() -> Tree {
    let ids = [0, 65_534, 65_535, 65_536, 100_000, u32::MAX - 1, u32::MAX];
    files(ids.iter().flat_map(|uid| {
        ids.iter().map(move |gid| {
            let mut meta = meta(0o644);
            (meta.uid, meta.gid) = (*uid, *gid);
            (format!("{uid}-{gid}").into_bytes(), meta, Content::Socket)
        })
    }))
}

#[test]
fn the_hard_cases_give_the_reference_image() {
    use Judges::{Both, OnlyC, OnlyCrate};
    let (c, mut oracle) = (c_oracle(), crate_oracle());
    let late = [
        (5, 5),
        (4, 999_999_999),
        (i64::from(u32::MAX) + 1, 0),
        (1 << 33, 1),
    ];
    let early = [
        (-1, 0),
        (-1, 1),
        (-2, 999_999_999),
        (0, 0),
        (i64::MIN + 1, 7),
        (i64::MAX, 0),
    ];
    let cases = vec![
        ("hard links", Both, hard_links()),
        ("65,535 links", OnlyCrate, many_links(65_535)),
        ("65,536 links", Both, many_links(65_536)),
        // The object of a file is two more.
        ("128 shared attributes", Both, many_shared(126)),
        ("129 shared attributes", OnlyC, many_shared(127)),
        ("300 shared attributes", OnlyC, many_shared(300)),
        ("attributes over 4 KiB", Both, large_attributes()),
        ("ACLs and capabilities", OnlyC, attributes_of_note()),
        ("whiteouts", Both, whiteouts("user.b")),
        (
            "whiteouts in a marked directory",
            OnlyC,
            whiteouts("trusted.overlay.opaque"),
        ),
        ("a whiteout with two names", OnlyC, linked_whiteout()),
        ("devices, pipes, sockets", Both, kinds()),
        (
            "small files",
            Both,
            small_files([0, 1, 63, 64, 65, 511, 512]),
        ),
        (
            "small files of C",
            OnlyC,
            small_files(
                (2000..=5000)
                    .step_by(7)
                    .chain([4095, 4096, 4097, 6144 - 2048]),
            ),
        ),
        ("large files", Both, large_files()),
        ("names", Both, names()),
        ("targets", Both, targets(900..=1024)),
        ("targets near 4 KiB", OnlyC, targets(3850..=4095)),
        ("times", Both, times(&late)),
        ("times before 1970", OnlyC, times(&early)),
        ("owners", Both, owners()),
        ("depth 200", Both, deep(200)),
        ("100,000 entries", OnlyC, wide(100_000)),
        ("entries around a block", Both, wide(127)),
    ];
    for (name, judges, tree) in cases {
        if let Some(c) = c.as_ref().filter(|_| judges != OnlyCrate) {
            let result = compare_c(c, &tree);
            assert!(result.is_ok(), "{name}: {}", result.unwrap_err());
        }
        if let Some(oracle) = oracle.as_mut().filter(|_| judges != OnlyC) {
            let result = compare_crate(oracle, &tree);
            assert!(result.is_ok(), "{name}: {}", result.unwrap_err());
        }
    }
}
