//! `elea install`, from an image that holds the files of a system (but boots nothing).

use crate::program::{Elea, Ran, has, skipped};
use std::fs;
use std::io::Read;
use std::process::Command;

/// An image with all that a release names, as `hello:1.0`.
pub(crate) fn system(elea: &Elea) {
    let root = elea.tree("tree");
    let folder = root.join("usr/lib/modules/6.12.0");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("vmlinuz"), vec![1; 70_000]).unwrap();
    fs::write(folder.join("elea-initrd.img"), vec![2; 30_000]).unwrap();
    fs::create_dir_all(root.join("usr/lib/elea/boot")).unwrap();
    fs::write(
        root.join("usr/lib/elea/boot/systemd-bootx64.efi"),
        vec![3; 20_000],
    )
    .unwrap();
    let release = r#"{"schema":"elea.release/1","name":"hello","version":"1.0","epoch":0,
        "architecture":"amd64","title":"Hello 1.0","kernel":"usr/lib/modules/6.12.0/vmlinuz",
        "initrds":["usr/lib/modules/6.12.0/elea-initrd.img"],
        "loader":"usr/lib/elea/boot/systemd-bootx64.efi","loader_version":"258.1-1",
        "arguments":["quiet"],"packages":[]}"#;
    fs::write(root.join("usr/lib/elea/release.json"), release).unwrap();
    elea.good("image import dir:tree --name hello:1.0");
}

pub(crate) fn can_install() -> bool {
    let can = rustix::process::geteuid().is_root() && has("mke2fs") && has("debugfs");
    if !can {
        skipped("not root, or no mke2fs and debugfs");
    }
    can
}

/// The disk's first megabyte, with its partition table.
fn beginning(elea: &Elea) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 20];
    let mut disk = fs::File::open(elea.path("disk.img")).unwrap();
    disk.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_plan_is_shown_and_nothing_is_written() {
    let elea = Elea::new();
    system(&elea);
    let words = [
        "install",
        "--image",
        "hello:1.0",
        "--disk",
        "disk.img",
        "--size",
        "4G",
        "--dry-run",
        "--kargs",
        "a=\"b c\" debug",
        "--follow",
        "registry:10.0.2.2:5000/hello:stable",
        "--plain-http",
    ];
    let ran: Ran = elea.command(&words).output().unwrap().into();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("Hello 1.0"), "{ran:?}");
    let json = [&words[..], &["--json"]].concat();
    let ran: Ran = elea.command(&json).output().unwrap().into();
    let plan: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(plan["schema"], "elea.install/1");
    assert_eq!(
        plan["generation"]["source"]["reference"],
        "registry:10.0.2.2:5000/hello:stable"
    );
    assert_eq!(plan["generation"]["source"]["plain_http"], true);
    let options = plan["generation"]["options"].as_str().unwrap();
    assert!(options.ends_with("quiet a=\"b c\" debug"), "{options}");
    assert!(!elea.path("disk.img").exists());
}

#[test]
fn a_disk_is_made_and_an_occupied_one_is_refused() {
    if !can_install() {
        return;
    }
    let elea = Elea::new();
    system(&elea);
    let line = "install --image hello:1.0 --disk disk.img";
    elea.bad(line, 1, &["disk.img", "--size 8G"]);
    let out = elea.good(&format!("{line} --size 4G"));
    assert!(out.contains("Hello 1.0"), "{out}");
    if has("sgdisk") {
        let run = Command::new("sgdisk")
            .arg("-v")
            .arg(elea.path("disk.img"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stdout).into_owned();
        assert!(said.contains("No problems found"), "{said}");
    } else {
        skipped("no sgdisk");
    }
    let before = beginning(&elea);
    elea.bad(line, 1, &["disk.img", "--wipe"]);
    // Nobody is there to say yes.
    elea.bad(
        &format!("{line} --wipe"),
        2,
        &["all of it will be gone", "--yes"],
    );
    assert_eq!(beginning(&elea), before);
    elea.good(&format!("{line} --wipe --yes"));
}

#[test]
fn what_cannot_be_installed_is_refused_before_anything_is_written() {
    let elea = Elea::new();
    system(&elea);
    if !can_install() {
        return;
    }
    elea.tree("plain");
    elea.good("image import dir:plain --name plain");
    for (line, code, texts) in [
        (
            "--image hello:1.0 --disk small.img --size 100M",
            1,
            &["small.img"][..],
        ),
        ("--image plain --disk d.img --size 4G", 1, &["release.json"]),
        (
            "--image nobody --disk d.img --size 4G",
            1,
            &["`nobody`", "elea image list"],
        ),
        ("--image hello:1.0 --disk d.img --size 4X", 2, &["4X"]),
        (
            "--image hello:1.0 --disk d.img --size 4G --fs xfs",
            2,
            &["ext4", "btrfs"],
        ),
        (
            "--image hello:1.0 --disk /dev/nowhere",
            1,
            &["/dev/nowhere", "lsblk"],
        ),
        (
            "--image hello:1.0 --disk /dev/null --size 4G",
            1,
            &["/dev/null", "character device"],
        ),
        (
            "--image hello:1.0 --disk d.img --size 4G --kargs root=/dev/vda",
            1,
            &["root=/dev/vda"],
        ),
        (
            "--image hello:1.0 --disk d.img --size 4G --key nokey.pub",
            1,
            &["nokey.pub"],
        ),
    ] {
        elea.bad(&format!("install {line}"), code, texts);
        assert!(
            !elea.path("d.img").exists() && !elea.path("small.img").exists(),
            "{line}"
        );
    }
}
