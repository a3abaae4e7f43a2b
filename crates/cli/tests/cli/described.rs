//! Dumps and image files: trees without their contents, in and out.

use crate::program::{Elea, skipped};
use elea_testkit::oracle::Composefs;
use std::fs;
use std::process::Stdio;

const TOOL: &str = "/usr/bin/tool 9000 100644";

/// A store with the image `raw` of a tree, its digest, and its dump.
fn dumped(elea: &Elea) -> (String, String) {
    elea.tree("tree");
    elea.good("image import dir:tree --name raw --form raw");
    let dump = elea.good("image export raw dump:-");
    fs::write(elea.path("raw.dump"), &dump).unwrap();
    let digest = elea.good("image digest raw --form raw");
    (digest.trim().to_owned(), dump)
}

#[test]
fn a_dump_comes_back_as_the_same_image() {
    let elea = Elea::new();
    let (raw, dump) = dumped(&elea);
    let first = |line: &str| elea.good(line).lines().next().unwrap().to_owned();
    assert_eq!(
        first("image import dump:raw.dump --name again --form raw"),
        raw
    );
    assert_eq!(elea.good("image export again dump:-"), dump);
    // By os-1 it is what the folder is, and needs no store.
    let os1 = elea.good("image digest dir:tree");
    assert_eq!(first("image import dump:raw.dump --name os"), os1.trim());
    fs::rename(elea.store(), elea.path("elsewhere")).unwrap();
    assert_eq!(elea.good("image digest dump:raw.dump"), os1);
    assert_eq!(
        elea.good("image digest dump:raw.dump --form raw").trim(),
        raw
    );
    assert!(!elea.store().exists());
    let stdin = fs::File::open(elea.path("raw.dump")).unwrap();
    let mut command = elea.command(&["image", "digest", "dump:-"]);
    let output = command.stdin(Stdio::from(stdin)).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), os1);
}

#[test]
fn a_dump_names_the_objects_that_are_missing() {
    let elea = Elea::new();
    let (raw, dump) = dumped(&elea);
    assert!(dump.contains(TOOL), "{dump}");
    let other = "--store other";
    let says = ["1 of the objects", "`/usr/bin/tool`", "not in the store"];
    elea.bad(
        &format!("image import dump:raw.dump --name x {other}"),
        1,
        &says,
    );
    elea.bad(&format!("image show x {other}"), 1, &["no image `x`"]);
    // One of another size is no object of the tree's.
    let lie = dump.replace(TOOL, "/usr/bin/tool 9001 100644");
    fs::write(elea.path("lie.dump"), lie).unwrap();
    elea.bad(
        "image import dump:lie.dump",
        1,
        &["9001 bytes, and it has 9000"],
    );
    // The whole of it comes with its contents.
    elea.good(&format!("image import dir:tree {other}"));
    let out = elea.good(&format!("image import dump:raw.dump --form raw {other}"));
    assert!(out.starts_with(&raw), "{out}");
}

#[test]
fn what_a_dump_does_not_hold_is_not_guessed() {
    let elea = Elea::new();
    let (_, dump) = dumped(&elea);
    let small = dump.replace(TOOL, "/usr/bin/tool 64 100644");
    fs::write(elea.path("small.dump"), small).unwrap();
    let says = ["digests of 1 file", "`/usr/bin/tool`", "os-1", "--form raw"];
    elea.bad("image digest dump:small.dump", 1, &says);
    elea.bad("image import dump:small.dump --dry-run", 1, &says);
    elea.good("image digest dump:small.dump --form raw");
    // Contents of more than 64 bytes become objects, as they do from a folder.
    let root = elea.path("inline");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("a"), [b'a'; 64]).unwrap();
    fs::write(root.join("b"), [b'b'; 65]).unwrap();
    let line = |name: &str, size: usize| {
        let content = name.repeat(size);
        format!(
            "/{name} {size} 100644 1 {} 0 5.0 - {content} -\n",
            owner(&root)
        )
    };
    let text = format!(
        "/ 0 40755 2 0 0 0 0.0 - - -\n{}{}",
        line("a", 64),
        line("b", 65)
    );
    fs::write(elea.path("inline.dump"), text).unwrap();
    for name in ["a", "b"] {
        let file = fs::File::options()
            .write(true)
            .open(root.join(name))
            .unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(5);
        file.set_modified(time).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs::set_permissions(root.join(name), mode).unwrap();
    }
    let by_folder = elea.good("image digest dir:inline");
    assert_eq!(elea.good("image digest dump:inline.dump"), by_folder);
    let out = elea.good("image import dump:inline.dump --name os");
    assert!(out.starts_with(by_folder.trim()), "{out}");
}

fn owner(path: &std::path::Path) -> String {
    use std::os::unix::fs::MetadataExt as _;
    let status = fs::metadata(path).unwrap();
    format!("{} {}", status.uid(), status.gid())
}

#[test]
fn a_broken_dump_is_refused_with_its_line() {
    let elea = Elea::new();
    let (_, dump) = dumped(&elea);
    fs::write(elea.path("cut.dump"), &dump[..dump.len() - 3]).unwrap();
    let last = format!("dump:cut.dump: line {} of the dump", dump.lines().count());
    elea.bad("image digest dump:cut.dump", 1, &[&last, "cut off"]);
    elea.bad(
        "image import erofs:raw.dump",
        1,
        &["erofs:raw.dump: the image's"],
    );
    elea.bad("image digest dump:nothing", 1, &["nothing"]);
    elea.bad("image digest dump:", 2, &["a path must follow"]);
}

#[test]
fn images_of_both_formats_come_back() {
    let elea = Elea::new();
    let (raw, dump) = dumped(&elea);
    elea.good("image export raw erofs:one");
    elea.good("image export raw erofs:zero --format v0");
    let old = elea.good("image digest raw --form raw --format v0");
    assert_ne!(old.trim(), raw);
    assert_eq!(
        elea.good("image digest erofs:one --form raw --format v0"),
        old
    );
    for file in ["one", "zero"] {
        let line = format!("image import erofs:{file} --name {file} --form raw");
        assert!(elea.good(&line).starts_with(&raw), "{file}");
    }
    elea.bad("image export raw tar:x --format v0", 2, &["erofs:FILE"]);
    elea.bad("image export raw erofs:x --format v2", 2, &["v1"]);
    elea.bad(
        "image export raw oci:x:y",
        2,
        &["tar:FILE, squashfs:FILE, erofs:FILE or dump:FILE"],
    );
    let Some(c) = Composefs::find() else {
        return skipped("no mkcomposefs");
    };
    for (option, ours) in [("--min-version=1", "one"), ("--max-version=0", "zero")] {
        let theirs = c.write(&[option], dump.as_bytes()).unwrap();
        assert!(fs::read(elea.path(ours)).unwrap() == theirs, "{option}");
    }
}
