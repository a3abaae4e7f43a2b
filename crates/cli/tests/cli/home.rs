//! `elea home`, as an ordinary user of a plain distribution.

use crate::program::{Ran, files, has, skipped};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Nobody has it.
const USER: u32 = 61_234;

/// A user with a home, whose store of records and config are in it.
struct Person {
    folder: tempfile::TempDir,
    is_root: bool,
}

impl Person {
    /// None where no other user can be had.
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let is_root = rustix::process::geteuid().is_root();
        fs::create_dir(folder.path().join("home")).unwrap();
        let person = Self { folder, is_root };
        if is_root {
            if !has("setpriv") {
                skipped("no setpriv");
                return None;
            }
            chown(person.home(""), Some(USER), Some(USER)).unwrap();
        }
        Some(person)
    }

    fn home(&self, name: &str) -> PathBuf {
        self.folder.path().join("home").join(name)
    }

    /// A file of the person's.
    fn write(&self, name: &str, text: &str) {
        let path = self.home(name);
        fs::write(&path, text).unwrap();
        if self.is_root {
            chown(path, Some(USER), Some(USER)).unwrap();
        }
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.home(name)).unwrap()
    }

    fn config(&self, text: &str) {
        fs::write(self.folder.path().join("home.toml"), text).unwrap();
    }

    fn command(&self, home: &Path, line: &str) -> Command {
        let elea = env!("CARGO_BIN_EXE_elea");
        let mut command = if self.is_root {
            let mut command = Command::new("setpriv");
            let user = [format!("--reuid={USER}"), format!("--regid={USER}")];
            command.args(user).arg("--clear-groups").arg(elea);
            command
        } else {
            Command::new(elea)
        };
        command
            .arg("home")
            .args(line.split_whitespace())
            .current_dir(self.folder.path())
            .env("HOME", home)
            .env_remove("XDG_DATA_HOME")
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_RUNTIME_DIR")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, line: &str) -> Ran {
        self.command(&self.home(""), line).output().unwrap().into()
    }

    fn good(&self, line: &str) -> String {
        let ran = self.run(line);
        assert_eq!(ran.code, Some(0), "{line}: {ran:?}");
        ran.out
    }

    fn json(&self, line: &str, code: i32) -> serde_json::Value {
        let ran = self.run(&format!("{line} --json"));
        assert_eq!(ran.code, Some(code), "{line}: {ran:?}");
        serde_json::from_str(&ran.out).unwrap()
    }
}

const CONFIG: &str = "\
[home.me.files.\".config/a b/$x\"]
content = \"one\"
mode = \"0600\"
[home.me.files.\".profile.d\"]
content = \"linked\"
how = \"link\"
[home.me.files.\"s.json\"]
content = '{\"mine\": true}'
how = \"merge\"
[home.me.units.\"a.service\"]
content = \"[Service]\\nExecStart=/bin/true\\n[Install]\\nWantedBy=default.target\\n\"
enable = true
[home.me.environment]
PAGER = \"less $X\"
[home.me]
packages = [\"jq\"]
";

const APPLY: &str = "apply home.toml --name me";

#[test]
fn a_home_is_applied_rolled_back_and_removed() {
    let Some(person) = Person::new() else { return };
    person.config(CONFIG);
    person.write("s.json", "{\n  \"theirs\": 1.10\n}\n");
    let before = files(&person.home(""));
    // A dry run writes nothing.
    let plan = person.json(&format!("{APPLY} --dry-run"), 0);
    assert_eq!(plan["schema"], "elea.home-plan/1");
    assert_eq!(plan["dry_run"], true);
    assert_eq!(files(&person.home("")), before);
    let out = person.good(APPLY);
    assert!(
        out.contains("+ .config/a b/$x") && out.contains("generation 1 is in use"),
        "{out}"
    );
    assert!(out.contains("not installed") && out.contains("jq"), "{out}");
    assert!(out.contains("no systemd user manager"), "{out}");
    assert_eq!(person.read(".config/a b/$x"), "one");
    let mode = fs::metadata(person.home(".config/a b/$x"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(
        person.read("s.json"),
        "{\n  \"theirs\": 1.10,\n  \"mine\": true\n}\n"
    );
    let wants = ".config/systemd/user/default.target.wants/a.service";
    assert!(person.read(wants).contains("ExecStart"));
    assert_eq!(
        person.read(".config/environment.d/60-elea.conf"),
        "PAGER=\"less \\$X\"\n"
    );
    // The same again is no generation.
    let again = person.json(APPLY, 0);
    assert_eq!((&again["from"], &again["to"]), (&1.into(), &1.into()));
    person.config(&CONFIG.replace("\"one\"", "\"two\""));
    person.good(APPLY);
    assert_eq!(person.read(".config/a b/$x"), "two");
    let list = person.json("generations", 0);
    assert_eq!(list["schema"], "elea.home-generations/1");
    assert_eq!(list["generations"][1]["current"], true);
    assert!(person.good("generations").contains("in use"));
    person.good("rollback");
    assert_eq!(person.read(".config/a b/$x"), "one");
    let ran = person.run("rollback");
    assert!(ran.code == Some(1) && ran.err.contains("oldest"), "{ran:?}");
    let ran = person.run("rollback 9");
    assert!(
        ran.code == Some(1) && ran.err.contains("elea home generations"),
        "{ran:?}"
    );
    assert_eq!(person.run("remove").code, Some(2));
    person.good("remove --yes");
    assert_eq!(files(&person.home("")), before);
    assert_eq!(person.read("s.json"), "{\n  \"theirs\": 1.10\n}\n");
    // Not even a folder stays.
    assert_eq!(fs::read_dir(person.home("")).unwrap().count(), 1);
}

#[test]
fn everything_in_the_way_is_listed_at_once() {
    let Some(person) = Person::new() else { return };
    person.config(CONFIG);
    person.write("s.json", "{");
    person.write(".profile.d", "other");
    person.write(".config", "no folder");
    let before = files(&person.home(""));
    let ran = person.run(APPLY);
    assert_eq!((ran.code, ran.out.as_str()), (Some(3), ""), "{ran:?}");
    for text in [
        "6 paths",
        "s.json",
        ".profile.d",
        ".config is no folder",
        "--backup",
        "nothing was done",
    ] {
        assert!(ran.err.contains(text), "no `{text}` in {}", ran.err);
    }
    let plan = person.json(APPLY, 3);
    assert_eq!(plan["collisions"].as_array().unwrap().len(), 6, "{plan}");
    assert_eq!(files(&person.home("")), before);
    person.good(&format!("{APPLY} --backup"));
    assert_eq!(person.read(".config.elea-1"), "no folder");
    assert_eq!(person.read("s.json.elea-1"), "{");
    // What a person changed is not lost either.
    person.write(".config/a b/$x", "edited");
    person.config(&CONFIG.replace("\"one\"", "\"two\""));
    let ran = person.run(APPLY);
    assert!(
        ran.code == Some(3) && ran.err.contains("changed since"),
        "{ran:?}"
    );
    person.good(&format!("{APPLY} --backup"));
    assert_eq!(person.read(".config/a b/$x.elea-1"), "edited");
    let out = person.good("remove --yes");
    assert!(out.contains("backups stay"), "{out}");
}

#[test]
fn a_home_is_found_behind_a_link_and_is_ones_own() {
    let Some(person) = Person::new() else { return };
    person.config(CONFIG);
    let other = person.folder.path().join("other-name");
    symlink(person.home(""), &other).unwrap();
    let ran: Ran = person.command(&other, APPLY).output().unwrap().into();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(person.read(".profile.d"), "linked");
    assert!(person.good(APPLY).contains("generation 1"));
    for (home, text) in [
        ("/", "no home"),
        ("relative", "absolute"),
        ("/nowhere", "No such file"),
    ] {
        let ran: Ran = person
            .command(Path::new(home), APPLY)
            .output()
            .unwrap()
            .into();
        assert!(
            ran.code == Some(1) && ran.err.contains(text),
            "{home}: {ran:?}"
        );
    }
    if person.is_root {
        let ran: Ran = person
            .command(Path::new("/etc"), APPLY)
            .output()
            .unwrap()
            .into();
        assert!(
            ran.code == Some(1) && ran.err.contains("somebody else"),
            "{ran:?}"
        );
    }
}

#[test]
fn a_home_that_makes_no_sense_is_refused() {
    let Some(person) = Person::new() else { return };
    for (config, text) in [
        (
            "[home.me.files.\"../x\"]\ncontent = \"\"\n",
            "cannot be a path",
        ),
        ("[home.you]\n", "[home.me]"),
        (
            "[home.me.files.\"a.toml\"]\ncontent = \"a =\"\nhow = \"merge\"\n",
            "does not read as Toml",
        ),
        (
            "[home.me.units.\"a.service\"]\ncontent = \"\"\nenable = true\n",
            "WantedBy",
        ),
    ] {
        person.config(config);
        let ran = person.run(APPLY);
        assert!(
            ran.code == Some(3) && ran.err.contains(text),
            "{config}: {ran:?}"
        );
    }
    assert_eq!(fs::read_dir(person.home("")).unwrap().count(), 0);
}
