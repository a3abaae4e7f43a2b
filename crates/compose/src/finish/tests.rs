//! Steps on small trees. They make files of other owners, so they need root.

use super::tree::{ROOT, Tree};
use super::*;
use rustix::fs::XattrFlags;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};

fn tree(files: &[(&str, &str)]) -> Option<(tempfile::TempDir, Tree)> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: not root");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let tree = Tree::open(dir.path()).unwrap();
    for (path, text) in files {
        tree.put(path, text.as_bytes()).unwrap();
    }
    Some((dir, tree))
}

#[test]
fn modes_and_owners_are_as_said() {
    let Some((dir, tree)) = tree(&[("a/b/c", "x")]) else {
        return;
    };
    tree.put_as("a/b/s", b"", 0o4750, (7, 8)).unwrap();
    tree.folder("a/f", 0o2770, (7, 8)).unwrap();
    let meta = |path: &str| fs::metadata(dir.path().join(path)).unwrap();
    assert_eq!(meta("a/b").mode() & 0o7777, 0o755);
    assert_eq!(meta("a/b/c").mode() & 0o7777, 0o644);
    assert_eq!(
        (meta("a/b/s").mode() & 0o7777, meta("a/b/s").uid()),
        (0o4750, 7)
    );
    assert_eq!(
        (meta("a/f").mode() & 0o7777, meta("a/f").gid()),
        (0o2770, 8)
    );
    // A link at the end is replaced, one before it stays inside the tree.
    symlink("/etc/hostname", dir.path().join("link")).unwrap();
    symlink("/a", dir.path().join("way")).unwrap();
    tree.put("link", b"new").unwrap();
    tree.put("way/in", b"new").unwrap();
    assert!(
        fs::symlink_metadata(dir.path().join("link"))
            .unwrap()
            .is_file()
    );
    assert!(dir.path().join("a/in").exists());
}

#[test]
fn leftovers_of_a_build_go() {
    let files = [
        ("etc/ssh/ssh_host_rsa_key", "secret"),
        ("etc/ssh/sshd_config", "kept"),
        ("etc/passwd-", ""),
        ("var/log/dpkg.log", ""),
        ("var/log/apt/term.log", ""),
        ("var/cache/apt/pkgcache.bin", ""),
        ("var/lib/dpkg/status-old", ""),
        ("var/lib/dpkg/status", "kept"),
        ("run/x/y", ""),
        ("tmp/z", ""),
    ];
    let Some((dir, tree)) = tree(&files) else {
        return;
    };
    clean::leftovers(&tree).unwrap();
    clean::leftovers(&tree).unwrap();
    for (path, text) in files {
        assert_eq!(dir.path().join(path).exists(), text == "kept", "{path}");
    }
    assert!(dir.path().join("var/log/apt").is_dir());
}

#[test]
fn var_moves_and_the_database_is_part_of_the_image() {
    let files = [
        ("var/lib/dpkg/status", "db"),
        ("var/lib/x/file", "content"),
        ("usr/lib/tmpfiles.d/x.conf", "d /var/log 0755 - - -\n"),
        ("etc/tmpfiles.d/y.conf", ""),
    ];
    let Some((dir, tree)) = tree(&files) else {
        return;
    };
    tree.folder("var/lib/y", 0o2750, (33, 44)).unwrap();
    tree.folder("var/log", 0o755, ROOT).unwrap();
    tree.link("/run/lock", "var/lock").unwrap();
    var::settle(&tree).unwrap();
    let list = fs::read_to_string(dir.path().join("usr/lib/tmpfiles.d/elea-var.conf")).unwrap();
    let lines: Vec<&str> = list.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "d /var/lib 0755 0 0 -",
            "L+ /var/lib/dpkg - - - - ../../usr/lib/sysimage/dpkg",
            "d /var/lib/x 0755 0 0 -",
            "C /var/lib/x/file 0644 0 0 - /usr/share/factory/var/lib/x/file",
            "d /var/lib/y 2750 33 44 -",
            "L /var/lock - - - - /run/lock",
        ]
    );
    assert_eq!(fs::read_dir(dir.path().join("var")).unwrap().count(), 0);
    let moved = fs::read(dir.path().join("usr/share/factory/var/lib/x/file")).unwrap();
    assert_eq!(moved, b"content");
    // The oracle: systemd itself makes the machine's /var of it.
    let made = std::process::Command::new("systemd-tmpfiles")
        .arg("--create")
        .arg(format!("--root={}", dir.path().display()))
        .arg("--prefix=/var")
        .output();
    let Ok(made) = made else {
        println!("skipped: no systemd-tmpfiles");
        return;
    };
    assert!(made.status.success(), "{made:?}");
    let status = fs::read(dir.path().join("var/lib/dpkg/status")).unwrap();
    assert_eq!(status, b"db");
    let copied = fs::read(dir.path().join("var/lib/x/file")).unwrap();
    assert_eq!(copied, b"content");
    let meta = fs::metadata(dir.path().join("var/lib/y")).unwrap();
    assert_eq!(
        (meta.mode() & 0o7777, meta.uid(), meta.gid()),
        (0o2750, 33, 44)
    );
}

#[test]
fn owners_change_and_modes_and_capabilities_stay() {
    let Some((dir, tree)) = tree(&[("plain", "")]) else {
        return;
    };
    tree.put_as("a", b"", 0o6755, (10, 20)).unwrap();
    tree.put_as("b", b"", 0o755, (11, 21)).unwrap();
    symlink("nowhere", dir.path().join("link")).unwrap();
    std::os::unix::fs::lchown(dir.path().join("link"), Some(10), Some(0)).unwrap();
    // cap_net_raw=ep (linux/capability.h, revision 2).
    let mut capability = [0_u8; 20];
    capability[..8].copy_from_slice(&[1, 0, 0, 2, 0, 0x20, 0, 0]);
    let path = dir.path().join("b");
    rustix::fs::setxattr(
        &path,
        "security.capability",
        &capability,
        XattrFlags::empty(),
    )
    .unwrap();
    // The two swap.
    let users = BTreeMap::from([(10, 11), (11, 10)]);
    let groups = BTreeMap::from([(20, 21)]);
    accounts::renumber_for_test(dir.path(), &users, &groups).unwrap();
    let owner = |name: &str| {
        let meta = fs::symlink_metadata(dir.path().join(name)).unwrap();
        (meta.uid(), meta.gid(), meta.mode() & 0o7777)
    };
    assert_eq!(owner("a"), (11, 21, 0o6755));
    assert_eq!(owner("b"), (10, 21, 0o755));
    assert_eq!(owner("link").0, 11);
    assert_eq!(owner("plain"), (0, 0, 0o644));
    let mut found = [0; 64];
    let length = rustix::fs::getxattr(&path, "security.capability", &mut found).unwrap();
    assert_eq!(found[..length], capability);
}

#[test]
fn an_image_has_its_keys_and_its_policy() {
    let Some((dir, tree)) = tree(&[]) else {
        return;
    };
    let beside = tempfile::tempdir().unwrap();
    let file = |name: &str| beside.path().join(name);
    fs::write(file("me.pub"), "key").unwrap();
    fs::write(file("policy.toml"), "# policy\n").unwrap();
    let trust = crate::config::Trust {
        keys: vec![file("me.pub")],
        policy: Some(file("policy.toml")),
    };
    etc::trust(&trust, &tree).unwrap();
    let read = |name: &str| fs::read_to_string(dir.path().join("usr/lib/elea").join(name));
    assert_eq!(read("trust.toml").unwrap(), "# policy\n");
    let key = fs::read_dir(dir.path().join("usr/lib/elea/trust.d"))
        .unwrap()
        .next();
    let name = key.unwrap().unwrap().file_name().into_string().unwrap();
    assert!(name.starts_with("me-") && name.ends_with(".pub"), "{name}");
    assert_eq!(read(&format!("trust.d/{name}")).unwrap(), "key");
}
