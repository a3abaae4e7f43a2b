//! The C programs of composefs on our images and objects: `composefs-info` and `mount.composefs`.

use crate::mounts::{compare, dump_of, in_namespace};
use crate::sample::{import, made, origin, system};
use elea_formats::digest::{Digest, Sha256};
use elea_formats::form::{Form, canonical};
use elea_formats::tree::{Content, Node, Tree};
use elea_formats::{dump, erofs};
use elea_store::Store;
use elea_sys::mount::detach;
use elea_testkit::oracle::Composefs;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn programs() -> Option<Composefs> {
    let found = Composefs::find();
    if found.is_none() {
        println!("skipped: no composefs-info");
    }
    found
}

/// What one of the programs says, line by line.
fn lines(c: &Composefs, words: &[&str], paths: &[&Path]) -> Vec<String> {
    let said = c.info(words, paths).unwrap();
    let text = String::from_utf8(said).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn objects(tree: &Tree) -> BTreeSet<Digest> {
    let digests = tree.leaves().filter_map(|id| match tree.content(id) {
        Content::Object { digest, .. } => Some(digest),
        _ => None,
    });
    digests.collect()
}

#[test]
fn composefs_info_says_of_images_and_objects_what_we_say() {
    let Some(c) = programs() else { return };
    let dir = tempfile::tempdir().unwrap();
    let store = Store::init(&dir.path().join("store")).unwrap();
    let tree = import(&store, &made(dir.path()));
    for form in [Form::Raw, Form::Os1] {
        let image = store.seal(tree.clone(), form, &origin()).unwrap().image;
        let tree = store.tree(&image).unwrap();
        let file = store.object_path(&image);
        assert_eq!(lines(&c, &["measure-file"], &[&file]), [image.to_string()]);
        let names = lines(&c, &["objects"], &[&file]);
        let ours: Vec<_> = objects(&tree).iter().map(Digest::object_path).collect();
        assert_eq!(names, ours);
        for digest in objects(&tree) {
            let object = store.object_path(&digest);
            assert_eq!(
                lines(&c, &["measure-file"], &[&object]),
                [digest.to_string()]
            );
        }
        assert_eq!(listed(&c, &file), paths(&tree));
        let theirs = c.info(&["dump"], &[&file]).unwrap();
        let theirs = dump::parse(&theirs).unwrap();
        assert!(erofs::write(&theirs, erofs::Version::V1) == fs::read(&file).unwrap());
    }
}

/// The paths that `composefs-info ls` lists, each with the object or target behind it.
fn listed(c: &Composefs, image: &Path) -> BTreeSet<String> {
    lines(c, &["ls"], &[image]).into_iter().collect()
}

/// The same from our tree. The root is not listed, and of a file's second name nothing more is said.
fn paths(tree: &Tree) -> BTreeSet<String> {
    let (mut paths, mut seen) = (BTreeSet::new(), BTreeSet::new());
    tree.walk(|path, node| {
        let path = path.escape_ascii().to_string();
        paths.insert(match node {
            Node::Directory(_) => format!("{path}/\t"),
            Node::Leaf(id) if !seen.insert(id) => path,
            Node::Leaf(id) => match tree.content(id) {
                Content::Object { digest, .. } => format!("{path}\t@ {}", digest.object_path()),
                Content::Symlink(target) => format!("{path}\t-> {}", target.escape_ascii()),
                _ => path,
            },
        });
        Ok::<(), ()>(())
    })
    .unwrap();
    assert!(paths.remove("//\t"));
    paths
}

#[test]
fn composefs_info_misses_the_objects_that_we_miss() {
    let Some(c) = programs() else { return };
    let dir = tempfile::tempdir().unwrap();
    let store = Store::init(&dir.path().join("store")).unwrap();
    let tree = import(&store, &made(dir.path()));
    let image = store.seal(tree, Form::Os1, &origin()).unwrap().image;
    let base = format!("--basedir={}", store.path().join("objects").display());
    let missing = || {
        lines(
            &c,
            &[&base, "missing-objects"],
            &[&store.object_path(&image)],
        )
    };
    assert_eq!(missing(), Vec::<String>::new());
    let digest = *objects(&store.tree(&image).unwrap()).first().unwrap();
    fs::remove_file(store.object_path(&digest)).unwrap();
    assert_eq!(missing(), [digest.object_path()]);
}

#[test]
fn mount_composefs_mounts_our_images() {
    in_namespace(|dir| {
        let Some(c) = programs() else { return };
        let source = dir.join("source");
        system(&source);
        let store = Store::init(&dir.join("store")).unwrap();
        let tree = import(&store, &source);
        let target = dir.join("target");
        fs::create_dir(&target).unwrap();
        let base = format!("basedir={}", store.path().join("objects").display());
        for form in [Form::Raw, Form::Os1] {
            let image = store.seal(tree.clone(), form, &origin()).unwrap().image;
            let file = store.object_path(&image);
            c.mount(&base, &file, &target).unwrap();
            let found = dump_of(&store, &target);
            detach(&target).unwrap();
            let mut expected = tree.clone();
            canonical(&mut expected, form);
            compare(&found, &dump::encode(&expected));
            // The digest is the kernel's to say: without fs-verity there is none.
            let right = c.mount(&format!("{base},digest={image}"), &file, &target);
            let other = Sha256::of(b"another");
            let wrong = c.mount(&format!("{base},digest={other}"), &file, &target);
            let wrong = wrong.unwrap_err();
            let file = fs::File::open(&file).unwrap();
            if elea_sys::verity::measure(&file).is_ok() {
                right.unwrap();
                detach(&target).unwrap();
                assert!(wrong.contains("digest"), "{wrong}");
            } else {
                println!("skipped: no fs-verity here, so mount.composefs cannot know a digest");
                assert!(right.is_err());
            }
        }
    });
}
