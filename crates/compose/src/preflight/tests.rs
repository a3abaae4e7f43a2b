use super::*;
use crate::lock::{self as lock_file, Archive, Package, SCHEMA};
use elea_formats::digest::Sha256;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

const SYSTEM: &str = "[system]\nname = \"a\"\nversion = \"1\"\n";

struct Place(tempfile::TempDir);

impl Place {
    fn new(text: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::write(place.config(), format!("{text}{SYSTEM}")).unwrap();
        place
    }

    fn config(&self) -> PathBuf {
        self.0.path().join("elea.toml")
    }

    /// Errors and warnings as `line:column: message`.
    fn look(&self, purpose: Purpose<'_>) -> (Vec<String>, Vec<String>) {
        let found = match preflight(&self.config(), purpose) {
            Ok(config) => config.warnings,
            Err(found) => found,
        };
        let folder = format!("{}/", self.0.path().display());
        let texts = |list: &[config::Finding]| {
            let text = |f: &config::Finding| format!("{}:{}: {}", f.line, f.column, f.message);
            list.iter().map(|f| text(f).replace(&folder, "")).collect()
        };
        (texts(found.errors()), texts(found.warnings()))
    }

    /// Gives it a lock that fits what it says now.
    fn lock(&self) -> lock_file::Lock {
        let config = config::load(&self.config()).unwrap_or_else(|e| panic!("{e}"));
        let package = |name: &str| Package {
            name: name.into(),
            version: "1".into(),
            architecture: "all".into(),
            sha256: Sha256::of(b""),
            size: 1,
            archive: "trixie".into(),
            file: "pool/x.deb".into(),
        };
        let mut names = config.packages.install.clone();
        names.push(config.kernel.package.clone());
        names.sort();
        let lock = lock_file::Lock {
            schema: SCHEMA.into(),
            request: lock_file::request(&config),
            architecture: "amd64".into(),
            epoch: 1,
            archives: vec![Archive {
                suite: "trixie".into(),
                date: "x".into(),
                release: Sha256::of(b""),
            }],
            packages: names.iter().map(|name| package(name)).collect(),
            stages: Vec::new(),
            loader: Some(package("systemd-boot-efi")),
            users: BTreeMap::from([("root".into(), 0), ("postgres".into(), 100)]),
            groups: BTreeMap::from([("root".into(), 0)]),
        };
        lock_file::save(&config, &lock).unwrap();
        lock
    }
}

#[test]
fn what_systemd_would_not_load_is_an_error_and_what_it_passes_over_a_warning() {
    if !units::can_be_run() {
        println!("skipped: no systemd-analyze");
        return;
    }
    let text = r#"[units."a.service".Service]
ExecStart = ["/bin/true", "/bin/false"]
[units."b.service"]
text = '''
[Service]
ExecStart=/bin/true
Restrt=always
'''
[units."c.socket".Socket]
ListenStream = "no port"
[units."ssh.service"]
override = true
Service.Nice = 500
[files."/etc/systemd/system/d.service"]
content = "[Service]\nExecStart=not/a/path\n"
[units."e@.service".Service]
ExecStart = "/usr/bin/of-a-package %i"
[units."e@.service".Unit]
After = "of-a-package.service"
Requires = "of-a-package.service"
[units."f.service"]
source = "f"
[specialisation.other.units."g.service".Service]
ExecStart = "g g/g"
Nice = "five"
[mounts."/srv"]
what = "LABEL=srv"
[timers.t]
calendar = "daily"
command = ["/usr/bin/of-a-package"]
"#;
    let place = Place::new(text);
    fs::write(
        place.0.path().join("f"),
        "[Service]\nExecStart=/bin/true\nNoise=5\n",
    )
    .unwrap();
    let (errors, warnings) = place.look(Purpose::default());
    // The rest of the words is systemd's, and its versions differ.
    let begin = |found: &[String], expected: &[&str]| {
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}: no {expected}");
        }
    };
    let expected = [
        "2:13: systemd does not load `a.service`: Service has more than one ExecStart=",
        "10:16: `units.\"c.socket\"`: Failed to parse address value",
        "10:16: systemd does not load `c.socket`: Unit has no Listen setting",
        "15:23: `files.\"/etc/systemd/system/d.service\"`: Neither a valid executable name",
    ];
    begin(&errors, &expected);
    let expected = [
        "7:1: `units.\"b.service\"`: Unknown key",
        "13:16: `units.\"ssh.service\"`: Nice priority out of range",
        "22:10: `units.\"f.service\"`, line 3 of f: Unknown key",
        "25:8: `units.\"g.service\"`: Failed to parse",
    ];
    begin(&warnings, &expected);
}

#[test]
fn units_that_wait_for_each_other_are_seen() {
    if !units::can_be_run() {
        println!("skipped: no systemd-analyze");
        return;
    }
    let unit = |name: &str, other: &str| {
        format!(
            "[units.\"{name}.service\"]\nUnit = {{ After = \"{other}.service\", Requires = \"{other}.service\" }}\nService.ExecStart = \"/bin/true\"\n"
        )
    };
    let (errors, _) = Place::new(&(unit("a", "b") + &unit("b", "a"))).look(Purpose::default());
    assert!(errors[0].contains("waits for itself"), "{errors:?}");
}

#[test]
fn a_lock_is_held_against_the_config() {
    let text = "[packages]\ninstall = [\"jq\"]\n[base]\nsuite = \"trixie\"\n";
    let place = Place::new(text);
    let locked = Purpose {
        locked: true,
        ..Purpose::default()
    };
    let resolves = Purpose {
        resolves: true,
        ..Purpose::default()
    };
    let (errors, _) = place.look(locked);
    assert_eq!(
        errors,
        ["0:0: there is no lock elea.lock, and `--locked` allows no resolving"]
    );
    assert_eq!(place.look(resolves), (vec![], vec![]));
    place.lock();
    assert_eq!(place.look(locked), (vec![], vec![]));
    let text = text
        .replace("\"jq\"", "\"jq\", \"tree\"")
        .replace("trixie", "sid");
    fs::write(place.config(), format!("{text}{SYSTEM}")).unwrap();
    let expected = [
        "2:18: the lock does not fit the config: it has no package `tree`",
        "4:9: the lock does not fit the config: it is of trixie, not sid",
    ];
    assert_eq!(
        place.look(locked),
        (expected.map(str::to_owned).to_vec(), vec![])
    );
    // Of one that is resolved anew it is no news, and to who only looks a warning.
    assert_eq!(place.look(resolves), (vec![], vec![]));
    assert_eq!(place.look(Purpose::default()).1, expected);
    fs::write(place.config(), SYSTEM).unwrap();
    let (errors, _) = place.look(locked);
    assert!(errors[0].contains("packages were taken out"), "{errors:?}");
    fs::write(place.config().with_extension("lock"), "nonsense").unwrap();
    let (errors, _) = place.look(resolves);
    assert!(errors[0].contains("elea.lock is damaged"), "{errors:?}");
}

#[test]
fn owners_are_known_by_the_lock_or_by_what_they_are_near_to() {
    let text = "[files.\"/etc/a\"]\ncontent = \"a\"\nowner = \"postgre\"\n[files.\"/etc/b\"]\ncontent = \"b\"\nowner = \"deamon\"\ngroup = \"1234\"\n[users.ada]\ngroups = [\"wheel\"]\n[timers.t]\ncalendar = \"daily\"\ncommand = [\"true\"]\nuser = \"ada\"\n";
    let place = Place::new(text);
    let (errors, warnings) = place.look(Purpose::default());
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(
        warnings,
        ["6:9: `deamon` is no user of the config, and none that every system has"]
    );
    place.lock();
    let (errors, _) = place.look(Purpose::default());
    assert_eq!(
        errors,
        [
            "3:9: the image has no user `postgre`",
            "6:9: the image has no user `deamon`",
            "9:11: the image has no group `wheel`",
        ]
    );
}

#[test]
fn another_machine_is_told_so() {
    assert_eq!(machine("amd64", "x86_64"), None);
    let found = machine("amd64", "aarch64").unwrap();
    assert!(
        found.is_error && found.what.contains("for amd64, and this machine is arm64"),
        "{found:?}"
    );
    assert!(machine("amd64", "s390x").unwrap().what.contains("s390x"));
}

#[test]
fn another_kernel_needs_room_on_the_boot_partition() {
    let place = Place::new("[kernel]\npackage = \"linux-image-amd64\"\n");
    place.lock();
    let room = |free, version: &str| Room {
        free,
        running: 40_000_000,
        packages: BTreeMap::from([("linux-image-amd64".to_owned(), version.to_owned())]),
    };
    let look = |room: &Room| {
        place.look(Purpose {
            room: Some(room),
            ..Purpose::default()
        })
    };
    let text = |free: &str| {
        format!(
            "2:11: the boot partition has {free} MB free, and the kernel and initrd that run have 40 MB: those of another version have no room"
        )
    };
    assert_eq!(look(&room(1_000_000, "0")), (vec![text("1")], vec![]));
    assert_eq!(look(&room(35_000_000, "0")), (vec![], vec![text("35")]));
    assert_eq!(look(&room(40_000_000, "0")), (vec![], vec![]));
    assert_eq!(look(&room(1_000_000, "1")), (vec![], vec![]));
}
