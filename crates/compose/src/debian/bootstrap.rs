//! A tree from packages, by mmdebstrap, apt and dpkg, without network.

use super::cache::{Cache, stop_if_asked};
use super::{control, deb};
use crate::lock::{Error, Package};
use crate::program::{self, Clock, Tools};
use elea_formats::digest::Sha256;
use elea_sys::At as _;
use elea_sys::progress::{Progress, Unit};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// A package of ours that holds nothing: kernels depend on a tool that makes initrds, and here
/// that is Elea itself, outside the tree.
pub(crate) const BOOT_PACKAGE: &str = "elea-boot";

pub(crate) const BOOT_CONTROL: &str = "\
Package: elea-boot
Version: 1
Architecture: all
Maintainer: Elea <elea@localhost>
Provides: linux-initramfs-tool
Section: kernel
Priority: optional
Description: the initrd of this system is made by Elea
 It is made when the image is built, and is part of the image.
";

/// Makes a folder that apt takes as an archive: the packages, [`BOOT_PACKAGE`] and an index. Gives the bytes that the
/// packages take, packed and installed.
pub(crate) fn repository(
    folder: &Path,
    packages: &[&Package],
    cache: &Cache,
    tools: &Tools,
    log: &Path,
    progress: &dyn Progress,
) -> Result<u64, Error> {
    fs::create_dir(folder).at("make the folder", folder)?;
    let mut index = String::new();
    let mut room = 0_u64;
    for package in packages {
        stop_if_asked(progress)?;
        let name = format!("{}.deb", package.sha256);
        let (from, to) = (cache.path(&package.sha256), folder.join(&name));
        if fs::hard_link(&from, &to).is_err() {
            fs::copy(&from, &to).at("copy", &from)?;
        }
        let control = deb::control(&to)?;
        let installed = control::parse(&control).first().and_then(|stanza| {
            let kilobytes: u64 = stanza.get("Installed-Size")?.parse().ok()?;
            kilobytes.checked_mul(1024)
        });
        room = room.saturating_add(package.size.saturating_add(installed.unwrap_or(0)));
        describe(&mut index, &control, &name, package.sha256, package.size);
    }
    boot_package(folder, tools, log)?;
    let name = format!("{BOOT_PACKAGE}.deb");
    let path = folder.join(&name);
    let content = fs::read(&path).at("read", &path)?;
    let digest = Sha256::of(&content);
    describe(
        &mut index,
        BOOT_CONTROL,
        &name,
        digest,
        content.len() as u64,
    );
    let path = folder.join("Packages");
    fs::write(&path, index).at("write", &path)?;
    Ok(room)
}

fn describe(index: &mut String, control: &str, name: &str, digest: Sha256, size: u64) {
    index.push_str(control.trim_end());
    let _ = write!(
        index,
        "\nFilename: ./{name}\nSize: {size}\nSHA256: {digest}\n\n"
    );
}

fn boot_package(folder: &Path, tools: &Tools, log: &Path) -> Result<(), Error> {
    let source = folder.join(BOOT_PACKAGE);
    let control = source.join("DEBIAN");
    fs::create_dir_all(&control).at("make the folder", &control)?;
    set_mode(&source, 0o755)?;
    set_mode(&control, 0o755)?;
    let file = control.join("control");
    fs::write(&file, BOOT_CONTROL).at("write", &file)?;
    set_mode(&file, 0o644)?;
    let mut command = tools.program("dpkg-deb");
    command
        .env("SOURCE_DATE_EPOCH", "0")
        .args(["--root-owner-group", "--build"])
        .arg(&source)
        .arg(folder.join(format!("{BOOT_PACKAGE}.deb")));
    program::run(command, "dpkg", log, &elea_sys::progress::Silent)?;
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode)).at("set the mode of", path)?)
}

/// Makes the tree of packages as `tree` in `work`, from a [`repository`] of them that is `packages` there; the programs
/// in it are told the time by `clock`.
pub(crate) fn tree(
    work: &Path,
    packages: &[&Package],
    clock: Clock,
    log: &Path,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let total = packages.len() as u64 + 1;
    progress.start("install packages", Some(total), Unit::Items);
    let mut include = format!("--include={BOOT_PACKAGE}=1");
    for package in packages {
        let _ = write!(include, ",{}={}", package.name, package.version);
    }
    let arguments = [
        "mmdebstrap",
        "--variant=essential",
        "--mode=root",
        "--format=directory",
        "--aptopt=APT::Sandbox::User \"root\"",
        &include,
        "",
        "/mnt/tree",
        "deb [trusted=yes] copy:/mnt/packages ./",
    ];
    let arguments: Vec<&OsStr> = arguments.into_iter().map(OsStr::new).collect();
    let command = program::Sandbox {
        work,
        prepare: PREPARE,
        clock,
    }
    .command(&arguments);
    let database = work.join("tree/var/lib/dpkg/info");
    let mut counted = 0;
    let watch = || {
        let lists = fs::read_dir(&database).into_iter().flatten().flatten();
        let now = lists
            .filter(|entry| entry.path().extension().is_some_and(|e| e == "list"))
            .count() as u64;
        progress.advance(now.min(total).saturating_sub(counted));
        counted = counted.max(now.min(total));
    };
    program::run_watched(command, "mmdebstrap", log, progress, watch)?;
    Ok(())
}

/// Lets the tree be written without waiting for the disk where overlays can do that, unless it is in memory: packages are
/// synced one by one otherwise, which takes most of the time, and the tree is temporary.
const PREPARE: &str = "\
if ! mountpoint -q /mnt/tree; then
  mkdir -p -m 0755 /mnt/tree /mnt/overlay/lower /mnt/overlay/work
  mount -t overlay -o volatile,redirect_dir=off,metacopy=off,index=off,lowerdir=/mnt/overlay/lower,upperdir=/mnt/tree,workdir=/mnt/overlay/work elea /mnt/tree || true
fi
";
