//! Images in a store: import, look, compare, remove, check.

use crate::program::{Elea, files, has, skipped};
use std::fs;
use std::process::Command;

fn imported(elea: &Elea, source: &str, name: &str) -> String {
    let out = elea.good(&format!("image import {source} --name {name}"));
    out.lines().next().unwrap().to_owned()
}

#[test]
fn an_image_is_imported_listed_shown_and_exported() {
    let elea = Elea::new();
    elea.tree("tree");
    let digest = imported(&elea, "dir:tree", "hello:1.0");
    assert_eq!(digest.len(), 64);
    assert_eq!(elea.good("image digest dir:tree").trim(), digest);
    assert_eq!(elea.good("image digest hello:1.0").trim(), digest);
    assert_ne!(elea.good("image digest dir:tree --form raw").trim(), digest);

    let list = elea.good("image list");
    let mut lines = list.lines();
    assert!(
        lines.next().unwrap().starts_with("NAME       IMAGE"),
        "{list}"
    );
    let row = lines.next().unwrap();
    assert!(
        row.starts_with(&format!("hello:1.0  {}", &digest[..12])),
        "{list}"
    );
    assert!(row.ends_with("just now"), "{list}");
    let value = elea.json("image list");
    assert_eq!(value["schema"], "elea.images/1");
    assert_eq!(value["images"][0]["names"][0], "hello:1.0");

    let shown = elea.json(&format!("image show {}", &digest[..12]));
    assert_eq!(shown["schema"], "elea.image/1");
    assert_eq!(shown["image"], digest.as_str());
    assert_eq!(shown["form"], "os-1");
    assert_eq!(shown["source"], "dir:tree");
    let text = elea.good("image show hello:1.0");
    assert!(
        text.contains(&format!("image         {digest}")) || text.contains(&digest),
        "{text}"
    );

    elea.good("image export hello:1.0 erofs:hello.erofs");
    elea.good("image export hello:1.0 tar:hello.tar");
    elea.good("image export hello:1.0 dump:hello.dump");
    let dump = fs::read_to_string(elea.path("hello.dump")).unwrap();
    assert_eq!(elea.good("image export hello:1.0 dump:-"), dump);
    assert!(dump.contains("/usr/bin/tool 9000 100644"), "{dump}");
    assert_eq!(elea.good("image digest tar:hello.tar").trim(), digest);
    if has("fsck.erofs") {
        let run = Command::new("fsck.erofs")
            .arg(elea.path("hello.erofs"))
            .output()
            .unwrap();
        assert!(run.status.success(), "{run:?}");
    } else {
        skipped("no fsck.erofs");
    }
}

#[test]
fn two_images_are_compared_path_by_path() {
    let elea = Elea::new();
    let tree = elea.tree("tree");
    imported(&elea, "dir:tree", "a");
    fs::remove_file(tree.join("usr/bin/other")).unwrap();
    fs::write(tree.join("usr/bin/new"), "new").unwrap();
    fs::write(tree.join("usr/bin/tool"), vec![8; 9000]).unwrap();
    imported(&elea, "dir:tree", "b");
    let out = elea.good("image diff a b");
    for line in ["+ /usr/bin/new", "- /usr/bin/other"] {
        assert!(out.lines().any(|l| l == line), "{out}");
    }
    assert!(out.contains("~ /usr/bin/tool (content"), "{out}");
    assert!(out.contains("1 added, 1 removed"), "{out}");
    let value = elea.json("image diff a b");
    assert_eq!(value["schema"], "elea.image-diff/1");
    assert!(value["changes"].as_array().unwrap().len() >= 3);
    let same = elea.good("image diff a a");
    assert_eq!(same, "0 differences: 0 added, 0 removed, 0 changed\n");
}

#[test]
fn names_come_and_go_and_gc_removes_what_has_none() {
    let elea = Elea::new();
    elea.tree("tree");
    let digest = imported(&elea, "dir:tree", "a");
    elea.good(&format!("image tag {digest} b --dry-run"));
    elea.bad("image show b", 1, &["b"]);
    elea.good(&format!("image tag {digest} b"));
    elea.good("image rm a b --dry-run");
    assert_eq!(
        elea.json("image show b")["names"].as_array().unwrap().len(),
        2
    );
    elea.bad("image rm a nobody", 1, &["no name `nobody`"]);
    assert_eq!(
        elea.json("image show b")["names"].as_array().unwrap().len(),
        2
    );
    elea.good("image rm a");
    assert!(
        elea.good("store gc")
            .contains("removed 0 images and 0 objects")
    );
    elea.good("image rm b");
    let stats = elea.json("store stats");
    assert_eq!(stats["free"]["images"], 1);
    let would = elea.json("store gc --dry-run");
    assert_eq!(would["images"][0], digest.as_str());
    assert!(
        elea.good("store gc --dry-run")
            .contains("would remove 1 image")
    );
    let done = elea.json("store gc");
    assert_eq!(done["schema"], "elea.gc/1");
    assert_eq!(done["objects"], would["objects"]);
    assert_eq!(
        elea.json("image list")["images"].as_array().unwrap().len(),
        0
    );
    assert_eq!(
        elea.good("image list"),
        "no images; `elea image import SRC` or `elea build` makes one\n"
    );
}

/// A flipped bit is found, and the object and the image that needs it are named.
#[test]
fn fsck_names_the_damaged_object_and_its_images() {
    let elea = Elea::new();
    elea.tree("tree");
    let digest = imported(&elea, "dir:tree", "hello");
    assert!(elea.good("store fsck").contains("nothing is wrong"));
    let is_tool = |path: &&std::path::PathBuf| fs::read(path).is_ok_and(|d| d == vec![7; 9000]);
    let all = files(&elea.store().join("objects"));
    let object = all.iter().find(is_tool).unwrap();
    let mut data = fs::read(object).unwrap();
    data[4242] ^= 1;
    let writable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(object, writable).unwrap();
    fs::write(object, data).unwrap();
    let ran = elea.run("store fsck");
    assert_eq!(ran.code, Some(5), "{ran:?}");
    let name = object.file_name().unwrap().to_str().unwrap();
    assert!(ran.out.contains(name), "{ran:?}");
    assert!(
        ran.out.contains(&format!("used by {digest} hello")),
        "{ran:?}"
    );
    let ran = elea.run("store fsck --json");
    assert_eq!(ran.code, Some(5));
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(value["schema"], "elea.store-check/1");
    assert_eq!(value["findings"][0]["images"][0], digest.as_str());
    assert_eq!(value["repair"], serde_json::Value::Null);

    // It came from a folder, which nobody asks by himself.
    let ran = elea.run("store fsck --repair");
    assert_eq!(ran.code, Some(5), "{ran:?}");
    assert!(ran.out.contains("not repaired: "), "{ran:?}");
    assert!(ran.out.contains("came from dir:tree"), "{ran:?}");
    elea.bad("store fsck --from tree", 2, &["--repair"]);
    elea.bad("store fsck --repair --from nowhere", 1, &["nowhere"]);
    elea.good("--store empty store init");
    let ran = elea.run("store fsck --repair --from empty");
    assert_eq!(ran.code, Some(5), "{ran:?}");
    let value = elea.json("store fsck --repair --from tree");
    assert_eq!(value["findings"].as_array().unwrap().len(), 0, "{value}");
    let repair = &value["repair"];
    assert_eq!(repair["schema"], "elea.store-repair/1");
    assert_eq!(repair["done"].as_array().unwrap().len(), 1, "{value}");
    let path = repair["done"][0]["path"].as_str().unwrap();
    assert!(path.contains(name), "{value}");
    assert!(elea.good("store fsck").contains("nothing is wrong"));
}

/// As another person: all of it works in a folder of one's own, owners stay in the image; in one that is
/// another's, what only reads works, and what writes says why not.
#[test]
fn an_ordinary_user_needs_no_privilege_and_another_ones_store_is_read() {
    use std::os::unix::fs::PermissionsExt;
    let elea = Elea::new();
    if !has("setpriv") || !rustix::process::geteuid().is_root() {
        skipped("no setpriv, or not root");
        return;
    }
    let open = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    elea.tree("tree");
    std::os::unix::fs::chown(elea.path("tree/etc/motd"), Some(70_000), Some(8)).unwrap();
    elea.good("image import dir:tree --name theirs");
    open(&elea.path(""), 0o777);
    let program = elea.path("program");
    fs::copy(env!("CARGO_BIN_EXE_elea"), &program).unwrap();
    open(&program, 0o755);
    let run = |line: &str| {
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&program)
            .args(line.split_whitespace())
            .current_dir(elea.path(""))
            .output()
            .unwrap();
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), out, err)
    };
    for line in [
        "image import dir:tree --name mine",
        "image digest dir:tree",
        "image export mine tar:mine.tar",
        "store fsck --repair",
        "image import dir:tree/etc --name gone",
        "image rm gone",
        "store gc",
        "store fsck",
    ] {
        let ran = run(&format!("--store own {line}"));
        assert_eq!(ran.0, Some(0), "{line}: {ran:?}");
    }
    let mut list = Command::new("tar");
    list.args(["--numeric-owner", "-tvf"])
        .arg(elea.path("mine.tar"));
    let list = list.output().unwrap().stdout;
    assert!(String::from_utf8_lossy(&list).contains("70000/8"));
    for line in [
        "store fsck",
        "image list",
        "image export theirs tar:theirs.tar",
        "store gc --dry-run",
    ] {
        let ran = run(&format!("--store store {line}"));
        assert_eq!(ran.0, Some(0), "{line}: {ran:?}");
    }
    assert_eq!(
        fs::read(elea.path("mine.tar")).unwrap(),
        fs::read(elea.path("theirs.tar")).unwrap()
    );
    for line in [
        "image import dir:tree --name x",
        "image rm theirs",
        "store gc",
    ] {
        let ran = run(&format!("--store store {line}"));
        assert_eq!(ran.0, Some(1), "{line}: {ran:?}");
        assert!(
            ran.2.contains("the store store can only be read"),
            "{ran:?}"
        );
    }
}

#[test]
fn keys_are_made_once_and_kept_private() {
    use std::os::unix::fs::PermissionsExt;
    let elea = Elea::new();
    for (prefix, more) in [("ecdsa", ""), ("ed", "--ed25519")] {
        let value = elea.json(&format!("image keygen {prefix} {more}"));
        assert_eq!(value["id"].as_str().unwrap().len(), 64);
        let key = elea.path(&format!("{prefix}.key"));
        assert_eq!(
            fs::metadata(&key).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let public = fs::metadata(elea.path(&format!("{prefix}.pub"))).unwrap();
        assert_eq!(public.permissions().mode() & 0o777, 0o644);
        let before = fs::read(&key).unwrap();
        elea.bad(&format!("image keygen {prefix}"), 1, &["there already"]);
        assert_eq!(fs::read(&key).unwrap(), before);
    }
}

/// `--dry-run` says what would be done, and does nothing.
#[test]
fn a_dry_run_changes_nothing() {
    let elea = Elea::new();
    elea.tree("tree");
    let would = elea.run("store init --dry-run");
    assert!(would.err.contains("would make an empty store"), "{would:?}");
    assert!(!elea.store().exists());
    imported(&elea, "dir:tree", "a");
    elea.good("image keygen k");
    elea.good("image push a oci:layout:1 --sign k.key");
    let state = || {
        let files = files(&elea.path("."));
        let read = |path: &std::path::PathBuf| fs::read(path).unwrap_or_default();
        files
            .iter()
            .map(|path| (path.clone(), read(path)))
            .collect::<Vec<_>>()
    };
    let before = state();
    for (line, says) in [
        (
            "image import dir:tree --name b",
            "would import dir:tree as ",
        ),
        ("image export a tar:a.tar", "would write a "),
        ("image tag a b", "would name "),
        ("image rm a", "would take the name `a` away"),
        ("image keygen other", "would make other.key"),
        ("image push a oci:layout:2", "would push a "),
        (
            "image sign oci:layout:1 --key k.key",
            "would sign oci:layout:1 as ",
        ),
    ] {
        let ran = elea.run(&format!("{line} --dry-run"));
        assert_eq!(ran.code, Some(0), "{line}: {ran:?}");
        assert!(ran.err.contains(says), "{line}: {ran:?}");
        assert_eq!(ran.out, "", "{line}");
        assert_eq!(state(), before, "{line}");
    }
}

/// A tree as found, its image in the form, and one that really differs.
#[test]
fn why_two_digests_differ_is_explained() {
    let elea = Elea::new();
    let tree = elea.tree("tree");
    let image = imported(&elea, "dir:tree", "a");
    let out = elea.good("image explain dir:tree a");
    let verdict = "only canonicalisation: B is the form os-1 of A";
    assert!(out.lines().any(|line| line == verdict), "{out}");
    assert!(out.contains("times are whole seconds"), "{out}");
    assert!(out.contains(&image), "{out}");
    let value = elea.json("image explain a dir:tree");
    assert_eq!(value["schema"], "elea.image-explain/1");
    assert_eq!(value["verdict"], "form-of-b");
    assert_eq!(value["a"]["form"], "os-1");
    assert_eq!(value["b"]["form"], "raw");
    assert_eq!(value["a"]["image"], image.as_str());
    assert_eq!(value["b"]["os_1"], image.as_str());
    let raw = elea.good("image digest dir:tree --form raw");
    assert_eq!(value["b"]["image"], raw.trim());
    imported(&elea, "dir:tree --form raw", "raw");
    let value = elea.json("image explain raw dir:tree");
    assert_eq!(value["verdict"], "same");
    assert_eq!(value["differences"].as_array().unwrap().len(), 0);
    assert!(
        elea.good("image explain a a")
            .contains("the same digest, the same tree")
    );

    // The tar file has whole seconds; what is exported of `a` is `a`.
    elea.good("image export a tar:a.tar");
    assert_eq!(
        elea.json("image explain tar:a.tar a")["a"]["os_1"],
        image.as_str()
    );

    for number in 0..60 {
        fs::write(tree.join(format!("usr/bin/{number}")), "new").unwrap();
    }
    fs::write(tree.join("etc/issue"), "hello\n").unwrap();
    let out = elea.good("image explain a dir:tree");
    assert!(out.contains("two trees: "), "{out}");
    assert!(out.contains("/etc/issue  content: 8 bytes, "), "{out}");
    assert!(out.contains("more; `--json` lists them all"), "{out}");
    assert!(out.lines().count() < 80, "{out}");
    let value = elea.json("image explain a dir:tree");
    assert_eq!(value["verdict"], "different");
    assert!(value["differences"].as_array().unwrap().len() > 60);

    elea.bad("image explain tar:- tar:-", 2, &["stdin", "once"]);
    elea.bad("image explain a nobody", 1, &["nobody"]);
    elea.bad(
        "image explain a dir:nowhere",
        1,
        &["nowhere", "No such file"],
    );
    elea.bad("image explain a oci:x:y", 2, &["does not fit here"]);
}

/// Text, JSON and picture say the same; the picture is read by a parser of XML.
#[test]
fn what_images_cost_is_told_and_drawn() {
    let elea = Elea::new();
    let tree = elea.tree("tree");
    imported(&elea, "dir:tree", "hello:1.0");
    fs::write(tree.join("usr/bin/tool2"), vec![9; 70_000]).unwrap();
    imported(&elea, "dir:tree", "hello:2.0");
    let value = elea.json("store stats --plot stats.svg");
    assert_eq!(value["schema"], "elea.store-stats/2");
    let mut images = value["images"].as_array().unwrap().iter();
    let second = images.find(|image| image["names"][0] == "hello:2.0");
    let second = second.unwrap();
    assert_eq!(second["shared"]["count"], 1);
    assert_eq!(second["shared"]["bytes"], 9000);
    assert_eq!(
        value["names"]["hello:2.0"]["frees"], second["alone"],
        "{value}"
    );
    let out = elea.good("store stats");
    assert!(out.contains("9.00 kB  1 image\n"), "{out}");
    assert!(
        out.contains("gc would free    0 B, 0 objects, 0 images"),
        "{out}"
    );
    let picture = fs::read_to_string(elea.path("stats.svg")).unwrap();
    assert_eq!(elea.good("store stats --plot -"), picture);
    assert!(picture.contains("hello:2.0"), "{picture}");
    elea.bad("store stats --plot no/where.svg", 1, &["no"]);
    let odd = "--store <&\"'>]]>";
    elea.good(&format!("image import dir:tree {odd}"));
    elea.good(&format!("store stats --plot odd.svg {odd}"));
    let picture = fs::read_to_string(elea.path("odd.svg")).unwrap();
    assert!(picture.contains("&lt;&amp;&quot;"), "{picture}");
    if has("xmllint") {
        let run = Command::new("xmllint")
            .arg("--noout")
            .args([elea.path("stats.svg"), elea.path("odd.svg")])
            .output()
            .unwrap();
        assert!(run.status.success(), "{run:?}");
    } else {
        skipped("no xmllint");
    }
}

/// A file with its name is whole; what could not be written leaves nothing.
#[test]
fn a_squashfs_image_is_there_whole_or_not_at_all() {
    let elea = Elea::new();
    elea.tree("tree");
    imported(&elea, "dir:tree", "a");
    let before = files(&elea.path(""));
    let mut alone = elea.command(&["image", "export", "a", "squashfs:a.sqfs"]);
    let ran = alone.env("PATH", elea.path("nowhere")).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert!(
        said.contains("`tar2sqfs`") && said.contains("install squashfs-tools-ng"),
        "{said}"
    );
    assert_eq!(files(&elea.path("")), before);
    if !has("tar2sqfs") {
        return skipped("no tar2sqfs");
    }
    elea.good("image export a squashfs:a.sqfs");
    let image = fs::read(elea.path("a.sqfs")).unwrap();
    assert!(image.starts_with(b"hsqs"));
    let mut command = elea.command(&["image", "export", "a", "squashfs:-"]);
    command.env("TMPDIR", elea.path(""));
    assert!(command.output().unwrap().stdout == image);
    // Who reads no further is no error, whatever is written.
    for target in ["squashfs:-", "tar:-"] {
        let mut command = elea.command(&["image", "export", "a", target]);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ran = command.env("TMPDIR", elea.path("")).stdout(writer).output();
        assert!(ran.unwrap().status.success(), "{target}");
    }
    let all = files(&elea.path("")).len();
    assert_eq!(all, before.len() + 1);
    let is_tool = |path: &&std::path::PathBuf| fs::read(path).is_ok_and(|d| d == vec![7; 9000]);
    let objects = files(&elea.store().join("objects"));
    let object = objects.iter().find(is_tool).unwrap();
    fs::remove_file(object).unwrap();
    fs::write(object, vec![8; 9000]).unwrap();
    for target in ["squashfs:a.sqfs", "squashfs:b.sqfs", "tar:b.tar"] {
        elea.bad(&format!("image export a {target}"), 5, &["is damaged"]);
    }
    assert!(fs::read(elea.path("a.sqfs")).unwrap() == image);
    assert_eq!(files(&elea.path("")).len(), all);
    elea.bad("image export a squashfs:x --format v0", 2, &["erofs:FILE"]);
    elea.bad("image import squashfs:a.sqfs", 2, &["does not fit here"]);
}
