//! Steps on small trees.

use super::tree::{Kind, ROOT};
use super::*;
use elea_formats::tree::{Content, DirId, Leaf, Meta, Node};
use elea_sys::progress::Silent;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

const TIME: i64 = 1_700_000_000;

struct Place {
    folder: tempfile::TempDir,
    store: Store,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::init(&folder.path().join("store")).unwrap();
        Self { folder, store }
    }

    fn empty(&self) -> Tree<'_> {
        Tree::new(&self.store, self.store.empty_tree(), TIME).unwrap()
    }

    fn tree(&self, files: &[(&str, &str)]) -> Tree<'_> {
        let mut tree = self.empty();
        for (path, text) in files {
            tree.put(path, text.as_bytes()).unwrap();
        }
        tree
    }

    /// The tree as a folder, with the owners that it says if we may give them.
    fn written(&self, tree: &Tree<'_>) -> PathBuf {
        let folder = tempfile::tempdir_in(self.folder.path()).unwrap().keep();
        let tar = self.folder.path().join("tar");
        let mut file = fs::File::create(&tar).unwrap();
        elea_store::export::tar(&self.store, tree.nodes(), &mut file).unwrap();
        let done = Command::new("tar")
            .args(["--numeric-owner", "-xpf"])
            .arg(&tar)
            .arg("-C")
            .arg(&folder)
            .status();
        assert!(done.unwrap().success());
        folder
    }

    fn read(&self, folder: &Path) -> Tree<'_> {
        let nodes = self.store.import_dir(folder, &Silent).unwrap();
        Tree::new(&self.store, nodes, TIME).unwrap()
    }
}

#[test]
fn modes_and_owners_are_as_said() {
    let place = Place::new();
    let mut tree = place.tree(&[("a/b/c", "x")]);
    tree.put_as("a/b/s", b"", 0o4750, (7, 8)).unwrap();
    tree.folder("a/f", 0o2770, (7, 8)).unwrap();
    assert_eq!(tree.status("a/b"), Some((0o755, 0, 0)));
    assert_eq!(tree.status("/a/b/c"), Some((0o644, 0, 0)));
    assert_eq!(tree.status("a/b/s"), Some((0o4750, 7, 8)));
    assert_eq!(tree.status("a/f"), Some((0o2770, 7, 8)));
    tree.folder("a/f", 0o700, ROOT).unwrap();
    assert_eq!(tree.status("a/f"), Some((0o700, 0, 0)));
    // A link at the end is replaced, one before it stays inside the tree.
    tree.link("/etc/hostname", "link").unwrap();
    tree.link("/a", "way").unwrap();
    tree.put("link", b"new").unwrap();
    tree.put("way/in", b"new").unwrap();
    assert_eq!(tree.kind("link"), Some(Kind::File));
    assert_eq!(tree.text("a/in").unwrap(), "new");
    assert_eq!(tree.names("way"), ["b", "f", "in"]);
    for (path, is_folder) in [("a", true), ("a/b/c", false), ("link/x", false)] {
        let result = if is_folder {
            tree.put(path, b"")
        } else {
            tree.put(&format!("{path}/x"), b"")
        };
        assert!(matches!(result, Err(Error::Tree(_))), "{path}");
    }
    assert!(tree.put("..", b"").is_err());
}

#[test]
fn a_folder_has_the_time_of_its_change() {
    let place = Place::new();
    let mut nodes = place.store.empty_tree();
    let meta = Meta::default();
    for name in ["changed", "emptied", "left", "moved"] {
        let folder = nodes.add_directory(DirId::ROOT, name.as_bytes(), &meta);
        nodes.add_directory(folder, b"inner", &meta);
    }
    let mut tree = Tree::new(&place.store, nodes, TIME).unwrap();
    tree.put("changed/new", b"").unwrap();
    tree.empty("emptied");
    tree.empty("nothing");
    tree.remove("left/nothing").unwrap();
    tree.rename("moved/inner", "changed/inner").unwrap();
    let time = |path: &str| {
        let node = tree.nodes().get(path.as_bytes()).unwrap();
        let Node::Directory(id) = node else {
            panic!("{path}")
        };
        tree.nodes().meta(id).mtime.seconds
    };
    for (path, expected) in [
        ("changed", TIME),
        ("emptied", TIME),
        ("left", 0),
        ("moved", TIME),
        ("changed/inner", 0),
    ] {
        assert_eq!(time(path), expected, "{path}");
    }
    assert!(tree.names("emptied").is_empty());
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
    let place = Place::new();
    let mut tree = place.tree(&files);
    clean::leftovers(&mut tree).unwrap();
    clean::leftovers(&mut tree).unwrap();
    for (path, text) in files {
        assert_eq!(tree.has(path), text == "kept", "{path}");
    }
    assert_eq!(tree.kind("var/log/apt"), Some(Kind::Folder));
}

#[test]
fn var_moves_and_the_database_is_part_of_the_image() {
    let place = Place::new();
    let mut tree = place.tree(&[
        ("var/lib/dpkg/status", "db"),
        ("var/lib/x/file", "content"),
        ("usr/lib/tmpfiles.d/x.conf", "d /var/log 0755 - - -\n"),
        ("etc/tmpfiles.d/y.conf", ""),
    ]);
    tree.folder("var/lib/y", 0o2750, (33, 44)).unwrap();
    tree.folder("var/log", 0o755, ROOT).unwrap();
    tree.link("/run/lock", "var/lock").unwrap();
    var::settle(&mut tree).unwrap();
    let list = tree.text("usr/lib/tmpfiles.d/elea-var.conf").unwrap();
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
    assert!(tree.names("var").is_empty());
    let moved = tree.text("usr/share/factory/var/lib/x/file").unwrap();
    assert_eq!(moved, "content");
    // The oracle: systemd itself makes the machine's /var of it.
    if !rustix::process::geteuid().is_root() {
        println!("skipped: not root");
        return;
    }
    let folder = place.written(&tree);
    let made = Command::new("systemd-tmpfiles")
        .arg("--create")
        .arg(format!("--root={}", folder.display()))
        .arg("--prefix=/var")
        .output();
    let Ok(made) = made else {
        println!("skipped: no systemd-tmpfiles");
        return;
    };
    assert!(made.status.success(), "{made:?}");
    let made = place.read(&folder);
    assert_eq!(made.text("var/lib/dpkg/status").unwrap(), "db");
    assert_eq!(made.text("var/lib/x/file").unwrap(), "content");
    assert_eq!(made.status("var/lib/y"), Some((0o2750, 33, 44)));
}

#[test]
fn owners_change_and_modes_and_capabilities_stay() {
    let place = Place::new();
    let mut nodes = place.store.empty_tree();
    let mut add = |name: &str, mode, uid, gid, xattrs| {
        let meta = Meta {
            mode,
            uid,
            gid,
            xattrs,
            ..Meta::default()
        };
        let content = Content::Inline(Vec::new());
        nodes.put_leaf(DirId::ROOT, name.as_bytes(), &Leaf { meta, content });
    };
    let capability = BTreeMap::from([(b"security.capability".to_vec(), vec![1, 0, 0, 2])]);
    add("a", 0o6755, 10, 20, BTreeMap::new());
    add("b", 0o755, 11, 21, capability.clone());
    add("plain", 0o644, 0, 0, BTreeMap::new());
    let mut tree = Tree::new(&place.store, nodes, TIME).unwrap();
    // The two swap.
    let users = BTreeMap::from([(10, 11), (11, 10)]);
    let groups = BTreeMap::from([(20, 21)]);
    accounts::renumber(&mut tree, &users, &groups);
    assert_eq!(tree.status("a"), Some((0o6755, 11, 21)));
    assert_eq!(tree.status("b"), Some((0o755, 10, 21)));
    assert_eq!(tree.status("plain"), Some((0o644, 0, 0)));
    let Some(Node::Leaf(b)) = tree.nodes().get(b"b") else {
        panic!("b")
    };
    assert_eq!(tree.nodes().leaf(b).meta.xattrs.to_map(), capability);
}

#[test]
fn an_image_has_its_keys_and_its_policy() {
    let place = Place::new();
    let mut tree = place.empty();
    let beside = tempfile::tempdir().unwrap();
    let file = |name: &str| beside.path().join(name);
    fs::write(file("me.pub"), "key").unwrap();
    fs::write(file("policy.toml"), "# policy\n").unwrap();
    let trust = crate::config::Trust {
        keys: vec![file("me.pub")],
        policy: Some(file("policy.toml")),
    };
    etc::trust(&trust, &mut tree).unwrap();
    assert_eq!(tree.text("usr/lib/elea/trust.toml").unwrap(), "# policy\n");
    let names = tree.names("usr/lib/elea/trust.d");
    let [name] = &names[..] else {
        panic!("{names:?}")
    };
    assert!(name.starts_with("me-") && name.ends_with(".pub"), "{name}");
    let key = tree.text(&format!("usr/lib/elea/trust.d/{name}"));
    assert_eq!(key.unwrap(), "key");
}

const UNITS: &[(&str, &str)] = &[
    ("usr/lib/systemd/system/multi-user.target", "[Unit]\n"),
    (
        "usr/lib/systemd/system/static.service",
        "[Service]\nExecStart=/bin/true\n",
    ),
    (
        "usr/lib/systemd/system/plain.service",
        "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target graphical.target\nRequiredBy=%p-extra.target\nAlias=other.service\nAlias=dbus-%N.service\n",
    ),
    (
        "usr/lib/systemd/system/also.service",
        "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\nAlso=also.socket nothing.service\n",
    ),
    (
        "usr/lib/systemd/system/also.socket",
        "[Socket]\nListenStream=/run/x\n[Install]\nWantedBy=sockets.target\n",
    ),
    (
        "usr/lib/systemd/system/indirect.service",
        "[Service]\nExecStart=/bin/true\n[Install]\nAlso=also.socket\n",
    ),
    (
        "usr/lib/systemd/system/tty@.service",
        "[Service]\nExecStart=/bin/true %i\n[Install]\nWantedBy=getty.target\nDefaultInstance=tty1\n",
    ),
    (
        "usr/lib/systemd/system/bare@.service",
        "[Service]\nExecStart=/bin/true %i\n[Install]\nWantedBy=multi-user.target\n",
    ),
    (
        "usr/lib/systemd/system/dropped.service",
        "[Service]\nExecStart=/bin/true\n",
    ),
    (
        "etc/systemd/system/dropped.service.d/10-install.conf",
        "[Install]\nWantedBy=basic.target\n",
    ),
    (
        "etc/systemd/system/own.service",
        "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n",
    ),
    (
        "etc/systemd/system/plain-over.service",
        "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n",
    ),
    (
        "usr/lib/systemd/system/plain-over.service",
        "[Service]\nExecStart=/bin/true\n",
    ),
    ("usr/lib/systemd/system/empty.service", ""),
];

/// What systemd says of a folder: links below `/etc/systemd/system`, and the units that can be enabled.
fn systemd(folder: &Path, verbs: &[(&str, &[&str])]) -> Option<()> {
    for (verb, names) in verbs {
        let mut systemctl = Command::new("systemctl");
        systemctl.arg(format!("--root={}", folder.display()));
        let done = systemctl
            .args(["--quiet", verb])
            .args(*names)
            .stdin(Stdio::null())
            .output();
        let done = done.ok()?;
        assert!(done.status.success(), "{verb} {names:?}: {done:?}");
    }
    Some(())
}

fn listed(folder: &Path) -> BTreeMap<String, bool> {
    let listed = Command::new("systemctl")
        .arg(format!("--root={}", folder.display()))
        .args(["list-unit-files", "--no-legend", "--no-pager", "--plain"])
        .output()
        .unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    let states = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (unit, state) = (words.next()?, words.next()?);
        match state {
            "enabled" => Some((unit.to_owned(), true)),
            "disabled" => Some((unit.to_owned(), false)),
            _ => None,
        }
    });
    states.collect()
}

/// All links in a folder of units, with the last names of their targets: systemd's versions name them by other paths.
fn links(tree: &Tree<'_>) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let top = "etc/systemd/system";
    let mut open = vec![top.to_owned()];
    while let Some(folder) = open.pop() {
        for name in tree.names(&folder) {
            let path = format!("{folder}/{name}");
            if let Some(target) = tree.target(&path) {
                let target = target.rsplit('/').next().unwrap_or_default();
                out.insert(path, target.to_owned());
            } else if tree.kind(&path) == Some(Kind::Folder) {
                out.insert(path.clone(), "a folder".into());
                open.push(path);
            }
        }
    }
    out
}

#[test]
fn units_are_enabled_as_systemd_does_it() {
    let place = Place::new();
    let rounds: &[(&str, &[&str])] = &[
        (
            "enable",
            &[
                "plain.service",
                "also.service",
                "tty@.service",
                "tty@tty5.service",
                "bare@x.service",
                "dropped.service",
                "own.service",
                "plain-over.service",
            ],
        ),
        ("disable", &["own.service"]),
        ("disable", &["other.service"]),
        ("enable", &["indirect.service"]),
        ("disable", &["also.service"]),
        ("disable", &["tty@tty5.service"]),
        ("mask", &["static.service", "nothing-there.service"]),
        ("enable", &["tty@tty6.service", "plain.service"]),
        ("disable", &["tty@.service"]),
    ];
    let mut tree = place.tree(UNITS);
    let folder = place.written(&tree);
    for round in rounds {
        match round.0 {
            "enable" => enable::enable(&mut tree, round.1).unwrap(),
            "disable" => enable::disable(&mut tree, round.1).unwrap(),
            _ => enable::mask(&mut tree, round.1).unwrap(),
        }
        if systemd(&folder, &[*round]).is_none() {
            println!("skipped: no systemctl");
            return;
        }
        assert_eq!(links(&tree), links(&place.read(&folder)), "{round:?}");
        let states = enable::states(&tree).unwrap();
        assert_eq!(states, listed(&folder), "{round:?}");
    }
}

#[test]
fn what_cannot_be_enabled_is_said() {
    let place = Place::new();
    let mut tree = place.tree(UNITS);
    enable::mask(&mut tree, &["plain.service"]).unwrap();
    for (result, words) in [
        (
            enable::enable(&mut tree, &["plain.service"]),
            "`plain.service` is masked",
        ),
        (
            enable::enable(&mut tree, &["empty.service"]),
            "`empty.service` is masked",
        ),
        (enable::mask(&mut tree, &["own.service"]), "file of its own"),
    ] {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

/// A whole distribution's units, as its packages left them.
#[test]
fn the_units_of_debian_have_the_states_that_systemd_says() {
    let Some(root) = std::env::var_os("ELEA_DEBIAN_13").map(PathBuf::from) else {
        println!("skipped: ELEA_DEBIAN_13 names no folder");
        return;
    };
    let place = Place::new();
    let folder = place.folder.path().join("debian");
    for path in ["etc/systemd", "usr/lib/systemd/system"] {
        let to = folder.join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        let copied = Command::new("cp")
            .arg("-a")
            .arg(root.join(path))
            .arg(&to)
            .status();
        assert!(copied.unwrap().success());
    }
    symlink("usr/lib", folder.join("lib")).unwrap();
    let tree = place.read(&folder);
    let states = enable::states(&tree).unwrap();
    assert!(states.len() > 20, "{states:?}");
    assert_eq!(states, listed(&folder));
}

#[test]
fn what_is_kept_has_the_owners_that_the_image_has() {
    let lock = crate::lock::parse(include_str!("../../tests/golden/lock-1.lock")).unwrap();
    let numbers = accounts::Numbers::of(&lock);
    let place = Place::new();
    let mut tree = place.tree(&[("etc/app.conf", "x"), ("var/lib/odd", "x")]);
    tree.folder("var/lib/db", 0o2750, (33, 44)).unwrap();
    let list = |text: &str| {
        let path = place.folder.path().join("elea.toml");
        let text = format!("[system]\nname = \"a\"\nversion = \"1\"\n[state]\n{text}");
        fs::write(&path, text).unwrap();
        let config = crate::config::load(&path).unwrap();
        state::list(&config.state, &tree, &numbers)
    };
    let good = list(
        "mode = \"ephemeral\"\nrollback = \"restore\"\n[state.directories.\"/var/lib/db\"]\nversion = 3\nservice = \"db.service\"\n[state.directories.\"/var/lib/new\"]\nowner = \"sshd\"\ngroup = \"7\"\nmode = \"0700\"\n[state.directories.\"/var/log\"]\n[state.files.\"/etc/app.conf\"]\nhow = \"symlink\"\n",
    );
    let keep: Vec<String> = good
        .unwrap()
        .keep
        .iter()
        .map(|k| {
            format!(
                "{} {:o} {}:{} {:?} {}",
                k.path, k.mode, k.uid, k.gid, k.version, k.usual
            )
        })
        .collect();
    assert_eq!(
        keep,
        [
            "/etc/app.conf 644 0:0 None false",
            "/var/lib/db 2750 33:44 Some(3) false",
            "/var/lib/new 700 991:7 None false",
            "/var/lib/systemd 755 0:0 None true",
            // With the journal in it.
            "/var/log 755 0:0 None false",
        ]
    );
    let wrong = list(
        "[state.directories.\"/var/lib/db\"]\nhow = \"symlink\"\n[state.directories.\"/var/lib/odd\"]\n[state.files.\"/var/lib/x\"]\nowner = \"nobody-knows\"\n",
    );
    let names: Vec<String> = wrong
        .unwrap_err()
        .into_iter()
        .map(|(name, ..)| name)
        .collect();
    assert_eq!(
        names,
        [
            "state.directories.\"/var/lib/db\".how",
            "state.directories.\"/var/lib/odd\"",
            "state.files.\"/var/lib/x\".owner",
        ]
    );
}

#[test]
fn a_unit_that_only_reads_files_is_one_of_the_image() {
    let place = Place::new();
    let tree = place.tree(&[("usr/lib/systemd/system/there@.service", "[Service]\n")]);
    let path = place.folder.path().join("elea.toml");
    let text = "[units.\"there@.service\"]\nreload_on = [\"/etc/a\"]\n\
        [units.\"there@x.service\"]\nreload_on = [\"/etc/a\"]\n\
        [units.\"srv.mount\"]\nreload_on = [\"/etc/a\"]\n\
        [units.\"gone.service\"]\nreload_on = [\"/etc/a\"]\n\
        [units.\"other.service\"]\noverride = true\nService.Nice = 5\n\
        [system]\nname = \"a\"\nversion = \"1\"\n";
    fs::write(&path, text).unwrap();
    let config = crate::config::load(&path).unwrap();
    let error = services::known(&config, &tree, &BTreeMap::new()).unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("no unit `gone.service` that could read files"),
        "{said}"
    );
    assert_eq!(said.matches("the image has no unit").count(), 1, "{said}");
}
