//! What changed files need beside units: who reads them, and is told.

use super::state::Live;
use super::{UnitAction, Verb};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A program that makes what files in `/etc` and `/usr` declare, in the order of a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Helper {
    /// `systemd-sysusers`: users and groups.
    Sysusers,
    /// `systemd-tmpfiles --create`: files and folders.
    Tmpfiles,
    /// `systemd-modules-load.service`.
    Modules,
    /// `systemd-sysctl.service`.
    Sysctl,
    /// `systemd-binfmt.service`.
    Binfmt,
    /// `udevadm control --reload`: rules for devices that come.
    Udev,
}

/// Folders and files below `/etc`, `/usr/lib` or `/usr/share`, and who makes what they say.
const HELPERS: &[(&str, Helper)] = &[
    ("sysusers.d/", Helper::Sysusers),
    ("tmpfiles.d/", Helper::Tmpfiles),
    ("modules-load.d/", Helper::Modules),
    ("modules", Helper::Modules),
    ("sysctl.d/", Helper::Sysctl),
    ("sysctl.conf", Helper::Sysctl),
    ("binfmt.d/", Helper::Binfmt),
    ("udev/rules.d/", Helper::Udev),
    ("udev/hwdb.bin", Helper::Udev),
];

/// Systemd's own daemons, and others that no package's files reach otherwise, with the files that they read when they
/// start, or at a reload. (The bus and polkit watch folders, which an exchange of the folders does not tell them of.)
const DAEMONS: &[(&str, Verb, &str)] = &[
    (
        "systemd/journald.conf",
        Verb::Restart,
        "systemd-journald.service",
    ),
    ("systemd/network/", Verb::Reload, "systemd-networkd.service"),
    (
        "systemd/networkd.conf",
        Verb::Restart,
        "systemd-networkd.service",
    ),
    ("systemd/oomd.conf", Verb::Restart, "systemd-oomd.service"),
    (
        "systemd/resolved.conf",
        Verb::Restart,
        "systemd-resolved.service",
    ),
    (
        "systemd/timesyncd.conf",
        Verb::Restart,
        "systemd-timesyncd.service",
    ),
    ("udev/udev.conf", Verb::Restart, "systemd-udevd.service"),
    ("dbus-1/", Verb::Reload, "dbus.service"),
    ("dbus-1/", Verb::Reload, "dbus-broker.service"),
    ("polkit-1/", Verb::Restart, "polkit.service"),
];

fn below(path: &str) -> Option<&str> {
    ["/etc/", "/usr/lib/", "/usr/local/lib/", "/usr/share/"]
        .iter()
        .find_map(|folder| path.strip_prefix(folder))
}

/// `name` is a file, with its `.d` folder, or a folder with a slash at its end.
fn is_of(path: &str, name: &str) -> bool {
    match path.strip_prefix(name) {
        Some(rest) => rest.is_empty() || name.ends_with('/') || rest.starts_with(".d/"),
        None => false,
    }
}

/// The programs that changed files need, in the order in which they run.
pub(super) fn helpers<'a>(paths: impl Iterator<Item = &'a str>) -> BTreeSet<Helper> {
    let wanted = paths.filter_map(below).flat_map(|path| {
        let of = HELPERS.iter().filter(move |(name, _)| is_of(path, name));
        of.map(|(_, helper)| *helper)
    });
    wanted.collect()
}

/// Whether the manager itself reads a changed file only when it starts anew.
pub(super) fn is_managers(path: &str) -> bool {
    below(path).is_some_and(|path| is_of(path, "systemd/system.conf"))
}

/// What the daemons that read changed files need, unless something is done with them already.
pub(super) fn daemons(paths: &[&str], live: &Live, units: &[UnitAction]) -> Vec<UnitAction> {
    let mut found: Vec<UnitAction> = Vec::new();
    for (name, verb, unit) in DAEMONS {
        let Some(path) = paths
            .iter()
            .find(|p| below(p).is_some_and(|p| is_of(p, name)))
        else {
            continue;
        };
        if !live.runs(unit)
            || units
                .iter()
                .chain(&found)
                // What is left as it runs can read its files all the same.
                .any(|action| action.unit == *unit && action.verb.max(*verb) != Verb::Skip)
        {
            continue;
        }
        found.push(UnitAction {
            unit: (*unit).to_owned(),
            verb: *verb,
            why: format!("it reads {path}, which changed"),
            needs: super::Need::Nothing,
        });
    }
    found
}
