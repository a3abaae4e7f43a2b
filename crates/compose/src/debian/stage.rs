//! More packages in a tree, by apt and dpkg, without network.

use crate::lock::{Error, Package};
use crate::program::{self, Clock};
use elea_sys::At as _;
use elea_sys::progress::{Progress, Unit};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

/// apt works on the tree, and keeps what it needs for itself outside of it.
const CONFIGURATION: &str = r#"Dir "/mnt/tree/";
Dir::State::status "/mnt/tree/var/lib/dpkg/status";
Dir::State::lists "/tmp/lists/";
Dir::Log "/tmp/log/";
Dir::Etc "/mnt/apt/etc/";
Dir::Bin::dpkg "/usr/bin/dpkg";
DPkg::Chroot-Directory "/mnt/tree";
DPkg::Options { "--force-unsafe-io"; };
APT::Sandbox::User "root";
APT::Install-Recommends "false";
APT::Get::Assume-Yes "true";
APT::Keep-Downloaded-Packages "false";
Acquire::Languages "none";
"#;

/// What the programs of packages find in the tree, and that no service is to start
/// (`/usr/sbin/policy-rc.d` of invoke-rc.d(8)). Files are written without waiting for the disk, since they are temporary.
const PREPARE: &str = r"mount --rbind /proc /mnt/tree/proc
mount -t tmpfs -o mode=755 tmpfs /mnt/tree/dev
for name in full null random urandom zero; do
  touch /mnt/tree/dev/$name
  mount --bind /dev/$name /mnt/tree/dev/$name
done
ln -s /proc/self/fd /mnt/tree/dev/fd
printf '#!/bin/sh\nexit 101\n' > /mnt/tree/usr/sbin/policy-rc.d
chmod 755 /mnt/tree/usr/sbin/policy-rc.d
mkdir -p /mnt/tree/var/cache/apt/archives/partial /tmp/lists/partial /tmp/log
";
/// apt reads the archive, and installs what stands behind.
const INSTALL: &str =
    "apt-get -q --error-on=any update && exec apt-get -q --no-remove install -- \"$@\"";

/// Installs packages in the tree that is `tree` in `work`, from a [`repository`](super::bootstrap::repository) of them
/// that is `packages` there; their programs are told the time by `clock`.
pub(crate) fn install(
    work: &Path,
    packages: &[&Package],
    clock: Clock,
    log: &Path,
    progress: &dyn Progress,
) -> Result<(), Error> {
    progress.start("add packages", None, Unit::Items);
    for name in ["etc/apt.conf.d", "etc/preferences.d"] {
        let path = work.join("apt").join(name);
        fs::create_dir_all(&path).at("make the folder", &path)?;
    }
    for (name, text) in [
        ("apt.conf", CONFIGURATION),
        (
            "etc/sources.list",
            "deb [trusted=yes] copy:/mnt/packages ./\n",
        ),
    ] {
        let path = work.join("apt").join(name);
        fs::write(&path, text).at("write", &path)?;
    }
    let exact: Vec<String> = packages
        .iter()
        .map(|package| format!("{}={}", package.name, package.version))
        .collect();
    let begin = [
        "env",
        "APT_CONFIG=/mnt/apt/apt.conf",
        "sh",
        "-c",
        INSTALL,
        "sh",
    ];
    let all = begin.into_iter().chain(exact.iter().map(String::as_str));
    let all: Vec<&OsStr> = all.map(OsStr::new).collect();
    let command = program::Sandbox {
        work,
        prepare: PREPARE,
        clock,
    }
    .command(&all);
    program::run(command, "apt", log, progress)?;
    let policy = work.join("tree/usr/sbin/policy-rc.d");
    Ok(fs::remove_file(&policy).at("remove", &policy)?)
}
