//! Whether anything of the system is other than its image has it: `/usr`, the package database and which units start.
//!
//! `/usr` is part of a read-only mount whose files the kernel checks, and the package database is in it, so there are
//! few ways: something mounted over it, a link of `/var` that leads elsewhere, and local edits of `/etc`.

use elea_etc::Edit;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What is not as in the image; a machine without drift has three empty lists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// What makes `/usr` another one.
    pub usr: Vec<String>,
    /// What makes the package database another one.
    pub packages: Vec<String>,
    /// Local edits that change which units there are and which start.
    pub units: Vec<String>,
}

impl Drift {
    /// Everything, one a line.
    pub fn all(&self) -> impl Iterator<Item = &String> {
        self.usr.iter().chain(&self.packages).chain(&self.units)
    }
}

/// The list by which `/var` is made, in an image.
const LIST: &str = "usr/lib/tmpfiles.d/elea-var.conf";
/// What links of the package manager lead to, in an image.
const IMAGE_STATE: &str = "usr/lib/sysimage/";
/// The largest list that is read.
const MAX_LIST: u64 = 16 << 20;
/// Where local edits are units, below `/etc`.
const UNITS: [&str; 3] = ["systemd/system", "systemd/user", "systemd/system-preset"];

/// Looks at the running system; `image` is its image without anything mounted over it.
pub(super) fn look(image: &Path, edits: &[Edit]) -> Drift {
    let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    let root = elea_sys::root::Root::open(image);
    let list = root.and_then(|root| root.read(Path::new(LIST), MAX_LIST));
    let list = String::from_utf8_lossy(&list.unwrap_or_default()).into_owned();
    Drift {
        usr: usr(&mounts),
        packages: packages(&list, |path| std::fs::read_link(path).ok()),
        units: units(edits),
    }
}

/// What `mountinfo` (proc(5)) tells of `/usr`.
fn usr(mounts: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut root = None;
    for line in mounts.lines() {
        let mut words = line.split(' ');
        let (Some(at), Some(options)) = (words.nth(4), words.next()) else {
            continue;
        };
        let kind = line
            .split_once(" - ")
            .and_then(|(_, rest)| rest.split(' ').next());
        let kind = kind.unwrap_or_default();
        if at == "/" {
            // The last one is on top.
            root = Some((kind, options));
        }
        let path = Path::new(at);
        if kind == "overlay" && is_live(path, line) {
            continue;
        }
        if path.starts_with("/usr") && !path.starts_with("/usr/local") {
            found.push(format!(
                "{kind} is mounted at {at}, over what the image has there"
            ));
        }
    }
    match root {
        Some(("overlay", options)) if options.split(',').any(|option| option == "ro") => {}
        Some(("overlay", _)) => found.push("/ can be written to".into()),
        _ => found.push("/ is not the mount of an image".into()),
    }
    found
}

/// Whether a mount is of `elea apply --live-usr`: the `/usr` of an image, and the modules of the kernel that runs in it.
/// `elea status` says so elsewhere.
fn is_live(at: &Path, line: &str) -> bool {
    let system = line.split_once(" - ").map_or("", |(_, rest)| rest);
    let source = system.split(' ').nth(1).unwrap_or_default();
    match at.to_str() {
        Some("/usr") => elea_store::mounted_image(source).is_some(),
        Some("/usr/lib/modules") => source == "elea",
        _ => false,
    }
}

/// The links of the package manager that do not lead into the image.
fn packages(list: &str, read: impl Fn(&Path) -> Option<PathBuf>) -> Vec<String> {
    let links = list.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["L+", path, .., target] if target.contains(IMAGE_STATE) => Some((path, target)),
            _ => None,
        }
    });
    let wrong =
        links.filter(|(path, target)| read(Path::new(path)).as_deref() != Some(Path::new(target)));
    wrong
        .map(|(path, target)| {
            format!("{path} is not the link to {target}; the next boot makes it anew")
        })
        .collect()
}

fn units(edits: &[Edit]) -> Vec<String> {
    let paths = edits.iter().map(|edit| elea_etc::text(&edit.path));
    let ours = paths.filter(|path| {
        UNITS
            .iter()
            .any(|folder| Path::new(path).starts_with(folder))
    });
    ours.map(|path| format!("/etc/{path} is a local edit"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use elea_etc::Change;
    use elea_sys::mount::{Attributes, Filesystem, bind, detach, own_namespace};

    const ROOT: &str =
        "22 1 0:20 / / ro,noatime - overlay elea ro,lowerdir+=/run/elea/image,verity=require\n";

    #[test]
    fn an_image_as_it_is_mounted_has_no_drift() {
        let mounts = format!(
            "{ROOT}23 22 0:21 / /etc rw - overlay elea-etc rw\n24 22 8:2 /elea/state/usr-local /usr/local rw - ext4 /dev/vda2 rw\n25 22 8:2 /elea/state/var /var rw - ext4 /dev/vda2 rw\n"
        );
        assert_eq!(usr(&mounts), Vec::<String>::new());
        // Nor has one whose /usr is live.
        let image = elea_formats::digest::Sha256::of(b"image");
        let live = format!(
            "{mounts}30 22 0:40 /usr /usr ro - overlay elea:{image} ro\n31 30 0:20 /usr/lib/modules /usr/lib/modules ro - overlay elea ro\n"
        );
        assert_eq!(usr(&live), Vec::<String>::new());
        let list = "d /var/lib 0755 0 0 -\nL+ /var/lib/dpkg - - - - ../../usr/lib/sysimage/dpkg\nL /var/lock - - - - /run/lock\n";
        let read = |path: &Path| {
            (path == Path::new("/var/lib/dpkg"))
                .then(|| PathBuf::from("../../usr/lib/sysimage/dpkg"))
        };
        assert_eq!(packages(list, read), Vec::<String>::new());
    }

    #[test]
    fn each_way_to_drift_is_seen() {
        for (more, word) in [
            ("30 22 0:9 / /usr rw - overlay sysext rw\n", "sysext"),
            (
                "30 22 0:9 / /usr/lib/modules rw - overlay sysext rw\n",
                "modules",
            ),
            (
                "30 22 0:9 / /usr/bin/tool rw - tmpfs t rw\n",
                "/usr/bin/tool",
            ),
            ("30 1 0:9 / / rw - overlay x rw\n", "can be written"),
            ("30 1 8:1 / / ro - ext4 x rw\n", "not the mount of an image"),
        ] {
            let found = usr(&format!("{ROOT}{more}"));
            let word = if word == "sysext" {
                "overlay is mounted at /usr,"
            } else {
                word
            };
            assert!(found.len() == 1 && found[0].contains(word), "{found:?}");
        }
        let list = "L+ /var/lib/dpkg - - - - ../../usr/lib/sysimage/dpkg\n";
        for there in [None, Some("/var/lib/dpkg.own")] {
            let found = packages(list, |_| there.map(PathBuf::from));
            assert!(
                found.len() == 1 && found[0].contains("/var/lib/dpkg"),
                "{found:?}"
            );
        }
        let edit = |path: &str| Edit {
            path: path.into(),
            change: Change::Added,
            machine: false,
        };
        let edits = [
            edit("hosts"),
            edit("systemd/system/a.wants/b.service"),
            edit("systemd/systemd-x"),
        ];
        assert_eq!(
            units(&edits),
            ["/etc/systemd/system/a.wants/b.service is a local edit"]
        );
    }

    #[test]
    fn what_is_really_mounted_over_usr_is_seen() {
        let joined = std::thread::spawn(|| {
            if !rustix::process::geteuid().is_root() || own_namespace().is_err() {
                eprintln!("skipped: not root");
                return;
            }
            let before = look(Path::new("/"), &[]).usr;
            let dir = tempfile::tempdir().unwrap();
            Filesystem::new("tmpfs")
                .source("t")
                .mount(dir.path())
                .unwrap();
            bind(dir.path(), Path::new("/usr/share"), Attributes::NONE).unwrap();
            let after = look(Path::new("/"), &[]).usr;
            detach(Path::new("/usr/share")).unwrap();
            detach(dir.path()).unwrap();
            assert_eq!(after.len(), before.len() + 1, "{after:?}");
            assert!(
                after.iter().any(|one| one.contains("/usr/share")),
                "{after:?}"
            );
        });
        joined.join().unwrap();
    }
}
