//! The machine's edits of `/etc`: `elea etc diff`, `elea etc adopt`, `elea etc reset`.

use crate::error::Error;
use crate::machine::Machine;
use elea_etc::{Change, Edit, Local, Report, Sides};
use elea_formats::booted::Etc;
use elea_formats::state::{State, is_in};
use elea_sys::At as _;
use elea_sys::root::Root;
use serde::Serialize;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The value of `schema`.
pub const SCHEMA: &str = "elea.etc-diff/1";
/// The value of `schema` of a reset.
pub const RESET_SCHEMA: &str = "elea.etc-reset/1";
/// The largest report that is read.
const MAX_REPORT: u64 = 16 << 20;

/// The edits.
#[derive(Debug, Clone, Serialize)]
pub struct EtcDiff {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The generation whose `/etc` it is.
    pub number: u64,
    /// What a person changed.
    pub edits: Vec<Edit>,
    /// What is the machine's identity, and no edit of a person's.
    pub machine: Vec<Edit>,
    /// What was carried, merged and kept when the generation first ran.
    pub report: Option<Report>,
}

/// What was reset.
#[derive(Debug, Clone, Serialize)]
pub struct Reset {
    /// [`RESET_SCHEMA`].
    pub schema: &'static str,
    /// The paths below `/etc` that are the image's again.
    pub paths: Vec<String>,
    /// Whether it was only asked what would be done.
    pub dry_run: bool,
}

/// The two layers of the running `/etc`.
fn layers(machine: &Machine) -> Result<(u64, PathBuf, PathBuf), Error> {
    let number = machine.etc_number().ok_or(Error::NotBooted)?;
    let (upper, lower) = crate::live::etc_layers(machine, number)?;
    Ok((number, upper, lower))
}

/// The edits of the running generation.
pub fn diff(machine: &Machine) -> Result<EtcDiff, Error> {
    let (number, upper, lower) = layers(machine)?;
    let sides = Sides {
        upper: &upper,
        lower: &lower,
    };
    let mut all = elea_etc::edits(&sides)?;
    if machine.booted().is_some_and(|b| b.etc == Etc::Ephemeral)
        && let Ok(list) = crate::state::declared(machine)
    {
        all = not_kept(all, &list);
    }
    let (own, edits) = all.into_iter().partition(|edit| edit.machine);
    Ok(EtcDiff {
        schema: SCHEMA,
        number,
        edits,
        machine: own,
        report: report(&machine.generation(number)),
    })
}

/// The edits of the running generation at or below these paths (all, if there are none), with what stands there. Files
/// are read up to `largest` bytes.
pub fn locals(machine: &Machine, paths: &[String], largest: u64) -> Result<Vec<Local>, Error> {
    let diff = diff(machine)?;
    let chosen: Vec<Edit> = if paths.is_empty() {
        diff.edits
    } else {
        // Who names the machine's own files is told why they are not taken.
        let mut all = diff.edits;
        all.extend(diff.machine);
        let mut chosen = Vec::new();
        for path in paths {
            let found = below(&all, path);
            if found.is_empty() {
                return Err(Error::NoEdit(wanted(path).to_owned()));
            }
            chosen.extend(found.into_iter().cloned());
        }
        chosen.sort_by(|a, b| a.path.cmp(&b.path));
        chosen.dedup();
        chosen
    };
    let etc = Root::open(Path::new("/etc"))?;
    Ok(elea_etc::locals(&etc, &chosen, largest)?)
}

/// The edits without the places at which the initrd shows what is kept, and the folders that it made for them.
fn not_kept(edits: Vec<Edit>, list: &State) -> Vec<Edit> {
    let ours = |edit: &Edit| {
        let path = format!("/etc/{}", elea_etc::text(&edit.path));
        let mut keep = list.keep.iter().map(|one| one.path.as_str());
        keep.any(|kept| is_in(&path, kept) || edit.change == Change::Added && is_in(kept, &path))
    };
    edits.into_iter().filter(|edit| !ours(edit)).collect()
}

/// What the initrd reported when a generation first ran.
pub(crate) fn report(generation: &Path) -> Option<Report> {
    let path = generation.join("etc/report.json");
    if fs::metadata(&path).ok()?.len() > MAX_REPORT {
        return None;
    }
    serde_json::from_slice(&fs::read(&path).ok()?).ok()
}

/// Makes entries of `/etc` the image's again, in the running system. A path is relative to
/// `/etc` or begins with it; of a folder, everything below goes back.
pub fn reset(machine: &Machine, paths: &[String], dry_run: bool) -> Result<Reset, Error> {
    let (_, _, lower) = layers(machine)?;
    let edits = diff(machine)?.edits;
    let mut done = Vec::new();
    for path in paths {
        let found = below(&edits, path);
        if found.is_empty() {
            return Err(Error::NoEdit(wanted(path).to_owned()));
        }
        // Entries of a folder before the folder itself.
        for edit in found.into_iter().rev() {
            let shown = String::from_utf8_lossy(&edit.path).into_owned();
            if done.contains(&shown) {
                continue;
            }
            if !dry_run {
                reset_one(edit, &lower)?;
            }
            done.push(shown);
        }
    }
    done.reverse();
    Ok(Reset {
        schema: RESET_SCHEMA,
        paths: done,
        dry_run,
    })
}

/// A path as edits have it.
fn wanted(path: &str) -> &str {
    path.strip_prefix("/etc").unwrap_or(path).trim_matches('/')
}

/// The edits at a path and below it.
fn below<'a>(edits: &'a [Edit], path: &str) -> Vec<&'a Edit> {
    let wanted = wanted(path);
    let below = |edit: &&Edit| {
        let rest = edit.path.strip_prefix(wanted.as_bytes());
        rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/' || wanted.is_empty())
    };
    edits.iter().filter(below).collect()
}

/// Through the running `/etc`: nobody writes into an upper that is mounted. A copy that equals
/// the image's is no edit any more.
fn reset_one(edit: &Edit, lower: &Path) -> Result<(), Error> {
    let relative = Path::new(OsStr::from_bytes(&edit.path));
    let image = lower.join(relative);
    // Links on the way must not lead out of /etc.
    let root = Root::open(Path::new("/etc"))?;
    let (_held, parent) = root.folder(relative.parent().unwrap_or(Path::new("")))?;
    let name = relative.file_name().unwrap_or_default();
    let here = parent.join(name);
    let is_folder = |path: &Path| fs::symlink_metadata(path).is_ok_and(|m| m.is_dir());
    if edit.change == Change::Modified && is_folder(&image) {
        let like = fs::metadata(&image).at("look at", &image)?;
        chown(&here, Some(like.uid()), Some(like.gid())).at("own", &here)?;
        return Ok(fs::set_permissions(&here, like.permissions()).at("set", &here)?);
    }
    let mut temporary = std::ffi::OsString::from(".elea-reset-");
    temporary.push(name);
    let temporary = parent.join(temporary);
    if edit.change != Change::Added {
        copy(&image, &temporary)?;
    }
    if is_folder(&here) {
        fs::remove_dir(&here).at("remove", &here)?;
    }
    if edit.change == Change::Added {
        match fs::remove_file(&here) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => Ok(removed.at("remove", &here)?),
        }
    } else {
        Ok(fs::rename(&temporary, &here).at("rename", &temporary)?)
    }
}

/// `cp` keeps owners, modes, links, times and attributes.
fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    let output = Command::new("cp")
        .args(["--archive", "--no-target-directory", "--"])
        .args([from, to])
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .at("run", "cp")?;
    if output.status.success() {
        return Ok(());
    }
    let said: String = String::from_utf8_lossy(&output.stderr)
        .chars()
        .take(4096)
        .collect();
    Err(Error::Program {
        program: "cp",
        said: said.trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_no_edit() {
        let keep = |path: &str| {
            format!(r#"{{"path":"{path}","kind":"file","mode":"0644","uid":0,"gid":0}}"#)
        };
        let text = format!(
            r#"{{"schema":"elea.state/1","mode":"ephemeral","keep":[{},{}]}}"#,
            keep("/etc/a.conf"),
            keep("/etc/new/b.conf")
        );
        let list = State::parse(text.as_bytes()).unwrap();
        let edit = |path: &str, change| Edit {
            path: path.into(),
            change,
            machine: false,
        };
        let edits = vec![
            edit("a.conf", Change::Modified),
            edit("a.conf.d", Change::Added),
            edit("new", Change::Added),
            edit("new/b.conf", Change::Added),
            edit("new/c.conf", Change::Added),
        ];
        let left = not_kept(edits, &list);
        let left: Vec<&[u8]> = left.iter().map(|edit| &edit.path[..]).collect();
        assert_eq!(left, [&b"a.conf.d"[..], b"new/c.conf"]);
        // A folder of the image's whose mode was changed is an edit, whatever is in it.
        let changed = vec![edit("new", Change::Modified)];
        assert_eq!(not_kept(changed, &list).len(), 1);
    }
}
