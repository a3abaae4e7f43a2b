//! The whole of what can be wrong with a config and what goes with it: found before anything is written, in one list,
//! and exit code 3.

use crate::program::{Elea, has, skipped};
use elea_compose::{config, lock};
use elea_formats::digest::Sha256;
use std::collections::BTreeMap;
use std::fs;

const GOOD: &str = "\
[system]
name = \"hello\"
version = \"1.0\"
[packages]
install = [\"jq\"]
";

/// Everything that is wrong at once, in two files.
const BAD: &str = r#"imports = ["other.toml"]
[system]
name = "hello"
version = "1.0"
version = "1.1"
epoch = -1
[packages]
install = ["jq"]
[base]
architecture = "arm64"
mirror = "https://ada:hunter2@example.org/debian"
[health]
timeout = 60
[files."/etc/app.key"]
content = """
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
-----END PRIVATE KEY-----
"""
[files."/etc/app.conf"]
content = "listen = 80\npassword = hunter2\n"
owner = "postgre"
[timers.tidy]
calendar = "Mon..Fri 25:00"
command = ["/usr/bin/tidy", "--token=0a1b2c3d4e5f"]
[units."web.service".Service]
ExecStart = ["/usr/bin/web", "/usr/bin/other"]
Environment = "API_TOKEN=0a1b2c3d4e5f"
[units."a.socket"]
enable = true
Socket.ListenStream = 80
[units."b.socket"]
enable = true
Socket.ListenStream = "0.0.0.0:80"
"#;

const OTHER: &str = "imports = [\"elea.toml\"]\n[health]\ntimeout = 90\n";

/// Puts a lock beside the config that fits `text`.
fn lock(elea: &Elea, text: &str) {
    let path = elea.path("elea.toml");
    fs::write(&path, text).unwrap();
    let config = config::load(&path).unwrap_or_else(|e| panic!("{e}"));
    let package = |name: &str| lock::Package {
        name: name.into(),
        version: "1.7".into(),
        architecture: "amd64".into(),
        sha256: Sha256::of(name.as_bytes()),
        size: 10,
        archive: "trixie".into(),
        file: format!("pool/{name}.deb"),
    };
    let lock = lock::Lock {
        schema: lock::SCHEMA.into(),
        request: lock::request(&config),
        architecture: "amd64".into(),
        epoch: 1_760_000_000,
        archives: Vec::new(),
        packages: ["jq", "linux-image-amd64"].map(package).to_vec(),
        stages: Vec::new(),
        loader: Some(package("systemd-boot-efi")),
        users: BTreeMap::from([("root".into(), 0), ("postgres".into(), 101)]),
        groups: BTreeMap::from([("root".into(), 0), ("postgres".into(), 101)]),
    };
    lock::save(&config, &lock).unwrap();
}

#[test]
fn everything_that_is_wrong_is_one_list() {
    let elea = Elea::new();
    lock(&elea, GOOD);
    fs::write(elea.path("elea.toml"), BAD).unwrap();
    fs::write(elea.path("other.toml"), OTHER).unwrap();
    let mut texts = vec![
        "error: elea.toml imports itself",
        "other.toml:1:12",
        "error: duplicate key",
        "elea.toml:5:1",
        "error: `system.epoch` must be a number from 0 to 4294967295",
        "error: `health.timeout` is said twice, each time otherwise",
        "error: `arm64` cannot be `base.architecture`",
        "error: there is a password in a URL in `base.mirror`",
        "error: there is a private key in `files.\"/etc/app.key\".content`",
        "16 | -----BEGIN PRIVATE KEY-----",
        "error: there is a password in `files.\"/etc/app.conf\".content`",
        "error: `Mon..Fri 25:00` cannot be `timers.tidy.calendar`",
        "error: there is a password or token in `units.\"web.service\".Service.Environment`",
        "error: the image has no user `postgre`",
        "did you mean `postgres`?",
        "warning: `a.socket` and `b.socket` both listen at the TCP port 80",
    ];
    if has("systemd-analyze") {
        texts.push("error: systemd does not load `web.service`");
    } else {
        skipped("no systemd-analyze");
    }
    let ran = elea.bad("config check", 3, &texts);
    assert_eq!(ran.out, "");
    let errors = texts
        .iter()
        .filter(|text| text.starts_with("error: "))
        .count();
    assert_eq!(ran.err.matches("error: ").count(), errors, "{}", ran.err);
    assert!(ran.err.ends_with(&format!(
        "the config has {errors} errors; nothing was done\n"
    )));
    // As JSON it is the same list, and commands that would write find it before they do.
    let ran = elea.run("config check --json");
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(value["errors"].as_array().unwrap().len(), errors);
    let before = fs::read(elea.path("elea.lock")).unwrap();
    fs::write(elea.path("small.img"), [0; 4096]).unwrap();
    let tools = has("mkfs.ext4") || std::path::Path::new("/sbin/mkfs.ext4").exists();
    let mut commands = vec![("lock --initrd elea.toml", errors)];
    if tools {
        commands.push(("build --initrd elea.toml -o disk:small.img", errors + 1));
    }
    for (line, number) in commands {
        let ran = elea.bad(line, 3, &texts);
        assert_eq!(
            ran.err.matches("error: ").count(),
            number,
            "{line}: {}",
            ran.err
        );
    }
    if tools {
        let small = "small.img has 1 MiB, which is too small: the boot partition takes 512 MiB";
        elea.bad("build --initrd elea.toml -o disk:small.img", 3, &[small]);
    }
    assert_eq!(fs::read(elea.path("elea.lock")).unwrap(), before);
    assert!(!elea.store().exists() && !elea.path("cache").exists());
}

#[test]
fn a_lock_that_does_not_fit_is_held_against_the_lines_that_ask() {
    let elea = Elea::new();
    lock(&elea, GOOD);
    assert_eq!(elea.run("config check --locked").code, Some(0));
    let text = GOOD.replace("[\"jq\"]", "[\"jq\", \"tree\"]\n[base]\nsuite = \"sid\"");
    fs::write(elea.path("elea.toml"), text).unwrap();
    let texts = [
        "the lock does not fit the config: it has no package `tree`",
        "elea.toml:5:18",
    ];
    for line in ["config check --locked", "lock --locked --initrd elea.toml"] {
        elea.bad(line, 3, &texts);
    }
    // Who only looks is told.
    let ran = elea.run("config check");
    assert_eq!(ran.code, Some(0));
    assert!(
        ran.err.contains("warning: the lock does not fit"),
        "{ran:?}"
    );
}

/// A package of the lock that no archive has any more, and one in whose place there is another.
#[test]
fn packages_that_disappeared_are_one_list() {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root || !std::path::Path::new("/usr/lib/apt/apt-helper").exists() {
        skipped("no root, or no apt");
        return;
    }
    let elea = Elea::new();
    let mirror = elea.path("mirror");
    fs::create_dir_all(mirror.join("pool")).unwrap();
    fs::write(mirror.join("pool/jq.deb"), "another!!!").unwrap();
    fs::write(mirror.join("pool/systemd-boot-efi.deb"), "systemd-boot-efi").unwrap();
    let text = format!("{GOOD}[base]\nmirror = \"copy://{}\"\n", mirror.display());
    lock(&elea, &text);
    let work = elea.path("work").display().to_string();
    let line = format!("build --initrd elea.toml --work {work}");
    elea.bad(
        &line,
        3,
        &[
            "the archives have dropped 2 packages of the lock",
            "  jq 1.7 ",
            "  linux-image-amd64 1.7 ",
            "`elea lock --update jq linux-image-amd64`",
        ],
    );
    assert!(!elea.good("image list").contains("hello"));
}
