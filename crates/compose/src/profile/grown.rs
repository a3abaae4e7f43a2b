//! The tree of an older profile, for one that has more packages.
//!
//! A lock says in which stages its packages are installed. A profile whose stages are the first ones of another begins
//! that one: a copy of its tree becomes what would have come of installing them anew.

use crate::lock::{Error, Lock};
use elea_formats::digest::Sha256;
use elea_sys::At as _;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use serde::Deserialize;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

/// The record of a profile is never larger, in bytes.
const LIMIT: u64 = 64 << 20;

/// What a tree is after each stage of a lock.
pub(super) fn stages(lock: &Lock, version: u32) -> Vec<Sha256> {
    let mut before = Sha256::of(version.to_string().as_bytes());
    let stages = lock.staged();
    let each = stages.iter().map(|stage| {
        let files = stage.packages.iter();
        let files = files.map(|p| (&p.name, &p.version, p.sha256.to_string()));
        let all = serde_json::json!({
            "before": before.to_string(),
            "epoch": stage.epoch,
            "packages": files.collect::<Vec<_>>(),
        });
        before = Sha256::of(all.to_string().as_bytes());
        before
    });
    each.collect()
}

/// `profile.json`, as far as it matters here.
#[derive(Deserialize)]
struct Record {
    /// Older ones have none.
    #[serde(default)]
    stages: Vec<Sha256>,
}

/// The tree of the profile in a folder of them that has the most of these stages, and no other one; and how many.
pub(super) fn longest(profiles: &Path, stages: &[Sha256]) -> Option<(PathBuf, usize)> {
    let entries = fs::read_dir(profiles).into_iter().flatten().flatten();
    let found = entries.filter_map(|entry| {
        let profile = entry.path();
        let mut bytes = Vec::new();
        let file = File::open(profile.join("profile.json")).ok()?;
        file.take(LIMIT).read_to_end(&mut bytes).ok()?;
        let record: Record = serde_json::from_slice(&bytes).ok()?;
        let is_begin = !record.stages.is_empty() && stages.starts_with(&record.stages);
        is_begin.then(|| (profile.join("tree"), record.stages.len()))
    });
    found.max_by_key(|(_, count)| *count)
}

/// Copies a tree to a new folder: nothing that is written there reaches the files of the old one. Where the file system
/// can, they share what they hold.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    folder(from, to, &mut HashMap::new())
}

fn folder(from: &Path, to: &Path, seen: &mut HashMap<(u64, u64), PathBuf>) -> Result<(), Error> {
    fs::create_dir(to).at("make the folder", to)?;
    for entry in fs::read_dir(from).at("list", from)? {
        let entry = entry.at("list", from)?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let status = entry.metadata().at("look at", &from)?;
        if status.is_dir() {
            folder(&from, &to, seen)?;
        } else if status.is_symlink() {
            let target = fs::read_link(&from).at("read the link", &from)?;
            symlink(target, &to).at("make a link at", &to)?;
            take_times(&status, &to)?;
        } else if status.is_file() {
            let file = (status.dev(), status.ino());
            // Its other names may be those of other profiles.
            if let Some(first) = seen.get(&file).filter(|_| status.nlink() > 1) {
                fs::hard_link(first, &to).at("make another name of", first)?;
                continue;
            }
            fs::copy(&from, &to).at("copy", &from)?;
            // What is written loses the bit that sets the user.
            fs::set_permissions(&to, status.permissions()).at("set the mode of", &to)?;
            take_times(&status, &to)?;
            if status.nlink() > 1 {
                seen.insert(file, to);
            }
        }
    }
    let status = fs::metadata(from).at("look at", from)?;
    fs::set_permissions(to, status.permissions()).at("set the mode of", to)?;
    take_times(&status, to)
}

fn take_times(status: &fs::Metadata, to: &Path) -> Result<(), Error> {
    let time = Timespec {
        tv_sec: status.mtime(),
        tv_nsec: status.mtime_nsec(),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    Ok(rustix::fs::utimensat(CWD, to, &times, flags).at("set the time of", to)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::stages_for_tests::lock;

    #[test]
    fn the_longest_begin_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let first = lock("b d", 1, None);
        let second = lock("a b d", 2, Some(&first));
        let third = lock("a b c d", 3, Some(&second));
        let all = stages(&third, 1);
        assert_eq!(all.len(), 3);
        assert_eq!(stages(&first, 1), all[..1]);
        assert_eq!(longest(folder.path(), &all), None);
        let put = |name: &str, stages: &[Sha256]| {
            let profile = folder.path().join(name);
            fs::create_dir(&profile).unwrap();
            let record = serde_json::json!({ "stages": stages });
            fs::write(profile.join("profile.json"), record.to_string()).unwrap();
            profile.join("tree")
        };
        put("old", &[]);
        put("other", &stages(&third, 2));
        let one = put("one", &all[..1]);
        assert_eq!(longest(folder.path(), &all), Some((one, 1)));
        let two = put("two", &all[..2]);
        assert_eq!(longest(folder.path(), &all), Some((two, 2)));
        // One that has more than is wanted is no begin of it.
        assert_eq!(longest(folder.path(), &all[..1]).unwrap().1, 1);
    }

    #[test]
    fn a_copy_has_what_the_tree_has_and_shares_no_file() {
        let place = tempfile::tempdir().unwrap();
        let (old, new) = (place.path().join("old"), place.path().join("new"));
        fs::create_dir_all(old.join("a/b")).unwrap();
        fs::write(old.join("a/x"), "x").unwrap();
        fs::hard_link(old.join("a/x"), old.join("a/b/y")).unwrap();
        fs::hard_link(old.join("a/x"), place.path().join("elsewhere")).unwrap();
        symlink("b/y", old.join("a/link")).unwrap();
        copy(&old, &new).unwrap();
        let list = |folder: &Path| {
            let script = "cd \"$1\" && find . -printf '%P %M %T@ %l\\n' | sort";
            let mut find = std::process::Command::new("sh");
            let out = find.args(["-c", script, "sh"]).arg(folder).output();
            String::from_utf8(out.unwrap().stdout).unwrap()
        };
        assert_eq!(list(&old), list(&new));
        fs::write(new.join("a/b/y"), "changed").unwrap();
        assert_eq!(fs::read_to_string(new.join("a/x")).unwrap(), "changed");
        assert_eq!(fs::read_to_string(old.join("a/x")).unwrap(), "x");
    }
}
