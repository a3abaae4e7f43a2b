//! What differs outside `/etc`: what is switched with `/usr`, and what waits.

use super::{Need, Reason};
use elea_formats::digest::Digest;
use elea_store::{Change, Kind};
use serde::Serialize;
use std::collections::BTreeSet;

/// What a build writes outside `/etc` for `elea` alone, or for tools that people call: nothing that runs reads it.
const UNREAD: &[&str] = &[
    "/usr/lib/elea/release.json",
    "/usr/lib/elea/source",
    "/usr/lib/systemd/system-preset",
];
/// What is there for the next boot of a generation: the loader, the initrd, whom it trusts.
const OF_ELEA: &str = "/usr/lib/elea";
/// What `/var` gets at the first boot of a generation, or with its `/usr`.
const OF_VAR: &[&str] = &[
    "/usr/lib/tmpfiles.d/elea-var.conf",
    "/usr/share/factory/var",
];
/// What process 1 is made of.
const MANAGER: &[&str] = &[
    "/usr/lib/systemd/systemd",
    "/usr/lib/systemd/systemd-executor",
    "/usr/lib/systemd/libsystemd-core-",
    "/usr/lib/systemd/libsystemd-shared-",
    "/usr/lib/x86_64-linux-gnu/systemd/libsystemd-core-",
    "/usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-",
];

/// The `/usr` of another image over the running one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Over {
    /// The image whose `/usr` shows.
    pub from: Digest,
    /// The image whose `/usr` is to show.
    pub to: Digest,
    /// Whether the modules of the kernel that runs have to be kept: the new image has another kernel.
    pub keeps_modules: bool,
}

/// What becomes of `/usr` now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Usr {
    /// The image that it comes from.
    pub image: Digest,
    /// How many paths come.
    pub added: usize,
    /// How many go.
    pub removed: usize,
    /// How many are other ones.
    pub changed: usize,
    /// Whether `/usr/lib/modules` stays that of the kernel that runs.
    pub keeps_modules: bool,
    /// Files that are other ones or gone: who has them open runs what was before.
    #[serde(skip)]
    pub replaced: BTreeSet<String>,
}

/// A folder, or what is in it.
pub(in crate::live) fn is_of(path: &str, folder: &str) -> bool {
    let rest = path.strip_prefix(folder);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether process 1 is made of it.
pub(super) fn is_manager(path: &str) -> bool {
    let is = |of: &&str| path == *of || of.ends_with('-') && path.starts_with(*of);
    MANAGER.iter().any(is)
}

/// What the differences outside `/etc` need, and whether nothing can be done before that. `live` is whether `/usr` is exchanged.
pub(super) fn outside(others: &[Change], live: bool) -> Vec<(bool, Reason)> {
    let of = |list: &[&str], path: &str| list.iter().any(|of| is_of(path, of));
    let read = others.iter().map(|change| change.path.as_str());
    let read = read.filter(|path| *path != "/" && !of(UNREAD, path));
    let (at_boot, rest): (Vec<&str>, Vec<&str>) =
        read.partition(|path| is_of(path, OF_ELEA) || !live && of(OF_VAR, path));
    let (usr, elsewhere): (Vec<&str>, Vec<&str>) =
        rest.into_iter().partition(|path| is_of(path, "/usr"));
    let reason = |waits, why| {
        let needs = Need::Reboot;
        (waits, Reason { needs, why })
    };
    let mut reasons = Vec::new();
    if let Some(path) = at_boot.first() {
        reasons.push(reason(
            false,
            format!("{path} is used from the next boot on"),
        ));
    }
    if let Some(path) = elsewhere.first() {
        let why = format!("{path} differs, which is of neither /etc nor /usr");
        reasons.push(reason(true, why));
    } else if let Some(path) = usr.first().filter(|_| !live) {
        let why =
            format!("{path} differs, which is not of /etc; `--live-usr` switches /usr now, too");
        reasons.push(reason(true, why));
    }
    reasons
}

/// What the exchange of `/usr` is.
pub(super) fn usr(others: &[Change], over: &Over) -> Usr {
    let changes = || others.iter().filter(|change| is_of(&change.path, "/usr"));
    let count = |kind| changes().filter(|change| change.kind == kind).count();
    let is_other = |change: &&Change| match change.kind {
        Kind::Added => false,
        Kind::Removed => true,
        Kind::Changed => change
            .fields
            .iter()
            .any(|field| ["content", "target", "type"].contains(field)),
    };
    Usr {
        image: over.to,
        added: count(Kind::Added),
        removed: count(Kind::Removed),
        changed: count(Kind::Changed),
        keeps_modules: over.keeps_modules,
        replaced: changes()
            .filter(is_other)
            .map(|change| change.path.clone())
            .collect(),
    }
}
