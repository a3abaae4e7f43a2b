//! A store whose objects and images are named by SHA-512, as composefs-rs's own repositories name them.

use crate::check::rewrite;
use crate::mounts::{compare, dump_of, in_namespace};
use crate::sample::{import, made, origin, run, sample};
use elea_formats::digest::{Algorithm, Digest, Sha256};
use elea_formats::form::{Form, canonical};
use elea_formats::tree::{Content, Node, Tree};
use elea_formats::{dump, erofs, verity};
use elea_store::export::{self, Compression};
use elea_store::repair::{Plan, Repair, Source};
use elea_store::{Error, Store};
use elea_sys::mount::detach;
use elea_sys::progress::Silent;
use elea_testkit::oracle::Oracle;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

fn store(at: &Path) -> Store {
    Store::init_with(at, Algorithm::Sha512).unwrap()
}

fn seal(store: &Store, tree: Tree) -> Digest {
    store.seal(tree, Form::Os1, &origin()).unwrap().image
}

/// What the reference says to some words and an input.
fn ask(words: &[&str], input: Option<&Path>) -> Option<Result<Vec<u8>, String>> {
    let Some(program) = Oracle::program() else {
        println!("skipped: no elea-oracle");
        return None;
    };
    let mut command = Command::new(program);
    command.args(words);
    if let Some(input) = input {
        command.stdin(File::open(input).unwrap());
    }
    let output = command.output().unwrap();
    Some(if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    })
}

#[test]
fn every_road_gives_one_image() {
    let dir = tempfile::tempdir().unwrap();
    let source = made(dir.path());
    let here = store(&dir.path().join("store"));
    let tree = import(&here, &source);
    let image = seal(&here, tree.clone());
    assert_eq!(image.algorithm(), Algorithm::Sha512);
    assert_eq!(image.to_string().len(), 128);
    assert!(here.object_path(&image).exists());

    let read = elea_store::read_dir(&source, dir.path(), Algorithm::Sha512, &Silent).unwrap();
    assert_eq!(dump::encode(&read), dump::encode(&tree));
    // The second time by what is known of the files, where the file system tells.
    assert_eq!(seal(&here, import(&here, &source)), image);

    let mut tar = Vec::new();
    export::tar(&here, &tree, &mut tar).unwrap();
    let other = store(&dir.path().join("of tar"));
    let back = other.import_tar(tar.as_slice(), &Silent).unwrap();
    assert_eq!(seal(&other, back), image);

    let other = store(&dir.path().join("of layers"));
    let folder = dir.path().join("layers");
    let packed = export::layers(&here, &tree, Compression::Chunked, &folder, &Silent).unwrap();
    let layers: Vec<_> = packed
        .iter()
        .map(|one| {
            let file = File::open(&one.path).unwrap();
            let made = other.import_layer(&one.blob, one.media_type, file, &Silent);
            assert_eq!(made.unwrap().diff_id, one.diff_id);
            // As it is written down.
            other.layer(&one.blob).unwrap().unwrap()
        })
        .collect();
    assert_eq!(seal(&other, other.assemble(&layers).unwrap()), image);

    let mut os1 = tree;
    canonical(&mut os1, Form::Os1);
    let text = dump::encode(&os1);
    assert_eq!(seal(&here, dump::parse(text.as_bytes()).unwrap()), image);
    let bytes = erofs::write(&os1, erofs::Version::V1);
    assert_eq!(dump::encode(&erofs::read(&bytes).unwrap()), text);
    assert_eq!(verity::measure(Algorithm::Sha512, &bytes), image);
    assert_eq!(dump::encode(&here.tree(&image).unwrap()), text);

    // By the other algorithm it is what the other kind of store calls it.
    let usual = Store::init(&dir.path().join("usual")).unwrap();
    let twin = seal(&usual, import(&usual, &source));
    let by = |store: &Store, algorithm| store.digest_by(algorithm, &os1, erofs::Version::V1);
    assert_eq!(by(&here, Algorithm::Sha256).unwrap(), twin);
    assert_eq!(by(&here, Algorithm::Sha512).unwrap(), image);
    let back = usual.tree(&twin).unwrap();
    let back = usual.digest_by(Algorithm::Sha512, &back, erofs::Version::V1);
    assert_eq!(back.unwrap(), image);
}

#[test]
fn it_is_a_composefs_repository() {
    let dir = tempfile::tempdir().unwrap();
    let here = store(&dir.path().join("store"));
    sample(&dir.path().join("source"));
    let tree = import(&here, &dir.path().join("source"));
    let image = seal(&here, tree.clone());
    let folder = here.path().to_str().unwrap();
    let Some(said) = ask(&["check", folder], None) else {
        return;
    };
    assert_eq!(said.unwrap(), b"3 objects, 1 images\n");
    // What it makes of the same tree, and of our image.
    let (text, file) = (dir.path().join("dump"), here.object_path(&image));
    let mut os1 = tree;
    canonical(&mut os1, Form::Os1);
    fs::write(&text, dump::encode(&os1)).unwrap();
    let theirs = ask(&["write-sha512"], Some(&text)).unwrap().unwrap();
    assert!(theirs == fs::read(&file).unwrap());
    let theirs = ask(&["read-sha512"], Some(&file)).unwrap().unwrap();
    let theirs = dump::parse(&theirs).unwrap();
    assert_eq!(theirs.algorithm(), Algorithm::Sha512);
    assert!(erofs::write(&theirs, erofs::Version::V1) == fs::read(&file).unwrap());
    for id in os1.leaves() {
        if let Some((digest, _)) = os1.object(id) {
            let object = here.object_path(&digest);
            let words = ["digest", "--compact", "--hash-alg", "sha512"];
            let words = [&words[..], &[object.to_str().unwrap()]].concat();
            if let Some(theirs) = run("fsverity", &words, dir.path()) {
                assert_eq!(theirs.trim(), digest.to_string());
            }
        }
    }
    rewrite(&file, |bytes| bytes[1200] ^= 1);
    assert!(ask(&["check", folder], None).unwrap().is_err());
}

#[test]
fn a_mounted_image_is_the_tree() {
    in_namespace(|dir| {
        let source = made(dir);
        let here = store(&dir.join("store"));
        let mut tree = import(&here, &source);
        let image = seal(&here, tree.clone());
        canonical(&mut tree, Form::Os1);
        let wanted = dump::encode(&tree);
        let target = dir.join("target");
        fs::create_dir(&target).unwrap();
        here.mount(&image, &target).unwrap();
        compare(&dump_of(&here, &target), &wanted);
        detach(&target).unwrap();
        // The reference mounts it, too.
        let at = [here.path(), &target].map(|path| path.to_str().unwrap());
        let words = ["mount", at[0], &image.to_string(), at[1]];
        if let Some(said) = ask(&words, None) {
            said.unwrap();
            compare(&dump_of(&here, &target), &wanted);
            detach(&target).unwrap();
        }
        let sealed = elea_sys::verity::measure(&File::open(here.object_path(&image)).unwrap());
        match sealed {
            Ok(sealed) => assert_eq!(sealed, image.as_bytes()),
            Err(e) => println!("skipped: not sealed here: {e}"),
        }
    });
}

#[test]
fn damage_is_found_and_repaired_and_what_nobody_uses_is_collected() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    sample(&source);
    let here = store(&dir.path().join("store"));
    let image = seal(&here, import(&here, &source));
    here.set_ref("it", &image).unwrap();
    assert_eq!(here.resolve(&image.to_string()[..100]).unwrap(), image);
    let tree = here.tree(&image).unwrap();
    let Some(Node::Leaf(id)) = tree.get(b"etc/edge65") else {
        panic!("no leaf");
    };
    let Content::Object { digest, .. } = tree.content(id) else {
        panic!("no object");
    };
    let findings = || here.fsck(&Silent).unwrap().findings;
    assert_eq!(findings(), []);
    rewrite(&here.object_path(&digest), |bytes| bytes[10] ^= 0x10);
    let check = here.fsck(&Silent).unwrap();
    assert_eq!(check.findings.len(), 1, "{:?}", check.findings);
    assert_eq!(check.findings[0].object, Some(digest));
    assert_eq!(check.findings[0].images, [image]);
    let mut repair = Repair::new(&here, Plan::new(&check)).unwrap();
    // Of a store of the other kind the contents are of use.
    let usual = Store::init(&dir.path().join("usual")).unwrap();
    seal(&usual, import(&usual, &source));
    let from = Source::open(usual.path()).unwrap();
    repair.from(&from, &Silent).unwrap();
    assert!(repair.failed.is_empty(), "{:?}", repair.failed);
    assert_eq!(findings(), []);

    // A file that SHA-256 names is none of its objects, and not a collection's to take.
    let stranger = Digest::from(Sha256::of(b"x"));
    let path = here.object_path(&stranger);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "x").unwrap();
    let found = findings();
    assert!(found[0].what.contains("not named by a digest"), "{found:?}");

    let keep = here.gc(&[], false, &Silent).unwrap();
    assert_eq!((keep.images.len(), keep.objects), (0, 0));
    here.remove_ref("it").unwrap();
    let gone = here.gc(&[], false, &Silent).unwrap();
    assert_eq!((gone.images, gone.objects), (vec![image], 3));
    assert!(path.exists() && !here.object_path(&digest).exists());
}

#[test]
fn a_store_and_a_tree_have_one_algorithm() {
    let dir = tempfile::tempdir().unwrap();
    let here = store(&dir.path().join("store"));
    let usual = Store::init(&dir.path().join("usual")).unwrap();
    sample(&dir.path().join("source"));
    for (store, other) in [(&here, &usual), (&usual, &here)] {
        let foreign = import(other, &dir.path().join("source"));
        let error = store.seal(foreign.clone(), Form::Os1, &origin());
        let error = error.unwrap_err();
        assert!(matches!(error, Error::Algorithm { .. }), "{error}");
        let (found, wanted) = (store.algorithm(), other.algorithm());
        let text = error.to_string();
        assert!(text.contains(&format!("by {found}")), "{text}");
        assert!(text.contains(&format!("--algorithm {wanted}")), "{text}");
        // An image of one is no image of the other.
        let image = erofs::write(&foreign, erofs::Version::V1);
        assert!(erofs::read_into(&image, store.empty_tree()).is_err());
        assert_eq!(erofs::read(&image).unwrap().algorithm(), wanted);
        let text = dump::encode(&foreign);
        let mut parser = dump::Parser::new(store.empty_tree());
        let refused = text
            .split_inclusive('\n')
            .find_map(|line| parser.line(line.as_bytes()).err());
        assert!(refused.unwrap().to_string().contains("named by"));
        // Nor may a dump have both.
        let mixed = format!("{text}{}", other_object(store.algorithm()));
        let refused = dump::parse(mixed.as_bytes()).unwrap_err();
        assert!(refused.to_string().contains("named by"), "{refused}");
        assert!(dump::parse(text.as_bytes()).is_ok());
    }
}

/// A line of a dump with an object of this algorithm.
fn other_object(algorithm: Algorithm) -> String {
    let digest = verity::measure(algorithm, b"x");
    let place = digest.object_path();
    format!("/zz 100 100644 1 0 0 0 1.0 {place} - {digest}\n")
}
