//! `elea home`, as an ordinary user of a plain distribution.

use crate::program::{Ran, files, has, skipped};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Nobody has it.
pub(crate) const USER: u32 = 61_234;

/// A user with a home, whose store of records and config are in it.
pub(crate) struct Person {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) is_root: bool,
}

impl Person {
    /// None where no other user can be had.
    pub(crate) fn new() -> Option<Self> {
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

    pub(crate) fn home(&self, name: &str) -> PathBuf {
        self.folder.path().join("home").join(name)
    }

    /// A file of the person's.
    pub(crate) fn write(&self, name: &str, text: &str) {
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

    pub(crate) fn command(&self, home: &Path, line: &str) -> Command {
        let mut command = self.program(Path::new(env!("CARGO_BIN_EXE_elea")));
        command
            .arg("home")
            .args(line.split_whitespace())
            .env("HOME", home);
        command
    }

    /// A program that the person runs.
    pub(crate) fn program(&self, program: &Path) -> Command {
        let mut command = if self.is_root {
            let mut command = Command::new("setpriv");
            let user = [format!("--reuid={USER}"), format!("--regid={USER}")];
            command.args(user).arg("--clear-groups").arg(program);
            command
        } else {
            Command::new(program)
        };
        command
            .current_dir(self.folder.path())
            .env("HOME", self.home(""))
            .env_remove("XDG_DATA_HOME")
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_RUNTIME_DIR")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, line: &str) -> Ran {
        self.command(&self.home(""), line).output().unwrap().into()
    }

    pub(crate) fn good(&self, line: &str) -> String {
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
        "PAGER=\"less $$X\"\n"
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

/// A folder with what folders have: hidden files, spaces, a program, links, folders in folders.
fn dotfiles(person: &Person) {
    let folder = person.folder.path().join("dot files");
    fs::create_dir_all(folder.join(".hidden/deep er")).unwrap();
    fs::create_dir(folder.join("empty")).unwrap();
    for (name, text) in [
        (".rc", "rc"),
        ("a b/$x", "dollar"),
        (".hidden/deep er/z", "deep"),
        ("run", "#!/bin/sh\necho ran\n"),
        ("set.json", "{}"),
    ] {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let program = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.join("run"), program).unwrap();
    symlink(".rc", folder.join("link")).unwrap();
    symlink("/nowhere", folder.join("dangling")).unwrap();
}

const FOLDER: &str = "\
[home.me.files.\".config/x\"]
source = \"dot files\"
[home.me.files.\".config/x/set.json\"]
content = '{\"mine\": 1}'
how = \"merge\"
[home.me.files.linked]
source = \"dot files/.hidden\"
how = \"link\"
[home.me.files.program]
source = \"dot files/run\"
";

#[test]
fn a_folder_comes_file_by_file() {
    let Some(person) = Person::new() else { return };
    dotfiles(&person);
    person.config(FOLDER);
    person.good(APPLY);
    assert_eq!(person.read(".config/x/.rc"), "rc");
    assert_eq!(person.read(".config/x/a b/$x"), "dollar");
    assert_eq!(person.read(".config/x/.hidden/deep er/z"), "deep");
    // What is named stands in place of what the folder has.
    assert!(person.read(".config/x/set.json").contains("mine"));
    assert_eq!(person.read("linked/deep er/z"), "deep");
    assert!(!person.home(".config/x/empty").exists());
    let link = |name: &str| fs::read_link(person.home(name)).unwrap();
    assert_eq!(link(".config/x/link"), Path::new(".rc"));
    assert_eq!(link(".config/x/dangling"), Path::new("/nowhere"));
    assert!(link("linked/deep er/z").is_absolute());
    for program in [".config/x/run", "program"] {
        let ran = Command::new(person.home(program)).output().unwrap();
        assert_eq!(ran.stdout, b"ran\n", "{program}");
    }
    let mode = |name: &str| fs::metadata(person.home(name)).unwrap().mode() & 0o777;
    assert_eq!((mode(".config/x/.rc"), mode("program")), (0o644, 0o755));
    // `mode` is that of all files.
    let all = FOLDER.replace("\"dot files\"\n", "\"dot files\"\nmode = \"0600\"\n");
    person.config(&all);
    person.good(APPLY);
    assert_eq!(
        (mode(".config/x/.rc"), mode(".config/x/run")),
        (0o600, 0o600)
    );
    // A file that goes from the folder goes from the home, with the folders that are empty then.
    fs::remove_dir_all(person.folder.path().join("dot files/a b")).unwrap();
    person.good(APPLY);
    assert!(!person.home(".config/x/a b").exists());
    person.good("remove --yes");
    assert_eq!(fs::read_dir(person.home("")).unwrap().count(), 0);
}

#[test]
fn what_is_in_the_way_of_a_folder_is_listed_file_by_file() {
    let Some(person) = Person::new() else { return };
    dotfiles(&person);
    person.config(FOLDER);
    person.write("program", "other");
    for folder in [".config", ".config/x", ".config/x/a b", ".config/x/.rc"] {
        fs::create_dir(person.home(folder)).unwrap();
        if person.is_root {
            chown(person.home(folder), Some(USER), Some(USER)).unwrap();
        }
    }
    person.write(".config/x/a b/$x", "mine");
    person.write(".config/x/theirs", "stays");
    let plan = person.json(APPLY, 3);
    let mut found: Vec<_> = plan["collisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["path"].as_str().unwrap())
        .collect();
    found.sort_unstable();
    assert_eq!(found, [".config/x/.rc", ".config/x/a b/$x", "program"]);
    assert!(!person.home("linked").exists());
    person.good(&format!("{APPLY} --backup"));
    assert_eq!(person.read(".config/x/a b/$x.elea-1"), "mine");
    assert!(person.home(".config/x/.rc.elea-1").is_dir());
    assert_eq!(person.read(".config/x/theirs"), "stays");
    // Folders of a config have an end, and are no merge.
    for (add, text) in [
        ("how = \"merge\"\nformat = \"ini\"", "cannot be merged"),
        ("mode = \"77777\"", "cannot be a mode"),
    ] {
        person.config(&FOLDER.replace("\"dot files\"\n", &format!("\"dot files\"\n{add}\n")));
        let ran = person.run(APPLY);
        assert!(ran.code == Some(3) && ran.err.contains(text), "{ran:?}");
    }
    person.config(FOLDER);
    let many = person.folder.path().join("dot files/many");
    fs::create_dir(&many).unwrap();
    for number in 0..10_001 {
        fs::write(many.join(number.to_string()), "").unwrap();
    }
    let ran = person.run(APPLY);
    assert!(
        ran.code == Some(3) && ran.err.contains("more than 10000 files"),
        "{ran:?}"
    );
    fs::remove_dir_all(&many).unwrap();
    let pipe = person.folder.path().join("dot files/pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let ran = person.run(APPLY);
    assert!(
        ran.code == Some(3) && ran.err.contains("pipe: it is no file"),
        "{ran:?}"
    );
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
        "7 paths",
        "s.json",
        ".profile.d",
        ".config is no folder",
        "--backup",
        "nothing was done",
    ] {
        assert!(ran.err.contains(text), "no `{text}` in {}", ran.err);
    }
    let plan = person.json(APPLY, 3);
    assert_eq!(plan["collisions"].as_array().unwrap().len(), 7, "{plan}");
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
fn without_a_generation_every_command_says_what_to_do() {
    let Some(person) = Person::new() else { return };
    // `remove` without `--yes`: nobody is asked about nothing.
    for line in [
        "exec jq",
        "rollback",
        "rollback --dry-run",
        "remove",
        "remove --dry-run",
    ] {
        let ran = person.run(line);
        assert!(
            ran.code == Some(1)
                && ran.out.is_empty()
                && ran.err.contains("`elea home apply` makes its first"),
            "{line}: {ran:?}"
        );
    }
    let ran = person.run("generations");
    assert!(
        ran.code == Some(0)
            && ran.out.is_empty()
            && ran.err.contains("`elea home apply` makes its first"),
        "{ran:?}"
    );
    let list = person.json("generations", 0);
    assert_eq!(list["generations"].as_array().map(Vec::len), Some(0));
    assert_eq!(fs::read_dir(person.home("")).unwrap().count(), 0);
    // One without packages is another matter.
    person.config("[home.me.environment]\nA = \"b\"\n");
    person.good(APPLY);
    let ran = person.run("exec jq");
    assert!(
        ran.code == Some(1)
            && ran
                .err
                .contains("generation 1 of this home has no packages"),
        "{ran:?}"
    );
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

#[test]
fn a_home_on_a_plain_debian() {
    let Some(root) = elea_testkit::debian::root() else {
        return skipped("ELEA_DEBIAN_13 names no folder");
    };
    let Some(person) = Person::new() else { return };
    if !person.is_root {
        return skipped("not root");
    }
    let place = person.folder.path();
    fs::copy(env!("CARGO_BIN_EXE_elea"), place.join("elea")).unwrap();
    person.config(CONFIG);
    person.write("s.json", "{}");
    // Its root folder is that Debian's, and the person is nobody there but a number.
    let inside = |line: &[&str]| {
        let mut command = elea_testkit::debian::enter(&root, place);
        let user = [format!("--reuid={USER}"), format!("--regid={USER}")];
        command.arg("setpriv").args(user).arg("--clear-groups");
        command.args(["env", "-i", "HOME=/mnt/home", "PATH=/usr/bin:/bin"]);
        let ran: Ran = command.args(line).output().unwrap().into();
        assert_eq!(ran.code, Some(0), "{line:?}: {ran:?}");
        ran.out
    };
    let elea = |line: &str| {
        let words = ["/mnt/elea", "home"].into_iter().chain(line.split(' '));
        inside(&words.collect::<Vec<_>>())
    };
    elea("apply /mnt/home.toml --name me");
    assert_eq!(inside(&["cat", "/mnt/home/.profile.d"]), "linked");
    // Its systemd and its shell read what was written.
    let generator =
        "/usr/lib/systemd/user-environment-generators/30-systemd-environment-d-generator";
    let said = inside(&[generator]);
    assert!(said.contains("less ") && said.contains("$X"), "{said}");
    let script = ". $HOME/.config/elea/environment.sh; echo \"$PAGER\"";
    assert_eq!(inside(&["sh", "-c", script]), "less $X\n");
    let unit = "/mnt/home/.config/systemd/user/a.service";
    inside(&[
        "env",
        "XDG_RUNTIME_DIR=/run",
        "systemd-analyze",
        "verify",
        "--user",
        "--man=no",
        unit,
    ]);
    person.config(&CONFIG.replace("\"one\"", "\"two\""));
    elea("apply /mnt/home.toml --name me");
    elea("rollback");
    assert_eq!(inside(&["cat", "/mnt/home/.config/a b/$x"]), "one");
    elea("remove --yes");
    // No key is left; a line break between the braces may be.
    let left = person.read("s.json");
    assert_eq!(left.split_whitespace().collect::<String>(), "{}");
    assert_eq!(fs::read_dir(person.home("")).unwrap().count(), 1);
}
