//! Other people's programs that judge our formats, from newer Debians, each in a folder of its own:
//! Debian 12 has none of them.

use crate::programs::target_folder;
use crate::{Result, show, talk};
use elea_testkit::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder with programs.
struct Judge {
    /// The package that is asked for.
    package: &'static str,
    /// The folder's name.
    folder: &'static str,
    /// The program that must be there.
    program: &'static str,
    suite: &'static str,
    /// What mmdebstrap is told.
    options: &'static [&'static str],
}

/// The judges of our signatures, of layers that come in part and of settings for sshd (which would start
/// on this machine if it were installed here): a Debian 13 to change one's root into.
const DEBIAN: Judge = Judge {
    package: "cosign, podman and sshd",
    folder: "debian-13",
    program: "usr/sbin/sshd",
    suite: "trixie",
    options: &[
        "--variant=apt",
        "--include=cosign,podman,openssh-server,ca-certificates",
    ],
};

/// The reference writer of images, which no stable Debian has: files alone, run with their own
/// libraries. Mirrors may be some days behind, so the age of their list is not held against them.
const COMPOSEFS: Judge = Judge {
    package: "composefs",
    folder: "composefs-root",
    program: "usr/bin/mkcomposefs",
    suite: "forky",
    options: &[
        "--variant=extract",
        "--include=composefs",
        "--aptopt=Acquire::Check-Valid-Until \"false\"",
    ],
};

/// The folders that can be had, each with the variable by which the tests find it.
pub(crate) fn roots() -> Result<Vec<(&'static str, PathBuf)>> {
    let mut found = Vec::new();
    for (variable, judge) in [
        ("ELEA_DEBIAN_13", DEBIAN),
        ("ELEA_COMPOSEFS_ROOT", COMPOSEFS),
    ] {
        found.extend(judge.root()?.map(|root| (variable, root)));
    }
    Ok(found)
}

/// The newer Debian alone, for measurements.
pub(crate) fn debian() -> Result<Option<PathBuf>> {
    DEBIAN.root()
}

impl Judge {
    /// Makes the folder unless it is there; `None` with a note where it cannot be fetched.
    fn root(&self) -> Result<Option<PathBuf>> {
        let folder = target_folder().join(self.folder);
        if folder.join(self.program).is_file() {
            return Ok(Some(folder));
        }
        talk::headline(&format!("{}, from Debian's {}", self.package, self.suite));
        let new = folder.with_extension("new");
        let fail = |e: std::io::Error| Error::other(format!("{}: {e}", new.display()));
        if new.exists() {
            fs::remove_dir_all(&new).map_err(fail)?;
        }
        let mut command = Command::new("mmdebstrap");
        command
            .arg("--quiet")
            .args(self.options)
            .arg(self.suite)
            .arg(&new)
            .args(mirror());
        if let Err(e) = show(&mut command) {
            talk::note(&format!("no {} to be had: {e}", self.package));
            return Ok(None);
        }
        // One of before, without the program.
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(fail)?;
        }
        fs::rename(&new, &folder).map_err(fail)?;
        Ok(Some(folder))
    }
}

/// The machine's own mirror of Debian; none if its sources name none.
fn mirror() -> Option<String> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let more = fs::read_dir("/etc/apt/sources.list.d");
    let more = more.into_iter().flatten().flatten();
    files.extend(more.map(|entry| entry.path()));
    files.iter().find_map(|file| find(file))
}

fn find(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    lines
        .flat_map(str::split_whitespace)
        .map(|word| word.trim_end_matches('/'))
        .find(|word| word.contains("://") && word.ends_with("/debian"))
        .map(str::to_owned)
}
