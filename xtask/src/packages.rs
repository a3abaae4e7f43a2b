//! The Debian packages that the tests and the demo need, installed by name.
//!
//! Every name is there in Debian 12 and 13.

use crate::{Result, show};
use std::process::Command;

/// What building, installing and running a machine need.
pub(crate) const DEMO: &[&str] = &[
    "btrfs-progs",
    "debian-archive-keyring",
    "docker-registry",
    "dosfstools",
    "e2fsprogs",
    "gcc",
    "libc6-dev",
    "mmdebstrap",
    "mtools",
    "openssh-client",
    "openssl",
    "ovmf",
    "qemu-system-x86",
    "util-linux",
    "xz-utils",
];

/// What the tests need beside it: oracles and tracers.
pub(crate) const TEST: &[&str] = &[
    "acl",
    "apache2-utils",
    "attr",
    "curl",
    "dbus-daemon",
    "dbus-session-bus-common",
    "erofs-utils",
    "fdisk",
    "fsverity",
    "fusefat",
    "gdisk",
    "groff-base",
    "kmod",
    "libcap2-bin",
    "libssl-dev",
    "libxml2-utils",
    "nftables",
    "nix-bin",
    "ostree",
    "perl",
    "pkg-config",
    "python3",
    "skopeo",
    "squashfs-tools",
    "squashfs-tools-ng",
    "strace",
    "systemd",
    "umoci",
    "xfsprogs",
];

/// What building libFuzzer needs.
pub(crate) const FUZZ: &[&str] = &["g++", "gcc", "libc6-dev"];

/// Installs the packages that are missing, naming them first.
pub(crate) fn install(lists: &[&[&str]]) -> Result<()> {
    let missing: Vec<&str> = lists
        .iter()
        .flat_map(|list| list.iter().copied())
        .filter(|name| !is_installed(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing Debian packages: {}", missing.join(" "));
    show(as_root("apt-get").args(["update", "-qq"]))?;
    show(
        as_root("apt-get")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(&missing),
    )
}

/// A program run as root, by `sudo` where we are not.
fn as_root(program: &str) -> Command {
    let root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|out| out.stdout == b"0\n");
    let mut command = Command::new(if root { "env" } else { "sudo" });
    command.args(["DEBIAN_FRONTEND=noninteractive", program]);
    command
}

fn is_installed(name: &str) -> bool {
    Command::new("dpkg-query")
        .args(["-W", "-f=${db:Status-Status}", name])
        .output()
        .is_ok_and(|out| out.stdout == b"installed")
}
