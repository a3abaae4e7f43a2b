//! A store of the first version, as `elea` 0.1.0 wrote it: it must still be read, and what is written
//! today does not change.
//!
//! `golden/tree-1.tar` is a layer; `golden/store-1` is the store that it was imported into, without its
//! empty folders and with modes that any checkout gives.

use elea_formats::digest::{Digest, Sha256};
use elea_formats::form::Form;
use elea_store::trust::Signature;
use elea_store::{Origin, Store, export};
use elea_sys::progress::Silent;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

const TAR: &[u8] = include_bytes!("../golden/tree-1.tar");
const IMAGE: &str = "03177f956e96ca706f5d53f08d4d2da53e71d18944bf825542cd0622e502b800";
const NAMES: [&str; 3] = ["hello:1.0", ".größe/a b", "localhost:5000/hello:1.0"];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/store-1")
}

fn image() -> Digest {
    IMAGE.parse().unwrap()
}

/// The golden store where it can be written to, with the modes that a store has.
fn copy(to: &Path) -> Store {
    for (path, content) in contents(&golden()) {
        let path = to.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match content {
            Content::Link(target) => symlink(target, &path).unwrap(),
            Content::File(bytes) => {
                fs::write(&path, bytes).unwrap();
                let is_object = path.strip_prefix(to).unwrap().starts_with("objects");
                let mode = if is_object { 0o444 } else { 0o644 };
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            }
        }
    }
    Store::open(to).unwrap()
}

#[derive(Debug, PartialEq, Eq)]
enum Content {
    File(Vec<u8>),
    Link(PathBuf),
}

/// Every file and link below a folder. Records of layers are unpacked, since a library packs them.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Content> {
    let mut all = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().to_owned();
            if path.is_symlink() {
                all.insert(name, Content::Link(fs::read_link(&path).unwrap()));
            } else if path.is_dir() {
                folders.push(path);
            } else {
                all.insert(name, Content::File(fs::read(&path).unwrap()));
            }
        }
    }
    all
}

/// The record of a layer, with what is packed in it unpacked.
fn unpacked(record: &[u8]) -> Vec<u8> {
    let line = record.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let packed = zstd::stream::decode_all(&record[line..]).unwrap();
    [&record[..line], &packed].concat()
}

fn the_origin(blob: Sha256) -> Origin {
    Origin {
        source: "registry:localhost:5000/hello:1.0".into(),
        oci_manifest: Some(Sha256::of(b"manifest")),
        layers: vec![blob],
        signatures: vec![Signature {
            payload: b"payload".to_vec(),
            signature: b"signature".to_vec(),
        }],
    }
}

#[test]
fn a_store_of_the_first_version_is_sound() {
    let dir = tempfile::tempdir().unwrap();
    let store = copy(&dir.path().join("store"));
    assert_eq!(store.fsck(&Silent).unwrap().findings, []);
    let wanted = NAMES.map(|name| (name.to_owned(), image()));
    assert_eq!(store.refs().unwrap(), BTreeMap::from(wanted));
    let manifest = store.image(&image()).unwrap();
    let blob = Sha256::of(TAR);
    let origin = the_origin(blob);
    assert_eq!(manifest.source, origin.source);
    assert_eq!(manifest.oci_manifest, origin.oci_manifest);
    assert_eq!(manifest.imported, "2026-11-26T15:00:00Z");
    assert_eq!(manifest.release.unwrap().version, "1.0");
    let signatures = store.signatures(&image()).unwrap();
    assert_eq!(signatures[0].payload, origin.signatures[0].payload);
    assert_eq!(signatures[0].signature, origin.signatures[0].signature);
    assert_eq!(store.layers_of(&image()).unwrap(), [blob]);
    // The tree is that of the layer, by the image and by the layer's record.
    let tree = store.tree(&image()).unwrap();
    let mut tar = Vec::new();
    export::tar(&store, &tree, &mut tar).unwrap();
    assert!(tar == TAR);
    let layer = store.layer(&blob).unwrap().unwrap();
    let tree = store.assemble(&[layer]).unwrap();
    assert_eq!(store.seal(tree, Form::Os1, &origin).unwrap().image, image());
    let gone = store.gc(&[], false, &Silent).unwrap();
    assert_eq!((gone.objects, gone.images.len()), (0, 0));
}

#[test]
fn a_store_of_today_is_the_one_of_the_first_version() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::init(&dir.path().join("store")).unwrap();
    made(&store);
    let (mut ours, mut golden) = (contents(store.path()), contents(&golden()));
    let record = PathBuf::from(format!("manifests/layers/{}", Sha256::of(TAR)));
    for all in [&mut ours, &mut golden] {
        let Some(Content::File(bytes)) = all.get_mut(&record) else {
            panic!("no {}", record.display())
        };
        *bytes = unpacked(bytes);
    }
    let names = |all: &BTreeMap<PathBuf, _>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&ours), names(&golden));
    for (name, content) in &golden {
        assert!(ours[name] == *content, "{}", name.display());
    }
}

/// Makes the golden store: the layer, its image, three names.
fn made(store: &Store) {
    let blob = Sha256::of(TAR);
    let kind = "application/vnd.oci.image.layer.v1.tar";
    let layer = store.import_layer(&blob, kind, TAR, &Silent).unwrap();
    let tree = store.assemble(&[layer]).unwrap();
    // The time of import is that of the manifest that is there.
    let name = format!("manifests/{IMAGE}/image.json");
    let text = fs::read_to_string(golden().join(&name)).unwrap();
    let other = text.replace("localhost:5000", "localhost:6000");
    assert_ne!(text, other);
    fs::create_dir_all(store.path().join(&name).parent().unwrap()).unwrap();
    fs::write(store.path().join(&name), other).unwrap();
    let sealed = store.seal(tree, Form::Os1, &the_origin(blob)).unwrap();
    assert_eq!(sealed.image, image());
    for name in NAMES {
        store.set_ref(name, &image()).unwrap();
    }
}
