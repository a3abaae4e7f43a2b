//! What the manager reads: whether it has to read anything anew after a switch.
//!
//! A daemon-reload runs every generator and reads every unit: it takes longer than all else that a small change needs.
//! It is left out only where nothing that it would read is another one; what is not known keeps it.

use super::plan::is_of;
use super::state::Live;
use super::units::Units;
use elea_formats::unit::{Kind, Name};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What process 1 and systemd's own generators read at a daemon-reload, below `/etc`: files, with their `.d` folders,
/// and folders. (Of `/etc/systemd` all is theirs but [`DAEMONS`].)
const READ: &[&str] = &[
    // Variables of services that start from then on (locale.conf(5); the second is Debian's name for it).
    "locale.conf",
    "default/locale",
    // Specifiers (systemd.unit(5)): `%m`; `%A`, `%B`, `%M`, `%o`, `%w` and `%W`; `%q`.
    "machine-id",
    "os-release",
    "machine-info",
    // When timers elapse (systemd.time(7)) is counted again.
    "localtime",
    // systemd-fstab-generator(8), systemd-gpt-auto-generator(8).
    "fstab",
    // systemd-cryptsetup-generator(8), with the keys that it finds by name.
    "crypttab",
    "cryptsetup-keys.d",
    // systemd-veritysetup-generator(8), systemd-integritysetup-generator(8).
    "veritytab",
    "integritytab",
    // systemd-sysv-generator(8).
    "init.d",
    "rc0.d",
    "rc1.d",
    "rc2.d",
    "rc3.d",
    "rc4.d",
    "rc5.d",
    "rc6.d",
    "rcS.d",
    // systemd-rc-local-generator(8), and both where the folders are below this one.
    "rc.local",
    "rc.d",
    // systemd-system-update-generator(8).
    "system-update",
];

/// What lies in `/etc/systemd` and is read by others: systemd's daemons and programs, and the managers of users.
const DAEMONS: &[&str] = &[
    "coredump.conf",
    "homed.conf",
    "journal-remote.conf",
    "journal-upload.conf",
    "journald.conf",
    "logind.conf",
    "network",
    "networkd.conf",
    "oomd.conf",
    "pstore.conf",
    "resolved.conf",
    "sleep.conf",
    "timesyncd.conf",
    "user",
    "user.conf",
];

/// Systemd's own generators, up to version 257: what they read is in [`READ`], and the others read nothing of `/etc`
/// but units (kernel arguments, credentials, variables of the firmware, devices). And that of `[swap] zram`, whose
/// files are in `/etc/systemd` (zram-generator.conf(5)).
const GENERATORS: &[&str] = &[
    "systemd-bless-boot-generator",
    "systemd-cryptsetup-generator",
    "systemd-debug-generator",
    "systemd-fstab-generator",
    "systemd-getty-generator",
    "systemd-gpt-auto-generator",
    "systemd-hibernate-resume-generator",
    "systemd-import-generator",
    "systemd-integritysetup-generator",
    "systemd-rc-local-generator",
    "systemd-run-generator",
    "systemd-ssh-generator",
    "systemd-system-update-generator",
    "systemd-sysv-generator",
    "systemd-tpm2-generator",
    "systemd-veritysetup-generator",
    "zram-generator",
];

/// Where generators lie, the first before the others (systemd.generator(7)).
const FOLDERS: [&str; 4] = [
    "/run/systemd",
    "/etc/systemd",
    "/usr/local/lib/systemd",
    VENDOR,
];
/// Where systemd's own do.
const VENDOR: &str = "/usr/lib/systemd";
/// Both kinds, and what they are beside the folder's name.
const KINDS: [&str; 2] = ["system-generators", "system-environment-generators"];

/// What is no part of an image and its configuration: nothing is exchanged there.
const STATE: &[&str] = &[
    "/boot", "/dev", "/efi", "/home", "/media", "/mnt", "/proc", "/root", "/run", "/srv", "/sys",
    "/tmp", "/var",
];

/// Whether the manager would read something else than it has, once these paths have changed.
pub(super) fn reads_anew(old: &Units, new: &Units, paths: &[&str], live: &Live) -> bool {
    paths.iter().any(|path| reads(path))
        // What links in the folders of units lead to is elsewhere.
        || !old.are(new)
        // What it reads nobody knows.
        || (!live.generators.is_empty() && paths.iter().any(|path| is_of(path, "/etc")))
        || live.running().any(|(name, _)| watches(name, old))
}

/// Whether the manager remembers the time of a file: by another one it knows that a unit is not as it was read.
pub(super) fn is_dated(path: &str) -> bool {
    let folder = "/etc/systemd/system";
    path != folder && is_of(path, folder)
}

/// Whether it, or one of systemd's generators, reads this path.
fn reads(path: &str) -> bool {
    let Some(path) = path.strip_prefix("/etc/") else {
        // With another /usr generators are other programs, and find others.
        return is_of(path, "/usr");
    };
    let one_of = |path: &str, names: &[&str]| {
        let is = |name: &&str| {
            let rest = path.strip_prefix(*name);
            let rest = rest.map(|rest| rest.strip_prefix(".d").unwrap_or(rest));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        names.iter().any(is)
    };
    match path.strip_prefix("systemd") {
        Some("") => true,
        Some(rest) if rest.starts_with('/') => !one_of(&rest[1..], DAEMONS),
        _ => one_of(path, READ),
    }
}

/// Whether a running unit makes the manager watch a path that may be exchanged: it has to look for it anew.
fn watches(name: &str, units: &Units) -> bool {
    const KEYS: [&str; 5] = [
        "DirectoryNotEmpty",
        "PathChanged",
        "PathExists",
        "PathExistsGlob",
        "PathModified",
    ];
    if Name::parse(name).map(|name| name.kind()) != Ok(Kind::Path) {
        return false;
    }
    let Some(unit) = units.unit(name) else {
        return true;
    };
    let mut watched = KEYS.iter().flat_map(|key| unit.values("Path", key));
    watched.any(|path| !STATE.iter().any(|of| is_of(path, of)))
}

/// Generators of which it is not known what they read.
pub(super) fn foreign_generators(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for kind in KINDS {
        let mut seen = BTreeSet::new();
        for folder in FOLDERS {
            let place = root.join(&folder[1..]).join(kind);
            // A folder that is not there has none.
            let Ok(entries) = fs::read_dir(&place) else {
                continue;
            };
            for entry in entries.flatten() {
                let name = entry.file_name();
                if !seen.insert(name.clone()) {
                    continue;
                }
                // A link to /dev/null, or an empty file.
                let masked = fs::metadata(entry.path()).is_ok_and(|file| file.len() == 0);
                let known = folder == VENDOR
                    && kind == KINDS[0]
                    && GENERATORS.iter().any(|own| name == **own);
                if !masked && !known {
                    found.insert(name.to_string_lossy().into_owned());
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_the_manager_reads_is_told_from_what_others_do() {
        for path in [
            "/etc/fstab",
            "/etc/crypttab",
            "/etc/init.d/x",
            "/etc/rc2.d",
            "/etc/rc.local",
            "/etc/default/locale",
            "/etc/localtime",
            "/etc/os-release",
            "/etc/systemd",
            "/etc/systemd/system",
            "/etc/systemd/system/a.service",
            "/etc/systemd/system.control/a.service.d/x.conf",
            "/etc/systemd/system.conf.d/x.conf",
            "/etc/systemd/system-generators/x",
            "/etc/systemd/networks",
            "/etc/systemd/journald.confx",
            "/usr/lib/systemd/system/a.service",
            "/usr/bin/sshd",
        ] {
            assert!(reads(path), "{path}");
        }
        for path in [
            "/etc",
            "/etc/hello.conf",
            "/etc/fstab.bak",
            "/etc/fstabs",
            "/etc/default/ssh",
            "/etc/ssh/sshd_config",
            "/etc/systemd-x",
            "/etc/systemd/journald.conf",
            "/etc/systemd/journald.conf.d",
            "/etc/systemd/journald.conf.d/x.conf",
            "/etc/systemd/network",
            "/etc/systemd/network/x.network",
            "/etc/systemd/user/x.service",
            "/usrx",
        ] {
            assert!(!reads(path), "{path}");
        }
    }

    #[test]
    fn generators_of_others_are_found_and_masked_ones_are_none() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        assert_eq!(foreign_generators(root), BTreeSet::new());
        let put = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put(
            "usr/lib/systemd/system-generators/systemd-fstab-generator",
            "x",
        );
        put("usr/lib/systemd/system-generators/masked", "x");
        put("usr/lib/systemd/system-generators/emptied", "x");
        put("usr/lib/systemd/system-generators/other", "x");
        put("etc/systemd/system-generators/emptied", "");
        symlink(
            "/dev/null",
            root.join("etc/systemd/system-generators/masked"),
        )
        .unwrap();
        // One of systemd's name that is not systemd's, and a link to what is not there: a generator of another root.
        put(
            "usr/local/lib/systemd/system-generators/systemd-sysv-generator",
            "x",
        );
        put(
            "usr/lib/systemd/system-generators/systemd-sysv-generator",
            "x",
        );
        put("usr/lib/systemd/system-environment-generators/10-x", "x");
        let found: Vec<String> = foreign_generators(root).into_iter().collect();
        assert_eq!(found, ["10-x", "other", "systemd-sysv-generator"]);
    }
}
