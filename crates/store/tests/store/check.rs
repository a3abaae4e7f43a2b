//! Damage is found and named.

use crate::sample::{import, origin, sample};
use elea_formats::digest::{Digest, Sha256};
use elea_formats::form::Form;
use elea_formats::tree::{Content, Node};
use elea_store::Store;
use elea_sys::progress::Silent;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

pub(crate) struct Fixture {
    dir: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) image: Digest,
    /// The object of `etc/edge65`.
    pub(crate) object: PathBuf,
}

impl Fixture {
    /// The folder that the image was made of.
    pub(crate) fn source(&self) -> PathBuf {
        self.dir.path().join("source")
    }

    pub(crate) fn image_file(&self) -> PathBuf {
        self.store.object_path(&self.image)
    }
}

pub(crate) fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    sample(&source);
    let store = Store::init(&dir.path().join("store")).unwrap();
    let tree = import(&store, &source);
    let image = store.seal(tree, Form::Os1, &origin()).unwrap().image;
    store.set_ref("it", &image).unwrap();
    let tree = store.tree(&image).unwrap();
    let Some(Node::Leaf(id)) = tree.get(b"etc/edge65") else {
        panic!("no leaf");
    };
    let Content::Object { digest, .. } = tree.content(id) else {
        panic!("no object");
    };
    let check = store.fsck(&Silent).unwrap();
    assert_eq!(check.findings, []);
    assert_eq!(check.objects, 3);
    assert!(check.bytes > 9 << 20);
    Fixture {
        object: store.object_path(&digest),
        dir,
        store,
        image,
    }
}

/// Replaces a file's content; objects are read-only.
pub(crate) fn rewrite(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o444)).unwrap();
}

/// The one finding: its path below the store, what it says, and how many images it names.
fn finding(fixture: &Fixture) -> (String, String, usize) {
    let findings = fixture.store.fsck(&Silent).unwrap().findings;
    assert_eq!(findings.len(), 1, "{findings:?}");
    let one = &findings[0];
    if !one.images.is_empty() {
        assert_eq!(one.images, [fixture.image]);
    }
    let path = one.path.strip_prefix(fixture.store.path()).unwrap();
    (
        path.display().to_string(),
        one.what.clone(),
        one.images.len(),
    )
}

#[test]
fn damaged_objects_are_named_with_their_images() {
    type Damage = fn(&Path);
    let cases: [(Damage, &str); 5] = [
        (|path| rewrite(path, |b| b[10] ^= 0x10), "is damaged"),
        (|path| rewrite(path, |b| b.truncate(64)), "64 bytes of 65"),
        (
            |path| rewrite(path, |b| b.push(0)),
            "66 bytes and should have 65",
        ),
        (|path| fs::remove_file(path).unwrap(), "is missing"),
        (
            |path| fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap(),
            "mode 0644",
        ),
    ];
    for (damage, words) in cases {
        let fixture = fixture();
        damage(&fixture.object);
        let (path, what, images) = finding(&fixture);
        assert!(fixture.object.ends_with(&path), "{path}");
        assert!(what.contains(words), "{what}");
        assert_eq!(images, 1);
    }
}

#[test]
fn a_damaged_image_file_is_named() {
    let fixture = fixture();
    rewrite(&fixture.image_file(), |b| b[1300] ^= 1);
    let (path, what, images) = finding(&fixture);
    assert_eq!(path, format!("objects/{}", fixture.image.object_path()));
    assert!(what.contains("is damaged"), "{what}");
    assert_eq!(images, 1);
}

#[test]
fn names_that_lead_nowhere_are_named() {
    type Damage = fn(&Store, &Digest);
    let gone = Digest::from(Sha256::of(b"gone"));
    let dangling = format!("objects/{}", gone.object_path());
    let cases: [(Damage, String, &str); 6] = [
        (
            |store, _| fs::write(store.path().join("objects/ab"), "x").unwrap(),
            "objects/ab".into(),
            "not named by a digest",
        ),
        (
            |store, _| {
                let gone = Digest::from(Sha256::of(b"gone"));
                let to = format!("../objects/{}", gone.object_path());
                symlink(to, store.path().join(format!("images/{gone}"))).unwrap();
                let folder = store.path().join(format!("manifests/{gone}"));
                fs::create_dir(&folder).unwrap();
                let text = format!(
                    r#"{{"schema":"elea.image/1","image":"{gone}","form":"raw","source":"","imported":"","files":0,"bytes":0}}"#
                );
                fs::write(folder.join("image.json"), text).unwrap();
            },
            dangling,
            "is missing",
        ),
        (
            |store, _| {
                let to = format!("../images/{}", Sha256::of(b"gone"));
                symlink(to, store.path().join("refs/lost")).unwrap();
            },
            "refs/lost".into(),
            "not there",
        ),
        (
            |store, image| {
                fs::remove_file(store.path().join(format!("manifests/{image}/image.json")))
                    .unwrap();
            },
            "images/".into(),
            "no manifest",
        ),
        (
            |store, image| {
                fs::write(
                    store.path().join(format!("manifests/{image}/image.json")),
                    "{",
                )
                .unwrap();
            },
            "images/".into(),
            "is not valid",
        ),
        (
            |store, _| {
                let gone = Digest::from(Sha256::of(b"gone"));
                fs::create_dir(store.path().join(format!("manifests/{gone}"))).unwrap();
            },
            "manifests/".into(),
            "of no image",
        ),
    ];
    for (damage, path, words) in cases {
        let fixture = fixture();
        if path == "objects/ab" && fixture.store.path().join("objects/ab").exists() {
            continue;
        }
        damage(&fixture.store, &fixture.image);
        let findings = fixture.store.fsck(&Silent).unwrap().findings;
        assert_eq!(findings.len(), 1, "{findings:?}");
        let found = findings[0].path.strip_prefix(fixture.store.path()).unwrap();
        assert!(found.to_str().unwrap().starts_with(&path), "{found:?}");
        assert!(findings[0].what.contains(words), "{}", findings[0].what);
    }
    assert_ne!(gone, Sha256::of(b"").into());
}
