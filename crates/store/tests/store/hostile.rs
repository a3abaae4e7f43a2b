//! Archives that mean harm.

use elea_formats::digest::Sha256;
use elea_formats::dump;
use elea_formats::oci::media;
use elea_formats::tree::Tree;
use elea_store::{Error, Store};
use elea_sys::progress::{Progress, Silent, Unit};
use std::io::Write as _;
use tar::{EntryType, Header};

/// A tar file that is written by hand.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn raw(mut self, name: &str, kind: u8, target: &str, size: u64, content: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        old.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(EntryType::new(kind));
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.raw(name, b'0', "", content.len() as u64, content.as_bytes())
    }

    fn entry(self, name: &str, kind: u8, target: &str) -> Self {
        self.raw(name, kind, target, 0, b"")
    }

    fn pax(self, key: &str, value: &str) -> Self {
        let rest = key.len() + value.len() + 3;
        let mut length = rest;
        while rest + length.to_string().len() != length {
            length += 1;
        }
        let record = format!("{length} {key}={value}\n");
        self.raw("pax", b'x', "", record.len() as u64, record.as_bytes())
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

fn with_store<T>(test: impl FnOnce(&Store) -> T) -> T {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::init(&dir.path().join("store")).unwrap();
    let result = test(&store);
    store.sync().unwrap();
    let left = std::fs::read_dir(store.path().join("tmp")).unwrap().count();
    assert_eq!(left, 0, "temporary files are gone");
    result
}

fn read(tar: &[u8]) -> Result<Tree, Error> {
    with_store(|store| store.import_tar(tar, &Silent))
}

fn layers(tars: &[Vec<u8>]) -> Result<String, Error> {
    with_store(|store| {
        let mut layers = Vec::new();
        for tar in tars {
            let digest = Sha256::of(tar);
            layers.push(store.import_layer(&digest, media::LAYER, tar.as_slice(), &Silent)?);
        }
        store.assemble(&layers).map(|tree| dump::encode(&tree))
    })
}

/// The paths of a dump.
fn paths(dump: &str) -> Vec<&str> {
    dump.lines().map(|l| l.split(' ').next().unwrap()).collect()
}

#[test]
fn what_leads_outside_or_lies_is_refused_by_name() {
    let new = Tar::default;
    let cases = [
        (
            new().file("../../etc/passwd", "x"),
            "../../etc/passwd",
            "`..`",
        ),
        (new().file("a/../../b", "x"), "a/../../b", "`..`"),
        (new().pax("path", "../x").file("y", "x"), "../x", "`..`"),
        (
            new().entry("l", b'2', "/etc").file("l/passwd", "x"),
            "l/passwd",
            "goes through `l`",
        ),
        (
            new().file("f", "x").file("f/g", "x"),
            "f/g",
            "goes through `f`",
        ),
        (new().entry("h", b'1', "../../etc/shadow"), "h", "`..`"),
        (
            new().entry("h", b'1', "later").file("later", "x"),
            "h",
            "no file before it",
        ),
        (
            new().entry("d/", b'5', "").entry("h", b'1', "d"),
            "h",
            "no file before it",
        ),
        (
            new().entry("l", b'2', "/etc").entry("h", b'1', "l/shadow"),
            "h",
            "no file before it",
        ),
        (new().entry("s", b'S', ""), "s", "is sparse"),
        (
            new().pax("GNU.sparse.major", "1").file("s", "x"),
            "s",
            "is sparse",
        ),
        (new().entry("v", b'V', ""), "v", "type `V`"),
        (new().entry("l", b'2', ""), "l", "without a usable target"),
        (new().entry("", b'0', ""), "", "has no name"),
        (new().raw("d", b'5', "", 3, b"abc"), "d", "has content"),
        (
            new().pax("uid", "4294967295").file("u", "x"),
            "u",
            "no valid uid",
        ),
        (new().pax("uid", "-1").file("u", "x"), "u", "no valid uid"),
        (
            new().pax("mtime", "never").file("m", "x"),
            "m",
            "no valid time",
        ),
        (
            new().pax("size", "1x").file("z", "x"),
            "z",
            "malformed size",
        ),
        (
            new().pax("path", &"n".repeat(256)).file("y", "x"),
            "nnnn",
            "255",
        ),
        (
            new().pax("path", &"n/".repeat(3000)).file("y", "x"),
            "n/n/",
            "4096",
        ),
        (
            new()
                .pax("SCHILY.xattr.user.x", &"v".repeat(70_000))
                .file("y", "x"),
            "y",
            "too large",
        ),
        (
            new().pax("SCHILY.acl.access", "user:me:rwx").file("y", "x"),
            "y",
            "--numeric-owner",
        ),
    ];
    for (tar, name, reason) in cases {
        let error = read(&tar.end()).unwrap_err();
        assert!(matches!(error, Error::Entry { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&format!("`{name}")), "{name}: {text}");
        assert!(text.contains(reason), "{name}: {text}");
    }
}

#[test]
fn a_broken_archive_is_refused() {
    let new = Tar::default;
    let good = new().file("a", "hello").end();
    assert!(read(&good).is_ok());
    let mut flipped = good.clone();
    flipped[0] ^= 1;
    let bad_pax = new().raw("x", b'x', "", 6, b"9 a=b\n").file("a", "x").end();
    let endless = new().raw("x", b'x', "", 1 << 40, b"").end();
    let endless_name = new().raw("x", b'L', "", 1 << 40, b"").end();
    let alone = new().pax("path", "x").end();
    for (tar, reason) in [
        (&good[..good.len() - 1024], "without its end mark"),
        (&good[..600], "truncated"),
        (&good[..100], "truncated"),
        (&[][..], "without its end mark"),
        (&flipped, "checksum"),
        (&bad_pax, "malformed"),
        (&endless, "too large"),
        (&endless_name, "too large"),
        (&alone, "after an extended header"),
        (&b"BZh91AY&SY"[..], "bzip2"),
        (&[0x1f, 0x8b, 8, 0, 0, 0], ""),
        (&[b'x'; 512], "checksum"),
        (&new().raw("big", b'0', "", 1 << 20, b"abc").0, "truncated"),
    ] {
        let error = read(tar).unwrap_err();
        assert!(matches!(error, Error::Archive { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{reason}: {error}");
    }
    let lying = new().raw("lie", b'0', "", 1 << 45, b"abc").0;
    let error = read(&lying).unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
}

#[test]
fn bombs_are_bounded() {
    // A header that never ends, packed small.
    let bomb = |head: Vec<u8>, zeros: usize| {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.write_all(&head).unwrap();
        for _ in 0..zeros {
            encoder.write_all(&vec![0; 1 << 20]).unwrap();
        }
        encoder.finish().unwrap()
    };
    let header = Tar::default().raw("x", b'x', "", 100 << 20, b"").0;
    let packed = bomb(header, 100);
    assert!(packed.len() < 100_000);
    assert!(read(&packed).unwrap_err().to_string().contains("too large"));
    // Nothing but emptiness behind the end.
    let packed = bomb(Tar::default().file("a", "x").end(), 100);
    assert!(
        read(&packed)
            .unwrap_err()
            .to_string()
            .contains("behind its end")
    );
    assert!(read(&bomb(Tar::default().file("a", "x").end(), 2)).is_ok());
}

#[test]
fn harmless_oddities_are_read() {
    let odd = Tar::default()
        .file("/abs/olute", "x")
        .file("./a//b/./c", "1")
        .file("a/b/c", "22")
        .entry("old/", b'0', "")
        .pax("path", "")
        .file("named", "x")
        .end();
    let dump = dump::encode(&read(&odd).unwrap());
    assert_eq!(
        paths(&dump),
        [
            "/",
            "/a",
            "/a/b",
            "/a/b/c",
            "/abs",
            "/abs/olute",
            "/named",
            "/old"
        ]
    );
    assert!(
        dump.contains("/a/b/c 2 100644"),
        "the last one counts: {dump}"
    );
    assert!(dump.contains("/abs 0 40755 2 0 0 0 0.0"), "{dump}");
}

#[test]
fn whiteouts_concern_lower_layers_alone() {
    let new = Tar::default;
    let lower = new()
        .file("a/1", "x")
        .file("a/2", "x")
        .file("b/1", "x")
        .file("b/sub/2", "x")
        .file("c", "x")
        .file("d/deep/1", "x")
        .end();
    let upper = new()
        .file("a/new", "x")
        // Behind what it must not hide.
        .file("a/.wh..wh..opq", "")
        .file("b/.wh.sub", "")
        .file("b/.wh.absent", "")
        .file("absent/.wh.x", "")
        .file("c/inside", "x")
        .file(".wh.c", "")
        .file("d/.wh.deep", "")
        .file("d/deep/2", "x")
        .file("e/.wh..wh.plnk", "")
        .end();
    let dump = layers(&[lower, upper]).unwrap();
    assert_eq!(
        paths(&dump),
        [
            "/",
            "/a",
            "/a/new",
            "/b",
            "/b/1",
            "/c",
            "/c/inside",
            "/d",
            "/d/deep",
            "/d/deep/2"
        ]
    );
    for name in [".wh.", "a/.wh..", "a/.wh..."] {
        let error = layers(&[new().file(name, "").end()]).unwrap_err();
        assert!(error.to_string().contains("whiteout of nothing"), "{error}");
    }
    // In a plain archive they are names.
    let tree = read(&new().file(".wh.x", "").end()).unwrap();
    assert_eq!(paths(&dump::encode(&tree)), ["/", "/.wh.x"]);
}

#[test]
fn layers_replace_kinds_and_keep_links() {
    let new = Tar::default;
    let lower = new()
        .file("f", "file")
        .entry("h", b'1', "f")
        .entry("d/", b'5', "")
        .file("d/x", "x")
        .entry("l", b'2', "d")
        .end();
    let upper = new()
        .file("f", "other")
        .entry("again", b'1', "h")
        .entry("d", b'2', "f")
        .entry("l/", b'5', "")
        .file("l/y", "y")
        .end();
    let dump = layers(&[lower, upper]).unwrap();
    let expected = "\
/ 0 40755 3 0 0 0 0.0 - - -
/again 4 100644 2 0 0 0 0.0 - file -
/d 1 120644 1 0 0 0 0.0 f - -
/f 5 100644 1 0 0 0 0.0 - other -
/h 0 @120000 - - - - 0.0 /again - -
/l 0 40644 2 0 0 0 0.0 - - -
/l/y 1 100644 1 0 0 0 0.0 - y -
";
    assert_eq!(dump, expected);
}

#[test]
fn a_blob_that_is_another_is_refused_and_not_remembered() {
    let tar = Tar::default().file("a", &"long ".repeat(100)).end();
    let other = Sha256::of(b"other");
    with_store(|store| {
        let error = store
            .import_layer(&other, media::LAYER, tar.as_slice(), &Silent)
            .unwrap_err();
        assert!(matches!(error, Error::Blob { .. }), "{error}");
        assert!(store.layer(&other).unwrap().is_none());
        let error = store
            .import_layer(
                &other,
                "application/x-tar+encrypted",
                tar.as_slice(),
                &Silent,
            )
            .unwrap_err();
        assert!(matches!(error, Error::MediaType { .. }), "{error}");
        // Bytes behind the archive are part of the blob.
        let mut longer = tar.clone();
        longer.extend(b"trailer");
        let digest = Sha256::of(&longer);
        store
            .import_layer(&digest, media::LAYER, longer.as_slice(), &Silent)
            .unwrap();
        // A damaged record is only a cache that is of no use.
        let path = store.path().join(format!("manifests/layers/{digest}"));
        assert!(store.layer(&digest).unwrap().is_some());
        std::fs::write(&path, "elea.layer/1\nx").unwrap();
        assert!(store.layer(&digest).unwrap().is_none());
    });
}

/// Somebody who has enough at once.
pub(crate) struct Impatient;

impl Progress for Impatient {
    fn start(&self, _: &str, _: Option<u64>, _: Unit) {}
    fn advance(&self, _: u64) {}
    fn finish(&self) {}
    fn note(&self, _: &str) {}
    fn cancelled(&self) -> bool {
        true
    }
}

#[test]
fn who_has_enough_is_heard() {
    let tar = Tar::default().file("a", "x").end();
    with_store(|store| {
        let error = store.import_tar(tar.as_slice(), &Impatient).unwrap_err();
        assert!(matches!(error, Error::Cancelled), "{error}");
        let digest = Sha256::of(&tar);
        let error = store
            .import_layer(&digest, media::LAYER, tar.as_slice(), &Impatient)
            .unwrap_err();
        assert!(matches!(error, Error::Cancelled), "{error}");
        let error = store.import_dir(store.path(), &Impatient).unwrap_err();
        assert!(matches!(error, Error::Cancelled), "{error}");
    });
}
