//! Local edits of `/etc` become lines of the config.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use elea_compose::config::adopt::{self, Adoption};
use elea_compose::config::{self, Content};
use elea_etc::{Found, Local, Owned};
use elea_sys::root::Root;
use std::fs;
use std::path::PathBuf;

/// A config in its folder, and an image.
struct Bench {
    dir: tempfile::TempDir,
}

const CONFIG: &str = r#"# The web server.
[system]
name = "web"        # never change this
version = "1.0"
hostname = "old"    # its name

[services]
enable = [
  "a.service", # first
  "b.service"  # second
]
disable = ["ssh.service"]

# Files.
[files."/etc/motd"]
content = "old\n"

# The end.
"#;

impl Bench {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("config")).unwrap();
        fs::write(dir.path().join("config/elea.toml"), text).unwrap();
        let bench = Self { dir };
        bench.image(
            "usr/lib/sysctl.d/50-x.conf",
            "kernel.sysrq = 1\n-net.a.b = 0\n",
        );
        let ssh =
            "[Unit]\nWantedBy=no\n[Install]\nWantedBy=multi-user.target\nAlias=sshd.service\n";
        bench.image("usr/lib/systemd/system/ssh.service", ssh);
        bench
    }

    fn image(&self, path: &str, text: &str) {
        let path = self.dir.path().join("image").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("config").join(name)
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path("elea.toml")).unwrap()
    }

    fn plan(&self, edits: &[Local]) -> adopt::Plan {
        let config = config::load(&self.path("elea.toml")).unwrap();
        let image = Root::open(&self.dir.path().join("image")).unwrap();
        adopt::plan(&config, edits, &image).unwrap()
    }

    fn adopt(&self, edits: &[Local]) -> Adoption {
        let plan = self.plan(edits);
        let shown = plan.shown.clone();
        let done = plan.apply().unwrap();
        assert_eq!(
            (shown.adopted, shown.refused),
            (done.adopted.clone(), done.refused.clone())
        );
        done
    }
}

fn owned(mode: u32) -> Owned {
    Owned {
        mode,
        owner: "root".into(),
        group: "root".into(),
    }
}

fn file(path: &str, text: &str) -> Local {
    Local {
        path: path.into(),
        found: Found::File(text.into(), owned(0o644)),
        is_new: true,
    }
}

fn link(path: &str, target: &str) -> Local {
    Local {
        path: path.into(),
        found: Found::Link(target.into()),
        is_new: true,
    }
}

fn gone(path: &str) -> Local {
    Local {
        path: path.into(),
        found: Found::Gone,
        is_new: false,
    }
}

/// Why the only edit is refused.
fn refused(bench: &Bench, edit: Local) -> String {
    let before = bench.text();
    let done = bench.adopt(&[edit]);
    assert_eq!(done.adopted, []);
    assert_eq!(bench.text(), before);
    assert!(!bench.path("files").exists());
    done.refused[0].why.clone()
}

#[test]
fn keys_files_and_units_and_the_rest_of_the_text_stays() {
    let bench = Bench::new(CONFIG);
    let wants = "/etc/systemd/system/multi-user.target.wants/ssh.service";
    let mut script = file("/etc/cron.daily/x", "#!/bin/sh\n");
    script.found = Found::File(
        b"#!/bin/sh\n".to_vec(),
        Owned {
            mode: 0o755,
            owner: "ada".into(),
            group: "7".into(),
        },
    );
    let mut plain = file("/etc/cron.daily", "");
    plain.found = Found::Folder(owned(0o755));
    let mut motd = file("/etc/motd", "new \"x\"\n");
    motd.is_new = false;
    let edits = [
        plain,
        script,
        file("/etc/hostname", "web1\n"),
        link("/etc/localtime", "/usr/share/zoneinfo/Europe/Vienna"),
        motd,
        file("/etc/modules-load.d/x.conf", "loop\n"),
        file(
            "/etc/sysctl.d/99-x.conf",
            "net.ipv4.ip_forward = 1\nkernel.x.y=a b\n",
        ),
        link("/etc/systemd/system/cups.service", "/dev/null"),
        link(wants, "/usr/lib/systemd/system/ssh.service"),
        link(
            "/etc/systemd/system/sshd.service",
            "/usr/lib/systemd/system/ssh.service",
        ),
        file("/etc/timezone", "Europe/Vienna\n"),
        link("/etc/x", "y"),
    ];
    let done = bench.adopt(&edits);
    assert_eq!(done.refused, []);
    let expected = r#"# The web server.
[system]
name = "web"        # never change this
version = "1.0"
hostname = "web1"    # its name
timezone = "Europe/Vienna"

[services]
enable = [
  "a.service", # first
  "b.service",  # second
  "ssh.service",
]
mask = ["cups.service"]

# Files.
[files."/etc/motd"]
content = """
new "x"
"""

[files."/etc/cron.daily/x"]
source = "files/etc/cron.daily/x"
mode = "0755"
owner = "ada"
group = "7"

[files."/etc/x"]
symlink = "y"

[kernel]
modules = ["loop"]

[sysctl]
"kernel.x.y" = "a b"
"net.ipv4.ip_forward" = 1

# The end.
"#;
    assert_eq!(bench.text(), expected);
    assert_eq!(
        fs::read(bench.path("files/etc/cron.daily/x")).unwrap(),
        b"#!/bin/sh\n"
    );
    let config = config::load(&bench.path("elea.toml")).unwrap();
    assert_eq!(
        config.files["/etc/motd"].content,
        Content::Text("new \"x\"\n".into())
    );
    // What the config says now is said: a second time changes nothing.
    let again = bench.plan(&edits).shown;
    assert_eq!(again.refused, []);
    bench.adopt(&edits);
    assert_eq!(bench.text(), expected);
    // A copy of the config's own follows the file.
    bench.adopt(&[file("/etc/cron.daily/x", "#!/bin/sh -e\n")]);
    assert_eq!(
        fs::read(bench.path("files/etc/cron.daily/x")).unwrap(),
        b"#!/bin/sh -e\n"
    );
}

#[test]
fn what_is_not_certain_is_copied() {
    let bench = Bench::new(CONFIG);
    let edits = [
        // Another file of the image has a say in it; a comment would be lost; a glob.
        file("/etc/sysctl.d/99-a.conf", "kernel.sysrq = 0\n"),
        file("/etc/sysctl.d/99-b.conf", "# why\nkernel.z.z = 0\n"),
        file("/etc/sysctl.d/99-c.conf", "net.ipv4.conf.*.rp_filter = 0\n"),
        file("/etc/locale.conf", "LANG=C.UTF-8\nLC_TIME=de_AT.UTF-8\n"),
        // Only one of its two links is there.
        link(
            "/etc/systemd/system/multi-user.target.wants/ssh.service",
            "/usr/lib/systemd/system/ssh.service",
        ),
    ];
    let done = bench.adopt(&edits);
    assert_eq!(done.refused, []);
    let config = config::load(&bench.path("elea.toml")).unwrap();
    for edit in &edits {
        assert!(config.files.contains_key(&edit.path), "{}", edit.path);
    }
    assert!(config.sysctl.is_empty());
}

#[test]
fn a_unit_that_was_switched_off_is_in_the_other_list() {
    let text = CONFIG.replace("disable = [\"ssh.service\"]\n", "");
    let bench = Bench::new(&text);
    let wants = "/etc/systemd/system/multi-user.target.wants/ssh.service";
    let edits = [gone(wants), gone("/etc/systemd/system/sshd.service")];
    bench.adopt(&edits);
    let config = config::load(&bench.path("elea.toml")).unwrap();
    assert_eq!(config.services.disable, ["ssh.service"]);
}

#[test]
fn secrets_and_what_is_not_the_configs_are_refused() {
    let bench = Bench::new(CONFIG);
    let mut private = file("/etc/x", "text");
    private.found = Found::File(b"text".to_vec(), owned(0o640));
    let mut shadow = file("/etc/shadow", "root:x\n");
    shadow.is_new = false;
    let cases = [
        (private, "0640"),
        (shadow, "hashes"),
        (file("/etc/shadow-", "root:x\n"), "hashes"),
        (file("/etc/passwd", "x"), "one by one"),
        (file("/etc/machine-id", "x"), "the machine's own"),
        (
            file("/etc/ssh/ssh_host_rsa_key.pub", "x"),
            "the machine's own",
        ),
        (
            file("/etc/x", "-----BEGIN RSA PRIVATE KEY-----\n"),
            "a private key",
        ),
        (file("/etc/x", "db_password = hunter2\n"), "a password"),
        (
            file("/etc/wg.conf", "[Interface]\nPrivateKey = abc=\n"),
            "a key",
        ),
        (gone("/etc/motd"), "elea.toml:16"),
        (gone("/etc/x"), "a package's file"),
        (file("/etc/\u{1}", "x"), "cannot name"),
    ];
    for (edit, why) in cases {
        let path = edit.path.clone();
        let said = refused(&bench, edit);
        assert!(said.contains(why), "{path}: {said}");
    }
    let pipe = Local {
        found: Found::Other("a pipe".into()),
        ..file("/etc/pipe", "")
    };
    assert!(refused(&bench, pipe).contains("a pipe"));
}

#[test]
fn what_an_imported_file_says_is_changed_there() {
    let bench = Bench::new(&format!(
        "imports = [\"more.toml\", \"deep\"]\n{}",
        CONFIG.replace("hostname = \"old\"    # its name\n", "")
    ));
    let more = "# More.\nsystem.hostname = \"there\" # the name\nsysctl.\"kernel.a.b\" = 1\n\
                files.\"/etc/there\".content = \"x\"\n[default.system]\ntimezone = \"Etc/UTC\"\n";
    fs::write(bench.path("more.toml"), more).unwrap();
    fs::create_dir(bench.path("deep")).unwrap();
    fs::write(
        bench.path("deep/a.toml"),
        "[files.\"/etc/copied\"]\nsource = \"copied\"\n[kernel]\nmodules = [\"loop\"]\n",
    )
    .unwrap();
    fs::write(bench.path("deep/copied"), "old\n").unwrap();
    let before = bench.text();
    let own = "# From [sysctl] of the config.\nkernel.a.b = 2\n";
    let done = bench.adopt(&[
        file("/etc/hostname", "here\n"),
        file("/etc/there", "here\n"),
        file("/etc/sysctl.d/60-elea.conf", own),
        file("/etc/copied", "new\n"),
        file("/etc/modules-load.d/fuse.conf", "fuse\n"),
    ]);
    assert_eq!(done.refused, []);
    assert_eq!(
        bench.text(),
        before,
        "nothing is said in the config's own file"
    );
    let there = |name: &str| fs::read_to_string(bench.path(name)).unwrap();
    let expected = more
        .replace("\"there\" #", "\"here\" #")
        .replace("\"kernel.a.b\" = 1", "\"kernel.a.b\" = 2")
        .replace("content = \"x\"", "content = \"\"\"\nhere\n\"\"\"");
    assert_eq!(there("more.toml"), expected);
    assert!(there("deep/a.toml").contains("modules = [\"loop\", \"fuse\"]"));
    assert_eq!(there("deep/copied"), "new\n");
    let file_of = |path: &str| {
        let one = done.adopted.iter().find(|one| one.path == path).unwrap();
        one.files.clone()
    };
    assert_eq!(file_of("/etc/hostname"), [bench.path("more.toml")]);
    assert_eq!(
        file_of("/etc/modules-load.d/fuse.conf"),
        [bench.path("deep/a.toml")]
    );
    // What is only a default there is said in the config's own file.
    bench.adopt(&[link("/etc/localtime", "../usr/share/zoneinfo/Europe/Rome")]);
    let config = config::load(&bench.path("elea.toml")).unwrap();
    assert_eq!(config.system.timezone, "Europe/Rome");
    assert_eq!(config.system.hostname, "here");
    assert!(bench.text().contains("Europe/Rome"));
}

#[test]
fn what_two_files_say_is_changed_in_both() {
    let bench = Bench::new(&format!("imports = [\"more.toml\"]\n{CONFIG}"));
    let more = "system.hostname = \"old\"\nservices.disable = [\"cups.service\"]\n";
    fs::write(bench.path("more.toml"), more).unwrap();
    let cups = "[Install]\nWantedBy=multi-user.target\n";
    bench.image("usr/lib/systemd/system/cups.service", cups);
    let done = bench.adopt(&[
        file("/etc/hostname", "new\n"),
        link("/etc/systemd/system/cups.service", "/dev/null"),
    ]);
    assert_eq!(done.adopted[0].files.len(), 2);
    let config = config::load(&bench.path("elea.toml")).unwrap();
    assert_eq!(config.system.hostname, "new");
    assert_eq!(config.services.mask, ["cups.service"]);
    assert_eq!(config.services.disable, ["ssh.service"]);
}

#[test]
fn what_is_said_elsewhere_or_otherwise_is_changed_by_hand() {
    let elsewhere = tempfile::tempdir().unwrap();
    let shared = elsewhere.path().join("shared.toml");
    fs::write(
        &shared,
        "system.hostname = \"there\"\nfiles.\"/etc/x\".content = \"x\"\n",
    )
    .unwrap();
    let bench = Bench::new(&format!(
        "imports = [{:?}, \"more.toml\"]\n{}",
        shared,
        CONFIG.replace("hostname = \"old\"    # its name\n", "")
    ));
    fs::write(
        bench.path("more.toml"),
        "[[when]]\narch = \"amd64\"\napply.system.locale = \"de_DE.UTF-8\"\n[force.system]\ntimezone = \"Etc/UTC\"\n",
    )
    .unwrap();
    let said = refused(&bench, file("/etc/hostname", "here\n"));
    assert!(said.contains("shared.toml:1"), "{said}");
    assert!(refused(&bench, file("/etc/x", "here\n")).contains("shared.toml:2"));
    let said = refused(&bench, file("/etc/locale.conf", "LANG=C.UTF-8\n"));
    assert!(said.contains("more.toml:3"), "{said}");
    let said = refused(
        &bench,
        link("/etc/localtime", "../usr/share/zoneinfo/Europe/Rome"),
    );
    assert!(said.contains("more.toml:5"), "{said}");
}

#[test]
fn lines_that_make_no_config_are_not_written() {
    // Another file, which is not this config's to change, has the unit in the other list.
    let elsewhere = tempfile::tempdir().unwrap();
    let shared = elsewhere.path().join("shared.toml");
    fs::write(&shared, "services.enable = [\"cups.service\"]\n").unwrap();
    let bench = Bench::new(&format!("imports = [{shared:?}]\n{CONFIG}"));
    let before = bench.text();
    let edits = [
        file("/etc/deep/er/x", "x"),
        link("/etc/systemd/system/cups.service", "/dev/null"),
    ];
    // It is known before anything is written, so `--dry-run` says it too.
    let config = config::load(&bench.path("elea.toml")).unwrap();
    let image = Root::open(&bench.dir.path().join("image")).unwrap();
    let error = adopt::plan(&config, &edits, &image).unwrap_err();
    assert!(error.to_string().contains("two lists"), "{error}");
    assert_eq!(bench.text(), before);
    assert!(!bench.path("files").exists());
    let names = fs::read_dir(bench.path("")).unwrap().count();
    assert_eq!(names, 1);
    // A copy that is somebody else's is not written over.
    fs::create_dir_all(bench.path("files/etc")).unwrap();
    fs::write(bench.path("files/etc/x"), "mine").unwrap();
    let shown = bench.plan(&[file("/etc/x", "x")]).shown;
    assert!(shown.refused[0].why.contains("in the way"));
}
