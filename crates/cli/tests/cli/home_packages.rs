//! `elea home apply` with packages, as an ordinary user: real packages of Debian 13, put together again from an installed
//! one, so that no archive is asked.

use crate::home::{Person, USER};
use crate::program::{has, skipped};
use elea_formats::control;
use elea_formats::digest::Sha256;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A package of ours: a program behind an alternative, one more that it needs, and what a session looks for.
const HELLO: &str = "Package: hello-elea\nVersion: @\nArchitecture: all\nMaintainer: x <x@localhost>\nDepends: needed-elea\nDescription: x\n";
const NEEDED: &str = "Package: needed-elea\nVersion: 1\nArchitecture: all\nMaintainer: x <x@localhost>\nDescription: x\n";
/// What scripts of packages do: accounts, owners, alternatives.
const POSTINST: &str = "#!/bin/sh\nset -e\nif test \"$1\" = configure; then\n\
    groupadd --system hello-elea || true\nmkdir -p /var/lib/hello-elea\nchown nobody:mail /var/lib/hello-elea\n\
    su -s /bin/sh -c true nobody\ndd if=/dev/zero of=/dev/null count=1\n\
    update-alternatives --install /usr/bin/hello-elea hello-elea /usr/bin/hello-elea.real 10\nfi\n";

/// A folder of packages, and what a lock says of them by name.
pub(crate) struct Archive {
    pub(crate) folder: PathBuf,
    lines: BTreeMap<String, String>,
    /// What an index says of them by name.
    pub(crate) index: BTreeMap<String, String>,
}

impl Archive {
    /// The essential packages of the Debian in a folder, and more, with what they need.
    pub(crate) fn of(root: &Path, folder: PathBuf, more: &[&str]) -> Self {
        fs::create_dir(&folder).unwrap();
        let mut archive = Self {
            folder,
            lines: BTreeMap::new(),
            index: BTreeMap::new(),
        };
        let status = fs::read_to_string(root.join("var/lib/dpkg/status")).unwrap();
        let all = control::parse(&status);
        let mut wanted: Vec<String> = all
            .iter()
            .filter(|stanza| stanza.get("Essential") == Some("yes"))
            .map(|stanza| stanza.get("Package").unwrap().to_owned())
            .collect();
        wanted.extend(more.iter().map(|name| (*name).to_owned()));
        let mut seen = BTreeSet::new();
        while let Some(name) = wanted.pop() {
            let provides = |stanza: &&control::Stanza<'_>| {
                let names = stanza.get("Provides").unwrap_or_default().split(',');
                let mut names = names.filter_map(|name| name.split_whitespace().next());
                names.any(|provided| provided == name)
            };
            let real = all.iter().find(|s| s.get("Package") == Some(&name));
            let Some(stanza) = real.or_else(|| all.iter().find(provides)) else {
                continue;
            };
            let name = stanza.get("Package").unwrap().to_owned();
            if !seen.insert(name.clone()) {
                continue;
            }
            for field in ["Depends", "Pre-Depends"] {
                let words = stanza.get(field).unwrap_or_default().split([',', '|']);
                let names = words.filter_map(|word| word.split_whitespace().next());
                wanted.extend(names.map(|name| name.split(':').next().unwrap().to_owned()));
            }
            archive.again(root, &name, &stanza.to_string());
        }
        archive
    }

    /// Puts an installed package together again.
    fn again(&mut self, root: &Path, name: &str, stanza: &str) {
        let work = tempfile::tempdir().unwrap();
        let info = root.join("var/lib/dpkg/info");
        let prefix = if info.join(format!("{name}.list")).exists() {
            name.to_owned()
        } else {
            format!("{name}:amd64")
        };
        let gone = ["Status:", "Conffiles:", " "];
        let mut skipping = false;
        let mut text = String::new();
        for line in stanza.lines() {
            skipping = line.starts_with("Conffiles:") || skipping && line.starts_with(' ');
            if !skipping && !gone[..2].iter().any(|begin| line.starts_with(begin)) {
                let _ = writeln!(text, "{line}");
            }
        }
        let tree = work.path().join("tree");
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        let list = fs::read_to_string(info.join(format!("{prefix}.list"))).unwrap();
        let there = list
            .lines()
            .filter(|line| *line != "/." && line.starts_with('/'));
        let there = there.filter(|line| fs::symlink_metadata(root.join(&line[1..])).is_ok());
        let names: String = there.fold(String::new(), |mut all, line| {
            let _ = writeln!(all, ".{line}");
            all
        });
        let mut tar = Command::new("sh");
        let script = "tar -C \"$1\" --no-recursion -T - -c | tar -C \"$2\" -x --no-same-owner -p";
        tar.args(["-c", script, "sh"]).arg(root).arg(&tree);
        let mut tar = tar.stdin(Stdio::piped()).spawn().unwrap();
        tar.stdin
            .take()
            .unwrap()
            .write_all(names.as_bytes())
            .unwrap();
        assert!(tar.wait().unwrap().success(), "{name}");
        for script in [
            "preinst",
            "postinst",
            "prerm",
            "postrm",
            "triggers",
            "shlibs",
            "config",
            "templates",
        ] {
            let from = info.join(format!("{prefix}.{script}"));
            if from.exists() {
                fs::copy(&from, tree.join("DEBIAN").join(script)).unwrap();
            }
        }
        self.add(&tree, &text);
    }

    /// Adds the package whose files are in a folder.
    pub(crate) fn add(&mut self, tree: &Path, control: &str) {
        let folder = tree.join("DEBIAN");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("control"), control).unwrap();
        for path in [tree, &folder] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let file = self.folder.join("new.deb");
        let mut build = Command::new("dpkg-deb");
        build
            .args(["--root-owner-group", "-Znone", "--build"])
            .arg(tree)
            .arg(&file);
        let built = build.output().unwrap();
        assert!(built.status.success(), "{built:?}");
        let bytes = fs::read(&file).unwrap();
        let digest = Sha256::of(&bytes);
        fs::rename(&file, self.folder.join(format!("{digest}.deb"))).unwrap();
        let stanza = &control::parse(control)[0];
        let get = |field| stanza.get(field).unwrap();
        let line = format!(
            "{{ name = \"{}\", version = \"{}\", architecture = \"{}\", sha256 = \"{digest}\", size = {}, archive = \"trixie\", file = \"pool/x.deb\" }},",
            get("Package"),
            get("Version"),
            get("Architecture"),
            bytes.len()
        );
        self.lines.insert(get("Package").to_owned(), line);
        let text = format!(
            "{}\nFilename: pool/{digest}.deb\nSize: {}\nSHA256: {digest}\n",
            control.trim_end(),
            bytes.len()
        );
        self.index.insert(get("Package").to_owned(), text);
    }

    /// A version of the package of ours.
    pub(crate) fn hello(&mut self, version: &str) {
        let work = tempfile::tempdir().unwrap();
        let script = format!(
            "#!/bin/sh\necho \"hello {version} $# $1 $(cut -d. -f1 /etc/debian_version)\"\n"
        );
        for (name, text) in [
            ("usr/bin/hello-elea.real", script.as_str()),
            ("usr/share/man/man1/hello-elea.1", ".TH HELLO-ELEA 1\n"),
            (
                "usr/share/applications/hello.desktop",
                "[Desktop Entry]\nType=Application\nName=Hello\nExec=/usr/bin/hello-elea %F\n",
            ),
            (
                "usr/share/bash-completion/completions/hello-elea",
                "complete -W x hello-elea\n",
            ),
            ("DEBIAN/postinst", POSTINST),
        ] {
            let path = work.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        self.add(work.path(), &HELLO.replace('@', version));
        let work = tempfile::tempdir().unwrap();
        let program = work.path().join("usr/bin/needed-elea");
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        fs::write(&program, "#!/bin/sh\necho needed\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        self.add(work.path(), NEEDED);
    }

    /// The lock of a home that asks for it.
    fn lock(&self, epoch: u64) -> String {
        let request = "{\"architecture\":\"amd64\",\"components\":[\"main\"],\"packages\":[\"hello-elea\"],\"suite\":\"trixie\",\"system\":[\"?essential\",\"ca-certificates\"]}";
        let lines: Vec<&str> = self.lines.values().map(String::as_str).collect();
        format!(
            "schema = \"elea.lock/1\"\nrequest = \"{}\"\narchitecture = \"amd64\"\nepoch = {epoch}\narchives = []\npackages = [\n{}\n]\n",
            Sha256::of(request.as_bytes()),
            lines.join("\n")
        )
    }
}

const CONFIG: &str = "[home.me]\npackages = [\"hello-elea\"]\n[home.me.environment]\nA = \"b\"\n";

/// What a shell that reads the environment says.
pub(crate) fn shell(person: &Person, script: &str) -> String {
    let script = format!(". \"$HOME/.config/elea/environment.sh\"; {script}");
    let mut command = person.program(Path::new("/bin/sh"));
    let ran = command.args(["-c", &script]).output().unwrap();
    assert!(ran.status.success(), "{script}: {ran:?}");
    String::from_utf8(ran.stdout).unwrap()
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, in order")]
fn packages_are_installed_for_one_user_and_gone_back_to() {
    let Some(root) = elea_testkit::debian::root() else {
        return skipped("ELEA_DEBIAN_13 names no folder");
    };
    if !["dpkg-deb", "unshare"].iter().all(|program| has(program)) {
        return skipped("no dpkg-deb or unshare");
    }
    let Some(person) = Person::new() else { return };
    if !person.is_root {
        return skipped("not root, who alone can read all of that Debian");
    }
    if !person
        .program(Path::new("/usr/bin/unshare"))
        .args(["-Urm", "true"])
        .status()
        .unwrap()
        .success()
    {
        return skipped("users may make no namespaces");
    }
    let mut archive = Archive::of(&root, person.folder.path().join("cache"), &["passwd"]);
    archive.hello("1");
    std::os::unix::fs::chown(&archive.folder, Some(USER), Some(USER)).unwrap();
    // A person is not in every group that has one of their folders.
    std::os::unix::fs::chown(person.home(""), Some(USER), Some(0)).unwrap();
    let cache = archive.folder.display().to_string();
    let apply = format!("apply home/home.toml --name me --locked --cache {cache}");
    person.write("home.toml", CONFIG);
    // Without a lock nothing is asked, and nothing written.
    let ran = person.run(&apply);
    assert!(
        ran.code == Some(1) && ran.err.contains("--locked"),
        "{ran:?}"
    );
    assert!(
        person
            .good("apply home/home.toml --name me --dry-run")
            .contains("not known before archives")
    );
    person.write("home.home-me.lock", &archive.lock(1_700_000_000));
    // What is in the way is told before packages are touched.
    fs::create_dir_all(person.home(".config/elea")).unwrap();
    person.write(".config/elea/environment.sh", "mine");
    let ran = person.run(&apply);
    assert!(
        ran.code == Some(3) && ran.err.contains("environment.sh"),
        "{ran:?}"
    );
    assert!(!person.home(".local/share/elea/home/profiles").exists());
    fs::remove_dir_all(person.home(".config")).unwrap();

    let out = person.good(&apply);
    assert!(
        out.contains("packages: hello-elea") && out.contains("~/.profile"),
        "{out}"
    );
    assert_eq!(shell(&person, "hello-elea 'a b' c"), "hello 1 2 a b 13\n");
    assert_eq!(shell(&person, "hello-elea.real"), "hello 1 0  13\n");
    // Those of what it needs are its own affair, and can be run all the same.
    assert_eq!(
        shell(&person, "command -v needed-elea || echo none"),
        "none\n"
    );
    assert_eq!(person.good("exec needed-elea"), "needed\n");
    let seen = person.good("exec sh -c id;pwd");
    assert!(seen.contains(&format!("uid={USER}")), "{seen}");
    let profile = person.home(".local/share/elea/home/current/profile");
    let entry = fs::read_to_string(profile.join("share/applications/hello.desktop")).unwrap();
    assert!(entry.contains("Exec=hello-elea %F"), "{entry}");
    for name in [
        "man/man1/hello-elea.1",
        "bash-completion/completions/hello-elea",
    ] {
        assert!(profile.join("share").join(name).is_file(), "{name}");
    }
    // dpkg itself finds all of them installed, and everything belongs to the user.
    let mut dpkg = Command::new("dpkg");
    dpkg.arg("--root").arg(profile.join("tree")).arg("--audit");
    let audit = dpkg.output().unwrap();
    assert!(
        audit.status.success() && audit.stdout.is_empty(),
        "{audit:?}"
    );
    let mut find = Command::new("find");
    let others = find
        .arg(profile.join("tree"))
        .args(["!", "-uid", &USER.to_string()])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&others.stdout), "");
    // systemd reads the same environment.
    let generator = Path::new(
        "/usr/lib/systemd/user-environment-generators/30-systemd-environment-d-generator",
    );
    if generator.exists() {
        let mut command = person.program(generator);
        let ran = command.env("PATH", "/usr/bin:/bin").output().unwrap();
        let text = String::from_utf8_lossy(&ran.stdout).into_owned();
        assert!(
            text.contains("current/profile/bin:/usr/bin:/bin") && text.contains("A=b"),
            "{text}"
        );
    }

    archive.hello("2");
    person.write("home.home-me.lock", &archive.lock(1_700_000_000));
    person.good(&apply);
    assert_eq!(shell(&person, "hello-elea"), "hello 2 0  13\n");
    // What both have alike is one file.
    let inode = |number: u32| {
        let at = format!(".local/share/elea/home/{number}/profile/tree/usr/bin/dpkg");
        fs::metadata(person.home(&at)).unwrap().ino()
    };
    assert_eq!(inode(1), inode(2));
    person.good("rollback");
    assert_eq!(shell(&person, "hello-elea"), "hello 1 0  13\n");
    // Without packages there is nothing of them left on the path.
    person.write("home.toml", "[home.me.environment]\nA = \"b\"\n");
    person.good(&apply);
    assert_eq!(
        shell(&person, "command -v hello-elea || echo none"),
        "none\n"
    );
    person.good("remove --yes");
    let left = crate::program::files(&person.home(""));
    let names: BTreeSet<_> = left
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(names, BTreeSet::from(["home.home-me.lock", "home.toml"]));
    assert!(!person.home(".local").exists());
}
