//! mmdebstrap alone, on the packages of a lock.

use super::measure::{Used, script};
use crate::Result;
use crate::works::{Release, Works};
use elea_testkit::{Error, run};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's kernels depend on a tool that makes initrds; this one makes none.
const NO_INITRD: &str = "\
Package: no-initrd
Version: 1
Architecture: all
Maintainer: Elea <elea@localhost>
Provides: linux-initramfs-tool
Description: stands for a tool that makes initrds
";

/// The packages of a release's lock, as an archive that apt reads.
#[derive(Debug)]
pub(super) struct Archive {
    folder: PathBuf,
    include: String,
}

impl Archive {
    /// Lays links to the kept packages into a new folder, with an index.
    pub(super) fn of(works: &Works, release: Release) -> Result<Self> {
        let folder = works.folder.join("archive");
        let fail = |e| Error::other(format!("cannot write {}: {e}", folder.display()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("no-initrd/DEBIAN")).map_err(fail)?;
        fs::write(folder.join("no-initrd/DEBIAN/control"), NO_INITRD).map_err(fail)?;
        let made = folder.join("no-initrd.deb");
        run(Command::new("dpkg-deb")
            .args(["--root-owner-group", "--build"])
            .arg(folder.join("no-initrd"))
            .arg(&made))?;
        let mut include = "--include=no-initrd".to_owned();
        let mut index = describe(&made)?;
        let lock = works.folder.join(format!("hello-{}.lock", release.tag()));
        let text = fs::read_to_string(&lock)
            .map_err(|e| Error::other(format!("cannot read {}: {e}", lock.display())))?;
        for line in text.lines().filter(|line| line.starts_with("  { name = ")) {
            let field = |key: &str| {
                let (_, rest) = line.split_once(&format!("{key} = \""))?;
                Some(rest.split_once('"')?.0)
            };
            let (Some(name), Some(version), Some(sha256)) =
                (field("name"), field("version"), field("sha256"))
            else {
                continue;
            };
            let kept = works.folder.join(format!("cache/packages/{sha256}.deb"));
            let link = folder.join(format!("{sha256}.deb"));
            fs::hard_link(&kept, &link)
                .map_err(|e| Error::other(format!("cannot link {}: {e}", kept.display())))?;
            index.push_str(&describe(&link)?);
            // Writing to a string does not fail.
            let _ = write!(include, ",{name}={version}");
        }
        fs::write(folder.join("Packages"), index).map_err(fail)?;
        Ok(Self { folder, include })
    }

    /// Makes a system of them; the folder is removed again, off the clock.
    pub(super) fn install(&self) -> Result<Used> {
        let target = self.folder.join("system");
        let from = format!("deb [trusted=yes] copy:{} ./", self.folder.display());
        let used = script(
            "exec mmdebstrap --quiet --variant=essential --mode=root --format=directory --aptopt='APT::Sandbox::User \"root\"' \"$1\" '' \"$2\" \"$3\"",
            &[
                OsStr::new(&self.include),
                target.as_os_str(),
                OsStr::new(&from),
            ],
        );
        let _ = fs::remove_dir_all(&target);
        used
    }
}

fn describe(package: &Path) -> Result<String> {
    let control = run(Command::new("dpkg-deb").arg("--field").arg(package))?;
    let sum = run(Command::new("sha256sum").arg(package))?;
    let sum = sum.split_whitespace().next().unwrap_or_default();
    let name = package.file_name().unwrap_or_default().to_string_lossy();
    let size = super::build::length(package)?;
    Ok(format!(
        "{}\nFilename: ./{name}\nSize: {size}\nSHA256: {sum}\n\n",
        control.trim_end()
    ))
}
