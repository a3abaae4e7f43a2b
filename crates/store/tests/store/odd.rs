//! Stores in odd places: they work, or say exactly what they cannot.

use crate::mounts::in_namespace;
use crate::sample::{import, origin, sample, system};
use elea_formats::form::Form;
use elea_store::repair::{Plan, Repair};
use elea_store::{Store, export};
use elea_sys::mount::detach;
use elea_sys::progress::Silent;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Runs a program that must be there; false, after saying so, if it fails.
fn worked(program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program).args(arguments).output();
    let good = output.as_ref().is_ok_and(|output| output.status.success());
    if !good {
        println!("skipped: {program} {arguments:?}: {output:?}");
    }
    good
}

#[test]
fn read_only_media_are_read_and_refuse_by_name() {
    in_namespace(|dir| {
        sample(&dir.join("source"));
        let path = dir.join("store");
        let store = Store::init(&path).unwrap();
        let tree = import(&store, &dir.join("source"));
        let image = store.seal(tree, Form::Os1, &origin()).unwrap().image;
        store.set_ref("it", &image).unwrap();
        let shown = path.to_str().unwrap();
        if !worked("mount", &["--bind", shown, shown])
            || !worked("mount", &["-o", "remount,bind,ro", shown])
        {
            return;
        }
        let store = Store::open(&path).unwrap();
        assert_eq!(store.resolve("it").unwrap(), image);
        assert_eq!(store.images().unwrap().len(), 1);
        assert_eq!(store.fsck(&Silent).unwrap().findings, []);
        let tree = store.tree(&image).unwrap();
        let mut tar = Vec::new();
        export::tar(&store, &tree, &mut tar).unwrap();
        assert!(tar.len() > 9 << 20);
        let target = dir.join("target");
        fs::create_dir(&target).unwrap();
        store.mount(&image, &target).unwrap();
        assert_eq!(fs::read(target.join("etc/edge65")).unwrap(), [b'x'; 65]);
        detach(&target).unwrap();
        store.gc(&[], true, &Silent).unwrap();
        let check = store.fsck(&Silent).unwrap();
        let refused = [
            store.import_dir(&dir.join("source"), &Silent).map(drop),
            store.import_tar(&tar[..], &Silent).map(drop),
            store.seal(tree, Form::Os1, &origin()).map(drop),
            store.set_ref("other", &image),
            store.remove_ref("it").map(drop),
            store.gc(&[], false, &Silent).map(drop),
            store.lease("test").map(drop),
            Repair::new(&store, Plan::new(&check)).map(drop),
        ];
        for (number, result) in refused.into_iter().enumerate() {
            let error = result.unwrap_err().to_string();
            let told = format!("the store {shown} can only be read: Read-only file system");
            assert!(error.starts_with(&told), "{number}: {error}");
        }
    });
}

#[test]
fn a_newer_programs_store_is_read_and_not_written() {
    let dir = tempfile::tempdir().unwrap();
    sample(&dir.path().join("source"));
    let store = Store::init(&dir.path().join("store")).unwrap();
    let tree = import(&store, &dir.path().join("source"));
    let image = store.seal(tree, Form::Os1, &origin()).unwrap().image;
    store.set_ref("it", &image).unwrap();
    let file = store.path().join("meta.json");
    let meta = fs::read_to_string(&file).unwrap();
    fs::write(&file, meta.replace("\"elea_1\"", "\"elea_1\", \"packs\"")).unwrap();
    let store = Store::open(store.path()).unwrap();
    assert_eq!(store.fsck(&Silent).unwrap().findings, []);
    let tree = store.tree(&image).unwrap();
    let check = store.fsck(&Silent).unwrap();
    for result in [
        store
            .import_dir(&dir.path().join("source"), &Silent)
            .map(drop),
        store.seal(tree, Form::Os1, &origin()).map(drop),
        store.set_ref("other", &image),
        store.remove_ref("it").map(drop),
        store.gc(&[], false, &Silent).map(drop),
        store.gc(&[], true, &Silent).map(drop),
        Repair::new(&store, Plan::new(&check)).map(drop),
    ] {
        let error = result.unwrap_err().to_string();
        assert!(error.contains("features packs, which"), "{error}");
    }
    assert_eq!(store.resolve("it").unwrap(), image);
}

/// Everything that a store is for, on the file system of a folder.
fn use_store(dir: &Path, at: &Path) {
    let store = Store::init(&at.join("store")).unwrap();
    let tree = import(&store, &dir.join("source"));
    let image = store.seal(tree, Form::Os1, &origin()).unwrap().image;
    store.set_ref("it", &image).unwrap();
    let target = dir.join("target");
    fs::create_dir_all(&target).unwrap();
    store.mount(&image, &target).unwrap();
    assert_eq!(fs::read(target.join("etc/edge65")).unwrap(), [b'x'; 65]);
    detach(&target).unwrap();
    assert_eq!(store.fsck(&Silent).unwrap().findings, []);
    store.remove_ref("it").unwrap();
    assert_eq!(store.gc(&[], false, &Silent).unwrap().images, [image]);
    assert_eq!(store.fsck(&Silent).unwrap().findings, []);
}

#[test]
fn other_file_systems_are_as_good() {
    in_namespace(|dir| {
        system(&dir.join("source"));
        for (kind, make, options) in [
            (
                "ext4",
                "mkfs.ext4",
                &["-q", "-O", "^verity,^metadata_csum"][..],
            ),
            ("xfs", "mkfs.xfs", &["-q"]),
            ("btrfs", "mkfs.btrfs", &["-q"]),
        ] {
            let file = dir.join(kind);
            fs::File::create(&file).unwrap().set_len(400 << 20).unwrap();
            let at = dir.join(format!("at-{kind}"));
            fs::create_dir(&at).unwrap();
            let (file, shown) = (file.to_str().unwrap(), at.to_str().unwrap());
            let arguments = [options, &[file]].concat();
            if worked(make, &arguments) && worked("mount", &["-o", "loop", "-t", kind, file, shown])
            {
                use_store(dir, &at);
                println!("{kind}: works");
                assert!(worked("umount", &[shown]));
            }
        }
        let at = dir.join("over");
        for name in ["lower", "upper", "work", "over"] {
            fs::create_dir(dir.join(name)).unwrap();
        }
        let shown = dir.to_str().unwrap();
        let options = format!("lowerdir={shown}/lower,upperdir={shown}/upper,workdir={shown}/work");
        let over = at.to_str().unwrap();
        if worked("mount", &["-t", "overlay", "-o", &options, "overlay", over]) {
            use_store(dir, &at);
            println!("overlay: works");
            assert!(worked("umount", &[over]));
        }
    });
}

/// No links: nothing can have a name there.
#[test]
fn a_file_system_without_links_is_refused_at_once() {
    in_namespace(|dir| {
        let (file, at) = (dir.join("fat"), dir.join("at"));
        fs::File::create(&file).unwrap().set_len(64 << 20).unwrap();
        fs::create_dir(&at).unwrap();
        let (file, shown) = (file.to_str().unwrap(), at.to_str().unwrap());
        // The kernel's, or else one in a program of its own.
        let mounted = worked("mkfs.vfat", &[file])
            && (worked("mount", &["-o", "loop", "-t", "vfat", file, shown])
                || worked("fusefat", &["-o", "rw+", file, shown]));
        if !mounted {
            return;
        }
        let error = Store::init(&at.join("store")).unwrap_err().to_string();
        assert!(error.contains("symbolic links"), "{error}");
        assert!(worked("umount", &[shown]));
    });
}
