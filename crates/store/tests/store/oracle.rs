//! Real folders against the reference writer and the fsverity program.
//!
//! `ELEA_ORACLE_TREE` names another folder than the default.

use crate::sample::{import, origin, run};
use elea_formats::form::Form;
use elea_formats::tree::Content;
use elea_formats::{dump, erofs};
use elea_store::Store;
use elea_testkit::oracle::{Composefs, Oracle};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

fn folder() -> PathBuf {
    std::env::var_os("ELEA_ORACLE_TREE").map_or_else(|| "/usr/share/doc".into(), PathBuf::from)
}

fn oracle() -> Option<PathBuf> {
    let oracle = Oracle::program();
    if oracle.is_none() {
        println!("skipped: no elea-oracle");
    }
    oracle
}

#[test]
fn a_real_folder_gives_the_reference_image() {
    let Some(oracle) = oracle() else { return };
    let dir = tempfile::tempdir().unwrap();
    let store = Store::init(&dir.path().join("store")).unwrap();
    let tree = import(&store, &folder());
    let text = dir.path().join("dump");
    fs::write(&text, dump::encode(&tree)).unwrap();
    let output = Command::new(&oracle)
        .arg("write")
        .stdin(File::open(&text).unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let ours = erofs::write(&tree, erofs::Version::V1);
    assert!(ours == output.stdout, "{} bytes", ours.len());
    let back = erofs::read(&ours).unwrap();
    assert!(dump::encode(&back) == dump::encode(&tree));
    println!(
        "{} leaves, {} bytes of image",
        tree.leaves().len(),
        ours.len()
    );
}

#[test]
fn a_real_folder_gives_what_mkcomposefs_makes_of_it() {
    let Some(c) = Composefs::find() else {
        println!("skipped: no mkcomposefs");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let store = Store::init(&dir.path().join("store")).unwrap();
    let tree = import(&store, &folder());
    let ours = erofs::write(&tree, erofs::Version::V1);
    assert!(c.write_folder(&folder()).unwrap() == ours);
}

#[test]
fn objects_are_named_as_the_fsverity_program_names_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::init(&dir.path().join("store")).unwrap();
    let source = dir.path().join("source");
    crate::sample::sample(&source);
    let tree = import(&store, &source);
    let mut seen = 0;
    for id in tree.leaves() {
        let Content::Object { digest, .. } = tree.content(id) else {
            continue;
        };
        let path = store.object_path(&digest);
        let arguments = ["digest", "--compact", path.to_str().unwrap()];
        let Some(theirs) = run("fsverity", &arguments, dir.path()) else {
            return;
        };
        assert_eq!(theirs.trim(), digest.to_string());
        seen += 1;
    }
    assert!(seen > 1);
}

#[test]
fn a_store_is_a_composefs_repository() {
    let Some(oracle) = oracle() else { return };
    let dir = tempfile::tempdir().unwrap();
    let store = Store::init(&dir.path().join("store")).unwrap();
    crate::sample::sample(&dir.path().join("source"));
    let tree = import(&store, &dir.path().join("source"));
    let image = store.seal(tree, Form::Os1, &origin()).unwrap().image;
    store.set_ref("a/b", &image).unwrap();
    let check = || {
        let mut command = Command::new(&oracle);
        command.arg("check").arg(store.path()).output().unwrap()
    };
    let output = check();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    // The file of 9 MiB, the one of 65 bytes, and the image.
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "3 objects, 1 images\n"
    );
    let path = store.object_path(&image);
    let mut bytes = fs::read(&path).unwrap();
    bytes[1200] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    assert!(!check().status.success());
}
