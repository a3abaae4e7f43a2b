//! `/var` of the packages becomes a factory copy, and the first boot makes the machine's from it.
//!
//! What belongs to the package manager is part of the image: it moves to `/usr/lib/sysimage`, and
//! `/var` links to it.

use super::tree::{Kind, ROOT, Tree};
use crate::lock::Error;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// State of the package manager: its place below `/var` and its name in [`IMAGE_STATE`].
const PACKAGE_STATE: [(&str, &str); 9] = [
    ("cache/debconf", "debconf"),
    ("lib/apt/extended_states", "apt/extended_states"),
    ("lib/dpkg", "dpkg"),
    ("lib/pam", "pam"),
    ("lib/shells.state", "shells.state"),
    ("lib/systemd/catalog", "systemd/catalog"),
    (
        "lib/systemd/deb-systemd-helper-enabled",
        "systemd/deb-systemd-helper-enabled",
    ),
    (
        "lib/systemd/deb-systemd-user-helper-enabled",
        "systemd/deb-systemd-user-helper-enabled",
    ),
    ("lib/ucf", "ucf"),
];

const IMAGE_STATE: &str = "usr/lib/sysimage";
const FACTORY: &str = "usr/share/factory/var";
const LIST: &str = "usr/lib/tmpfiles.d/elea-var.conf";

/// What stands at a path below `/var`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Folder {
        mode: u32,
        owner: (u32, u32),
    },
    File {
        mode: u32,
        owner: (u32, u32),
    },
    Link {
        target: String,
    },
    /// A link that belongs to the image and is put right at each boot.
    ImageLink {
        target: String,
    },
    Pipe {
        mode: u32,
        owner: (u32, u32),
    },
}

/// Moves everything away from `/var`.
pub(super) fn settle(tree: &mut Tree<'_>) -> Result<(), Error> {
    let mut entries = BTreeMap::new();
    for (path, name) in PACKAGE_STATE {
        let from = format!("var/{path}");
        if tree.has(&from) {
            tree.rename(&from, &format!("{IMAGE_STATE}/{name}"))?;
            // As many steps up as the link is deep, and one out of /var.
            let up = "../".repeat(path.matches('/').count() + 1);
            let target = format!("{up}{IMAGE_STATE}/{name}");
            entries.insert(path.to_owned(), Entry::ImageLink { target });
        }
    }
    collect(tree, "", &mut entries)?;
    let known = listed(tree)?;
    tree.put(LIST, plan(&entries, &known).as_bytes())?;
    tree.remove(FACTORY)?;
    let (mode, uid, gid) = tree.status("var").unwrap_or((0o755, 0, 0));
    tree.rename("var", FACTORY)?;
    tree.folder("var", mode, (uid, gid))?;
    tree.folder("usr/share/factory", 0o755, ROOT)?;
    Ok(())
}

fn collect(
    tree: &Tree<'_>,
    folder: &str,
    entries: &mut BTreeMap<String, Entry>,
) -> Result<(), Error> {
    for name in tree.names(&format!("var/{folder}")) {
        let path = if folder.is_empty() {
            name
        } else {
            format!("{folder}/{name}")
        };
        let full = format!("var/{path}");
        let (mode, uid, gid) = tree.status(&full).unwrap_or((0o755, 0, 0));
        let owner = (uid, gid);
        let entry = match tree.kind(&full) {
            Some(Kind::Folder) => Entry::Folder { mode, owner },
            Some(Kind::File) => Entry::File { mode, owner },
            Some(Kind::Link) => Entry::Link {
                target: tree.target(&full).unwrap_or_default(),
            },
            Some(Kind::Pipe) => Entry::Pipe { mode, owner },
            // Sockets and devices belong to programs that run.
            _ => continue,
        };
        let is_folder = matches!(entry, Entry::Folder { .. });
        entries.insert(path.clone(), entry);
        if is_folder {
            collect(tree, &path, entries)?;
        }
    }
    Ok(())
}

/// The paths of folders that packages' own lists make, so that none is named twice.
fn listed(tree: &Tree<'_>) -> Result<BTreeSet<String>, Error> {
    let mut out = BTreeSet::new();
    for folder in ["etc/tmpfiles.d", "usr/lib/tmpfiles.d"] {
        for name in tree.names(folder) {
            let text = tree.text(&format!("{folder}/{name}"))?;
            out.extend(text.lines().filter_map(made));
        }
    }
    Ok(out)
}

/// The path that a line of a list makes (tmpfiles.d(5)).
fn made(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let (kind, path) = (words.next()?, words.next()?);
    let makes = kind.starts_with(['d', 'D', 'q', 'Q', 'v', 'f', 'L', 'C', 'p']);
    // A line that only the first boot heeds makes nothing here.
    (makes && !kind.contains('!')).then(|| path.trim_end_matches('/').to_owned())
}

/// The list for systemd-tmpfiles: each path is made if it is absent, owners as numbers.
fn plan(entries: &BTreeMap<String, Entry>, known: &BTreeSet<String>) -> String {
    let mut out = String::from(
        "# The machine's /var, as the packages of this image left it: made where it is absent.\n",
    );
    for (path, entry) in entries {
        let full = format!("/var/{path}");
        if known.contains(&full) && !matches!(entry, Entry::ImageLink { .. }) {
            continue;
        }
        let shown = escape(&full);
        let line = match entry {
            Entry::Folder { mode, owner } => {
                format!("d {shown} {mode:04o} {} {} -", owner.0, owner.1)
            }
            Entry::File { mode, owner } => {
                let source = escape(&format!("/{FACTORY}/{path}"));
                format!("C {shown} {mode:04o} {} {} - {source}", owner.0, owner.1)
            }
            Entry::Link { target } => format!("L {shown} - - - - {}", escape(target)),
            Entry::ImageLink { target } => format!("L+ {shown} - - - - {}", escape(target)),
            Entry::Pipe { mode, owner } => {
                format!("p {shown} {mode:04o} {} {} -", owner.0, owner.1)
            }
        };
        out.push_str(&line);
        out.push('\n');
    }
    out
}

/// A word of a list: specifiers doubled, blanks and the like as octal escapes.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'%' => out.push_str("%%"),
            b'\\' | b'"' | b'\'' | 0..=b' ' | 127.. => {
                let _ = write!(out, "\\{byte:03o}");
            }
            _ => out.push(char::from(byte)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_entry_gets_its_line() {
        let owner = (998, 42);
        let entries = [
            (
                "lib/a b%",
                Entry::Folder {
                    mode: 0o2755,
                    owner,
                },
            ),
            ("lib/known", Entry::Folder { mode: 0o755, owner }),
            ("lib/f", Entry::File { mode: 0o600, owner }),
            (
                "lock",
                Entry::Link {
                    target: "/run/lock".into(),
                },
            ),
            (
                "lib/dpkg",
                Entry::ImageLink {
                    target: "../../usr/lib/sysimage/dpkg".into(),
                },
            ),
            (
                "p",
                Entry::Pipe {
                    mode: 0o600,
                    owner: (0, 0),
                },
            ),
        ];
        let entries = entries
            .into_iter()
            .map(|(p, e)| (p.to_owned(), e))
            .collect();
        let known = BTreeSet::from(["/var/lib/known".to_owned(), "/var/lib/dpkg".to_owned()]);
        let text = plan(&entries, &known);
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "d /var/lib/a\\040b%% 2755 998 42 -",
                "L+ /var/lib/dpkg - - - - ../../usr/lib/sysimage/dpkg",
                "C /var/lib/f 0600 998 42 - /usr/share/factory/var/lib/f",
                "L /var/lock - - - - /run/lock",
                "p /var/p 0600 0 0 -",
            ]
        );
    }

    #[test]
    fn lines_that_make_something_are_found() {
        assert_eq!(made("d /var/log 0755 - - -").as_deref(), Some("/var/log"));
        assert_eq!(made("q /var/tmp/ 1777").as_deref(), Some("/var/tmp"));
        assert_eq!(made("z /var/log/journal 2755"), None);
        assert_eq!(made("L! /var/x - - - - y"), None);
        assert_eq!(made("# d /var/log"), None);
    }
}
