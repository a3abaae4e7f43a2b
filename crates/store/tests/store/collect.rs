//! What is collected, and what never is.

use crate::sample::{import, origin};
use elea_formats::digest::Digest;
use elea_formats::form::Form;
use elea_formats::tree::{Content, Tree};
use elea_store::export::{self, Compression};
use elea_store::{Origin, Store};
use elea_sys::progress::Silent;
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A folder of files named by letters; the content of each is its letter, many times.
fn folder(at: &Path, letters: &str) {
    fs::create_dir_all(at).unwrap();
    for letter in letters.chars() {
        fs::write(at.join(letter.to_string()), letter.to_string().repeat(1000)).unwrap();
    }
}

pub(crate) fn tree(store: &Store, letters: &str) -> Tree {
    let at = store.path().parent().unwrap().join(letters);
    folder(&at, letters);
    import(store, &at)
}

pub(crate) fn image(store: &Store, letters: &str) -> Digest {
    let tree = tree(store, letters);
    store.seal(tree, Form::Os1, &origin()).unwrap().image
}

fn objects(tree: &Tree) -> Vec<Digest> {
    let digests = tree.leaves().filter_map(|id| match tree.content(id) {
        Content::Object { digest, .. } => Some(digest),
        _ => None,
    });
    digests.collect()
}

fn is_sound(store: &Store) {
    assert_eq!(store.fsck(&Silent).unwrap().findings, []);
}

#[test]
fn only_what_nothing_keeps_goes() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::init(&dir.path().join("store")).unwrap();
    let (a, b, c) = (
        image(&store, "abc"),
        image(&store, "bcd"),
        image(&store, "xyz"),
    );
    store.set_ref("a", &a).unwrap();
    let before = store.gc(&[c], true, &Silent).unwrap();
    assert_eq!(store.images().unwrap().len(), 3);
    let done = store.gc(&[c], false, &Silent).unwrap();
    assert_eq!(before, done);
    assert_eq!(done.images, [b]);
    // The image's own file, and `d`.
    assert_eq!(done.objects, 2);
    assert!(done.bytes > 1000);
    is_sound(&store);
    let kept = store.tree(&a).unwrap();
    assert_eq!(
        store.read_file(&kept, "b", 1000).unwrap().unwrap(),
        b"b".repeat(1000)
    );
    let nothing = store.gc(&[c], false, &Silent).unwrap();
    assert_eq!((nothing.objects, nothing.images.len()), (0, 0));
    store.remove_ref("a").unwrap();
    let all = store.gc(&[], false, &Silent).unwrap();
    assert_eq!(all.images.len(), 2);
    assert_eq!(
        fs::read_dir(store.path().join("manifests"))
            .unwrap()
            .count(),
        1
    );
    assert_eq!(store.gc(&[], false, &Silent).unwrap().objects, 0);
}

#[test]
fn a_lease_keeps_what_is_added_and_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::init(&dir.path().join("store")).unwrap();
    // An object of nobody's, from long ago.
    let old = tree(&store, "o");
    let lease = store.lease("test").unwrap();
    assert!(store.leases().unwrap()[0].starts_with("test, process "));
    let new = tree(&store, "on");
    let other = Store::open(store.path()).unwrap();
    assert_eq!(other.gc(&[], false, &Silent).unwrap().objects, 0);
    assert_eq!(objects(&new).len(), 2);
    let image = store.seal(new, Form::Os1, &origin()).unwrap().image;
    assert_eq!(other.gc(&[], false, &Silent).unwrap().images, []);
    is_sound(&store);
    drop(lease);
    let done = other.gc(&[], false, &Silent).unwrap();
    assert_eq!(done.images, [image]);
    assert!(!store.has_object(&objects(&old)[0]));
}

#[test]
fn what_dead_processes_left_goes() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::init(&dir.path().join("store")).unwrap();
    let tree = tree(&store, "v");
    let at = |name: &str| store.path().join(name);
    // As a killed process leaves it: nobody holds its lock.
    let lease = format!("elea upgrade, process 1\nobject {}\n", objects(&tree)[0]);
    fs::write(at("leases/1-0"), lease).unwrap();
    fs::write(at("tmp/1-0"), "half").unwrap();
    std::os::unix::fs::symlink("x", at("images/.new-1-x")).unwrap();
    fs::create_dir(at("partial")).unwrap();
    fs::write(at("partial/new"), "half").unwrap();
    fs::write(at("partial/old"), "half").unwrap();
    let week = SystemTime::now() - Duration::from_hours(24 * 8);
    File::options()
        .write(true)
        .open(at("partial/old"))
        .unwrap()
        .set_modified(week)
        .unwrap();
    assert!(store.leases().unwrap().is_empty());
    assert_eq!(store.gc(&[], false, &Silent).unwrap().objects, 1);
    for (name, there) in [
        ("leases/1-0", false),
        ("tmp/1-0", false),
        ("images/.new-1-x", false),
        ("partial/new", true),
        ("partial/old", false),
    ] {
        assert_eq!(fs::symlink_metadata(at(name)).is_ok(), there, "{name}");
    }
}

#[test]
fn layers_stay_while_their_image_does() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::init(&dir.path().join("store")).unwrap();
    let tree = tree(&store, "lm");
    let packed = export::layers(
        &store,
        &tree,
        Compression::Gzip,
        &dir.path().join("out"),
        &Silent,
    )
    .unwrap();
    let blob = packed[0].blob;
    let other = Store::init(&dir.path().join("other")).unwrap();
    let file = File::open(&packed[0].path).unwrap();
    let layer = other
        .import_layer(&blob, packed[0].media_type, file, &Silent)
        .unwrap();
    let tree = other.assemble(std::slice::from_ref(&layer)).unwrap();
    let origin = Origin {
        layers: vec![blob],
        ..origin()
    };
    let image = other.seal(tree, Form::Os1, &origin).unwrap().image;
    assert_eq!(other.layers_of(&image).unwrap(), [blob]);
    other.gc(&[image], false, &Silent).unwrap();
    assert!(other.layer(&blob).unwrap().is_some());
    // Without one of its objects a layer is of no use.
    let (object, _) = layer.objects().next().unwrap();
    let moved = dir.path().join("moved");
    fs::rename(other.object_path(&object), &moved).unwrap();
    assert!(other.layer(&blob).unwrap().is_none());
    fs::rename(&moved, other.object_path(&object)).unwrap();
    assert!(other.layer(&blob).unwrap().is_some());
    other.gc(&[], false, &Silent).unwrap();
    assert!(other.layer(&blob).unwrap().is_none());
}

#[test]
fn a_damaged_kept_image_stops_the_collection() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::init(&dir.path().join("store")).unwrap();
    let (a, b) = (image(&store, "a"), image(&store, "b"));
    let path = store.object_path(&a);
    let mut bytes = fs::read(&path).unwrap();
    bytes[2000] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    let error = store.gc(&[a], false, &Silent).unwrap_err().to_string();
    assert!(error.contains("is damaged"), "{error}");
    assert!(store.tree(&b).is_ok());
}
