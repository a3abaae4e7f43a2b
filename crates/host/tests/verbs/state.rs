//! The state of a system that does not run.

use crate::world::World;
use elea_host::state::adopt::lines;
use elea_host::state::list::{List, list};
use elea_host::state::snapshot::{self, About};
use elea_host::state::{Kept, declared, reset, restore, services};
use std::fs;
use std::os::unix::fs::{chown, symlink};

/// What the image declares, in a mode.
fn keeps(mode: &str) -> String {
    let one = |path: &str, kind: &str| {
        format!(
            r#"{{"path":"{path}","kind":"{kind}","mode":"0755","uid":0,"gid":0,"service":"db.service"}}"#
        )
    };
    let keep = [
        one("/etc/app.conf", "file"),
        one("/var/lib/db", "directory"),
    ]
    .join(",");
    format!(r#"{{"schema":"elea.state/1","mode":"{mode}","rollback":"offer","keep":[{keep}]}}"#)
}

fn world(mode: &str) -> Option<World> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: not root");
        return None;
    }
    let world = World::with(&[
        ("usr/lib/elea/state.json", &keeps(mode)),
        ("usr/share/factory/var/lib/pkg/default", "same"),
        ("etc/passwd", "root:x:0:0:::\n"),
        ("etc/group", "root:x:0:\n"),
        ("etc/app.conf", "the image's"),
    ]);
    for (path, text) in [
        ("state/last-run", "1\n"),
        ("state/var/lib/db/data", "one"),
        ("state/var/lib/pkg/default", "same"),
        ("state/var/lib/own/file", "x"),
        (
            "generations/1/etc/upper/passwd",
            "root:x:0:0:::\nada:x:61234:61234:::\n",
        ),
        ("generations/1/etc/upper/group", "root:x:0:\n"),
        ("generations/1/etc/upper/own.conf", "mine"),
    ] {
        put(&world, path, text);
    }
    chown(
        world.root().join("elea/state/var/lib/own"),
        Some(61_234),
        Some(0),
    )
    .unwrap();
    chown(
        world.root().join("elea/state/var/lib/own/file"),
        Some(61_234),
        Some(0),
    )
    .unwrap();
    Some(world)
}

fn put(world: &World, path: &str, text: &str) {
    let path = world.root().join("elea").join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn paths(list: &List) -> (Vec<&str>, Vec<&str>) {
    (
        list.undeclared.iter().map(|one| &*one.path).collect(),
        list.orphaned.iter().map(|one| &*one.path).collect(),
    )
}

#[test]
fn the_state_on_a_disk_is_listed_by_the_accounts_and_the_image_of_that_system() {
    let Some(world) = world("persistent") else {
        return;
    };
    let machine = world.machine();
    let seen = list(&machine).unwrap();
    let sizes: Vec<(&str, bool)> = seen
        .declared
        .iter()
        .map(|one| (&*one.keep.path, one.size.is_some()))
        .collect();
    // `app.conf` is the image's, below an upper that has nothing of it.
    assert_eq!(sizes, [("/etc/app.conf", true), ("/var/lib/db", true)]);
    assert_eq!(paths(&seen), (vec!["/var/lib/own"], vec![]));
    // Nobody of this machine is ada; there, without her, it is nobody's.
    let passwd = "generations/1/etc/upper/passwd";
    put(&world, passwd, "root:x:0:0:::\n");
    assert_eq!(
        paths(&list(&machine).unwrap()),
        (vec![], vec!["/var/lib/own"])
    );
    fs::remove_file(world.root().join("elea").join(passwd)).unwrap();
    assert_eq!(
        paths(&list(&machine).unwrap()),
        (vec![], vec!["/var/lib/own"])
    );
    // What the overlay hides is not there.
    let hidden = world.root().join("elea/generations/1/etc/upper/app.conf");
    let status = std::process::Command::new("mknod")
        .arg(&hidden)
        .args(["c", "0", "0"])
        .status();
    assert!(status.unwrap().success());
    let seen = list(&machine).unwrap();
    assert_eq!(seen.declared.first().map(|one| one.size), Some(None));
}

#[test]
fn lines_of_the_config_are_those_of_what_is_on_the_disk() {
    let Some(world) = world("persistent") else {
        return;
    };
    let machine = world.machine();
    let adopt = |path: &str| lines(&machine, path).map(|lines| lines.lines);
    assert_eq!(
        adopt("/var/lib/own").unwrap(),
        ["[state.directories.\"/var/lib/own\"]", "owner = \"ada\""]
    );
    assert_eq!(
        adopt("/etc/own.conf").unwrap(),
        ["[state.files.\"/etc/own.conf\"]"]
    );
    // What this machine has is not what is asked for, and no link leads to it.
    symlink("/etc", world.root().join("elea/state/var/lib/out")).unwrap();
    for path in [
        "/etc/hostname",
        "/var/lib/dpkg/status",
        "/var/lib/out/hostname",
    ] {
        let error = adopt(path).unwrap_err().to_string();
        assert!(error.contains("there is nothing"), "{path}: {error}");
    }
}

#[test]
fn snapshots_are_made_and_restored_and_no_service_is_touched() {
    let Some(world) = world("ephemeral") else {
        return;
    };
    put(&world, "state/etc/app.conf", "one");
    let machine = world.machine();
    let nobody = services(&machine);
    assert!(!nobody.stop("db.service").unwrap());
    nobody.start("db.service").unwrap();

    let own = world.root().join("elea/state/var/lib/own");
    let seen = list(&machine).unwrap();
    assert_eq!(paths(&seen), (vec![], vec![own.to_str().unwrap()]));
    assert!(
        !lines(&machine, "/var/lib/own").unwrap().is_fresh,
        "it stays where it is"
    );

    let (folder, kept) = (
        machine.state().root().join("state"),
        declared(&machine).unwrap(),
    );
    let kept = Kept::new(&folder, &kept);
    let made = snapshot::take(&kept, &[], About::default(), nobody).unwrap();
    assert_eq!((made.number, made.entries.len()), (1, 2));
    put(&world, "state/etc/app.conf", "two");
    put(&world, "state/var/lib/db/data", "two");
    put(&world, "state/var/lib/db/more", "two");
    let done = restore::restore(&kept, 1, &[], About::default(), nobody).unwrap();
    assert_eq!(done.before, Some(2));
    assert_eq!(
        fs::read_to_string(folder.join("etc/app.conf")).unwrap(),
        "one"
    );
    assert_eq!(
        fs::read_to_string(folder.join("var/lib/db/data")).unwrap(),
        "one"
    );
    assert!(!folder.join("var/lib/db/more").exists());

    let planned = reset::plan(&machine, reset::Options::default()).unwrap();
    reset::request(&machine, &planned).unwrap();
    assert!(folder.join("reset.json").exists() && folder.join("var/lib/db/data").exists());
    reset::cancel(&machine).unwrap();
    assert!(!folder.join("reset.json").exists());
}
