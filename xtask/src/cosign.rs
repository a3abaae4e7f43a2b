//! A Debian 13 with cosign in a folder: the judge of our signatures. Debian 12 has no cosign.

use crate::programs::target_folder;
use crate::{Result, show, talk};
use elea_testkit::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes the folder unless it is there; `None` with a note where Debian 13 cannot be fetched.
pub(crate) fn root() -> Result<Option<PathBuf>> {
    let folder = target_folder().join("cosign-root");
    if folder.join("usr/bin/cosign").is_file() {
        return Ok(Some(folder));
    }
    talk::headline("cosign, from Debian 13");
    let new = folder.with_extension("new");
    let fail = |e: std::io::Error| Error::other(format!("{}: {e}", new.display()));
    if new.exists() {
        fs::remove_dir_all(&new).map_err(fail)?;
    }
    let mut command = Command::new("mmdebstrap");
    command
        .args([
            "--quiet",
            "--variant=apt",
            "--include=cosign,ca-certificates",
        ])
        .arg("trixie")
        .arg(&new)
        .args(mirror());
    if let Err(e) = show(&mut command) {
        talk::note(&format!("no Debian 13 to be had: {e}"));
        return Ok(None);
    }
    fs::rename(&new, &folder).map_err(fail)?;
    Ok(Some(folder))
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
