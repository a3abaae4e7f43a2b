//! More packages in a tree, by apt and dpkg, without network.

use crate::lock::{Error, Package};
use crate::program;
use elea_sys::At as _;
use elea_sys::progress::{Progress, Unit};
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

/// apt works on the tree, and keeps what it needs for itself outside of it.
const CONFIGURATION: &str = r#"Dir "/mnt/tree/";
Dir::State::status "/mnt/tree/var/lib/dpkg/status";
Dir::State::lists "/mnt/apt/lists/";
Dir::Log "/mnt/apt/log/";
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
const PREPARE: &str = r"mount -t proc proc /mnt/tree/proc
mount -t tmpfs -o mode=755 tmpfs /mnt/tree/dev
for name in full null random tty urandom zero; do
  touch /mnt/tree/dev/$name
  mount --bind /dev/$name /mnt/tree/dev/$name
done
ln -s /proc/self/fd /mnt/tree/dev/fd
printf '#!/bin/sh\nexit 101\n' > /mnt/tree/usr/sbin/policy-rc.d
chmod 755 /mnt/tree/usr/sbin/policy-rc.d
mkdir -p /mnt/tree/var/cache/apt/archives/partial
";

/// Installs packages in the tree that is `tree` in `work`, from a [`repository`](super::bootstrap::repository) of them
/// that is `packages` there; their programs take `time` for now.
pub(crate) fn install(
    work: &Path,
    packages: &[&Package],
    time: i64,
    log: &Path,
    progress: &dyn Progress,
) -> Result<(), Error> {
    progress.start("add packages", None, Unit::Items);
    for name in [
        "lists/partial",
        "log",
        "etc/apt.conf.d",
        "etc/preferences.d",
    ] {
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
    let apt = |arguments: &[&str]| -> Result<(), Error> {
        let begin = ["env", "APT_CONFIG=/mnt/apt/apt.conf", "apt-get", "-q"];
        let all = begin.iter().chain(arguments);
        let all: Vec<&OsStr> = all.map(OsStr::new).collect();
        let command = program::Sandbox {
            work,
            prepare: PREPARE,
            time,
        }
        .command(&all);
        program::run(command, "apt", log, progress)?;
        Ok(())
    };
    apt(&["--error-on=any", "update"])?;
    let mut install = vec!["--no-remove", "install", "--"];
    install.extend(exact.iter().map(String::as_str));
    apt(&install)?;
    let policy = work.join("tree/usr/sbin/policy-rc.d");
    Ok(fs::remove_file(&policy).at("remove", &policy)?)
}
