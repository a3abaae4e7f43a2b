//! What the kernel makes of our images.

use crate::sample::{import, is_root, origin, run, system};
use elea_formats::dump;
use elea_formats::form::{Form, canonical};
use elea_formats::tree::Tree;
use elea_store::Store;
use elea_sys::mount::{detach, own_namespace};
use std::fs;
use std::path::Path;

/// Runs in a thread with its own mounts.
pub(crate) fn in_namespace(test: impl FnOnce(&Path) + Send + 'static) {
    let joined = std::thread::spawn(move || {
        if !is_root() || own_namespace().is_err() {
            println!("skipped: no mount namespace");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        // Threads that were started before have the mounts of then.
        let pool = rayon::ThreadPoolBuilder::new().build().unwrap();
        pool.install(|| test(dir.path()));
    });
    joined.join().unwrap();
}

/// A mount's content as a dump.
pub(crate) fn dump_of(store: &Store, path: &Path) -> String {
    dump::encode(&import(store, path))
}

pub(crate) fn compare(found: &str, wanted: &str) {
    for (found, wanted) in found.lines().zip(wanted.lines()) {
        assert_eq!(found, wanted);
    }
    assert_eq!(found.lines().count(), wanted.lines().count());
}

#[test]
fn a_mounted_image_is_the_tree() {
    in_namespace(|dir| {
        let source = dir.join("source");
        system(&source);
        let store = Store::init(&dir.join("store")).unwrap();
        let tree = import(&store, &source);
        let target = dir.join("target");
        fs::create_dir(&target).unwrap();
        for form in [Form::Raw, Form::Os1] {
            let image = store.seal(tree.clone(), form, &origin()).unwrap().image;
            store.mount(&image, &target).unwrap();
            let found = dump_of(&store, &target);
            let error = fs::write(target.join("etc/new"), "x").unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
            detach(&target).unwrap();
            let mut expected: Tree = tree.clone();
            canonical(&mut expected, form);
            compare(&found, &dump::encode(&expected));
        }
        assert!(fs::read_dir(&target).unwrap().next().is_none());
    });
}

#[test]
fn erofs_tools_find_nothing_wrong() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    system(&dir.path().join("source"));
    let store = Store::init(&dir.path().join("store")).unwrap();
    let tree = import(&store, &dir.path().join("source"));
    for form in [Form::Raw, Form::Os1] {
        let image = store.seal(tree.clone(), form, &origin()).unwrap().image;
        let path = store.object_path(&image);
        run("fsck.erofs", &[path.to_str().unwrap()], dir.path());
        run("dump.erofs", &["-s", path.to_str().unwrap()], dir.path());
    }
}
