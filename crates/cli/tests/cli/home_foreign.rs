//! `elea home apply` with packages on a machine that has no apt, no dpkg, no mmdebstrap and no key of Debian: an image
//! from a registry resolves them, a signed archive on loopback has them.

use crate::home::{Person, USER};
use crate::home_packages::{Archive, shell};
use crate::program::{Elea, Ran, has, skipped};
use elea_formats::digest::Sha256;
use elea_testkit::registry::Registry;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Takes from a machine what Debians have and others have not, and what Elea is not to need.
const HIDE: &str = r#"
set -e
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work
mount -t overlay -o lowerdir=/usr/bin,upperdir=/mnt/upper,workdir=/mnt/work overlay /usr/bin
for folder in /usr/lib/apt /etc/apt /var/lib/dpkg /usr/share/keyrings /usr/lib/dpkg; do
  test ! -d "$folder" || mount -t tmpfs tmpfs "$folder"
done
cd /usr/bin
rm -f apt* dpkg* mmdebstrap debootstrap gpg gpgv sqv perl* unshare mount
! command -v apt-get dpkg mmdebstrap unshare
cd "$1"
shift
exec "$@"
"#;

/// Says something that is not the same twice, and how often it was installed.
const MARK: &str = "#!/bin/sh\nset -e\nif test \"$1\" = configure; then\n\
    cat /proc/sys/kernel/random/uuid >>/usr/share/once-elea\nfi\n";

/// What the person's `elea` does on such a machine.
fn foreign(person: &Person, line: &str) -> Ran {
    let inner = person.command(&person.home(""), line);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation=private", "sh", "-c", HIDE, "sh"]);
    command.arg(person.folder.path()).arg(inner.get_program());
    command.args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.output().unwrap().into()
}

fn good(person: &Person, line: &str) -> String {
    let ran = foreign(person, line);
    assert_eq!(ran.code, Some(0), "{line}: {ran:?}");
    ran.out
}

/// Serves a folder on loopback until the test ends; its port.
fn serve(folder: PathBuf) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let folder = folder.clone();
            std::thread::spawn(move || answer(stream, &folder));
        }
    });
    port
}

fn answer(mut stream: TcpStream, folder: &Path) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut first, mut line) = (String::new(), String::new());
    reader.read_line(&mut first).ok()?;
    while reader.read_line(&mut line).ok()? > 2 {
        line.clear();
    }
    let path = first.split(' ').nth(1)?.trim_start_matches('/');
    let (status, bytes) = match fs::read(folder.join(path)) {
        Ok(bytes) => ("200 OK", bytes),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    let length = bytes.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(&bytes).ok()
}

/// A signed archive.
struct Site {
    folder: PathBuf,
    keys: PathBuf,
}

impl Site {
    fn new(folder: PathBuf, keys: PathBuf) -> Self {
        fs::create_dir_all(folder.join("dists/trixie/main/binary-amd64")).unwrap();
        fs::create_dir(&keys).unwrap();
        fs::set_permissions(&keys, fs::Permissions::from_mode(0o700)).unwrap();
        let site = Self { folder, keys };
        let make = ["--passphrase", "", "--quick-generate-key", "x@localhost"];
        site.gpg(&[&make[..], &["rsa3072", "sign", "never"]].concat());
        site
    }

    fn gpg(&self, arguments: &[&str]) {
        let mut gpg = Command::new("gpg");
        gpg.arg("--homedir").arg(&self.keys);
        gpg.args(["--batch", "--yes", "--quiet", "--pinentry-mode", "loopback"]);
        let ran = gpg.args(arguments).output().unwrap();
        assert!(ran.status.success(), "{arguments:?}: {ran:?}");
    }

    /// Offers the packages.
    fn publish(&self, archive: &Archive) {
        let pool = self.folder.join("pool");
        if !pool.exists() {
            std::os::unix::fs::symlink(&archive.folder, &pool).unwrap();
        }
        let index: Vec<&str> = archive.index.values().map(String::as_str).collect();
        let index = index.join("\n");
        let suite = self.folder.join("dists/trixie");
        fs::write(suite.join("main/binary-amd64/Packages"), &index).unwrap();
        let release = format!(
            "Origin: Debian\nSuite: stable\nCodename: trixie\nDate: Sat, 21 Nov 2020 09:15:44 UTC\nArchitectures: amd64\nComponents: main\nSHA256:\n {} {} main/binary-amd64/Packages\n",
            Sha256::of(index.as_bytes()),
            index.len()
        );
        let path = suite.join("Release");
        fs::write(&path, release).unwrap();
        let out = suite.join("InRelease").display().to_string();
        self.gpg(&["--output", &out, "--clearsign", &path.display().to_string()]);
    }
}

/// A folder with what apt needs, and this key as Debian's.
fn tools(archive: &Archive, site: &Site, folder: &Path) {
    for package in fs::read_dir(&archive.folder).unwrap() {
        let mut unpack = Command::new("dpkg-deb");
        unpack.arg("--extract").arg(package.unwrap().path());
        assert!(unpack.arg(folder).status().unwrap().success());
    }
    let keyring = folder.join("usr/share/keyrings/debian-archive-keyring.gpg");
    let _ = fs::remove_file(&keyring);
    site.gpg(&["--output", &keyring.display().to_string(), "--export"]);
}

/// A program that is installed beside the others, and writes to a file of theirs.
fn add(archive: &mut Archive, name: &str, file: &str) {
    let work = tempfile::tempdir().unwrap();
    for (path, text) in [
        (
            format!("usr/bin/{name}"),
            format!("#!/bin/sh\necho {name}\n"),
        ),
        ("DEBIAN/postinst".into(), MARK.replace("once-elea", file)),
    ] {
        let path = work.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let control = format!(
        "Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: x <x@localhost>\nDescription: x\n"
    );
    archive.add(work.path(), &control);
}

/// All that is in a tree, but for what is not the same twice.
fn listed(tree: &Path) -> String {
    let script = "cd \"$1\" && find . ! -name once-elea -printf '%P %M %l ' \\( -type f -exec sha256sum {} \\; -o -printf '\\n' \\) | sort";
    let mut find = Command::new("sh");
    let out = find.args(["-c", script, "sh"]).arg(tree).output().unwrap();
    assert!(out.status.success(), "{out:?}");
    String::from_utf8(out.stdout).unwrap()
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, in order")]
fn packages_come_to_a_machine_that_has_nothing_of_debian() {
    let Some(root) = elea_testkit::debian::root() else {
        return skipped("ELEA_DEBIAN_13 names no folder");
    };
    for program in ["dpkg-deb", "unshare", "gpg", "docker-registry"] {
        if !has(program) {
            return skipped(&format!("no {program}"));
        }
    }
    let Some(person) = Person::new() else { return };
    if !person.is_root {
        return skipped("not root, who alone can hide programs");
    }
    let hidden = Command::new("unshare")
        .args([
            "--mount",
            "--propagation=private",
            "sh",
            "-c",
            HIDE,
            "sh",
            "/",
            "setpriv",
        ])
        .args(["--reuid=61234", "--regid=61234", "--clear-groups", "true"])
        .output()
        .unwrap();
    if !hidden.status.success() {
        return skipped("programs cannot be hidden here");
    }
    let elea = Elea::new();
    let more = ["passwd", "apt", "ca-certificates", "debian-archive-keyring"];
    let mut archive = Archive::of(&root, elea.path("pool"), &more);
    let site = Site::new(elea.path("site"), elea.path("keys"));
    let image = elea.path("tools");
    fs::create_dir(&image).unwrap();
    tools(&archive, &site, &image);
    let port = elea_testkit::free_port().unwrap();
    let registry = Registry::start(&elea.path("registry"), port).unwrap();
    elea.good("image import dir:tools --name tools:1");
    let pushed = elea.json(&format!(
        "image push tools:1 registry:{}/tools:1",
        registry.host()
    ));
    let digest = pushed["manifest"]
        .as_str()
        .unwrap()
        .trim_start_matches("sha256:")
        .to_owned();
    archive.hello("1");
    add(&mut archive, "once-elea", "once-elea");
    site.publish(&archive);
    let server = serve(site.folder.clone());

    let home = "[home.me]\npackages = [\"hello-elea\", \"once-elea\"]\n";
    let base = format!("[base]\nmirror = \"http://127.0.0.1:{server}\"\n");
    let apply = "apply home/home.toml --name me";
    // Nothing there finds versions, and what is to be done is said.
    person.write("home.toml", &format!("{base}{home}"));
    let ran = foreign(&person, apply);
    assert!(
        ran.code == Some(1) && ran.err.contains("tools = "),
        "{ran:?}"
    );
    // A tag may be another image tomorrow.
    let tag = format!("tools = \"registry:{}/tools:1\"\n", registry.host());
    person.write("home.toml", &format!("{base}{tag}{home}"));
    let ran = foreign(&person, apply);
    assert!(
        ran.code == Some(3) && ran.err.contains("by its digest"),
        "{ran:?}"
    );

    let pinned = format!(
        "tools = \"registry:{}/tools@sha256:{digest}\"\n",
        registry.host()
    );
    person.write("home.toml", &format!("{base}{pinned}{home}"));
    good(&person, apply);
    assert_eq!(shell(&person, "hello-elea 'a b'"), "hello 1 1 a b 13\n");
    let at = |number: u32, name: &str| {
        person.home(&format!(
            ".local/share/elea/home/{number}/profile/tree/{name}"
        ))
    };
    let once = |number| fs::read_to_string(at(number, "usr/share/once-elea")).unwrap();
    assert_eq!(once(1).lines().count(), 1);
    assert_eq!(fs::metadata(at(1, "usr/bin/dpkg")).unwrap().uid(), USER);
    // One more is installed over what is there, and what it writes to stays as it is in the older generation.
    add(&mut archive, "more-elea", "once-elea");
    site.publish(&archive);
    let more = home.replace("[\"", "[\"more-elea\", \"");
    person.write("home.toml", &format!("{base}{pinned}{more}"));
    let before = once(1);
    good(&person, apply);
    assert_eq!(
        shell(&person, "more-elea; hello-elea"),
        "more-elea\nhello 1 0  13\n"
    );
    assert_eq!(once(1), before);
    assert!(once(2).starts_with(&before), "it was installed anew");
    assert_eq!(once(2).lines().count(), 2);
    let inode = |number| fs::metadata(at(number, "usr/bin/dpkg")).unwrap().ino();
    assert_eq!(inode(1), inode(2));
    let grown = listed(&at(2, ""));
    good(&person, "rollback");
    assert_eq!(
        shell(&person, "command -v more-elea || hello-elea"),
        "hello 1 0  13\n"
    );
    good(&person, "remove --yes");
    assert!(!person.home(".local").exists());

    // What is locked needs neither image nor apt, and is the same when it is installed anew.
    drop(registry);
    good(&person, apply);
    assert_eq!(shell(&person, "more-elea"), "more-elea\n");
    let anew = listed(&at(1, ""));
    let differs: Vec<_> = anew.lines().filter(|line| !grown.contains(*line)).collect();
    assert!(
        differs.is_empty() && anew.len() == grown.len(),
        "{differs:#?}"
    );
    // A package that the archive dropped is named.
    let other = home.replace("[\"", "[\"gone-elea\", \"");
    person.write("home.toml", &format!("{base}{other}"));
    let ran = foreign(&person, &format!("{apply} --locked"));
    assert!(
        ran.code == Some(1) && ran.err.contains("--locked"),
        "{ran:?}"
    );
    good(&person, "remove --yes");
    let mut names: Vec<_> = crate::program::files(&person.home(""));
    names.sort();
    assert_eq!(names.len(), 2, "{names:?}");
    chown(person.home("home.toml"), Some(USER), Some(USER)).unwrap();
}
