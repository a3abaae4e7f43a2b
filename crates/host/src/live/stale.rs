//! Processes that go on with files of the `/usr` that was.
//!
//! A file that is open or mapped stays what it was, whatever is mounted over it: a library that was replaced is the old
//! one in every program that runs, until that starts anew.

use serde::Serialize;
use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The largest list of what a process maps that is read, in bytes; what comes after is not looked at.
const MAX_MAPS: u64 = 8 << 20;
/// The most processes that are told of.
const MAX_FOUND: usize = 1000;

/// A process with an old file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Stale {
    /// The unit that it is of; of a person's session the scope.
    pub unit: Option<String>,
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// The first of its old files.
    pub file: String,
}

/// The processes that map one of the files as it was before, in the order of their units. A path may name another file
/// now, or none. Processes that see another root, as those of containers do, are left out.
pub(super) fn stale(replaced: &BTreeSet<String>) -> Vec<Stale> {
    let own = identity(fs::metadata("/proc/1/root/"));
    let folders = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = folders.filter_map(|folder| folder.file_name().to_str()?.parse().ok());
    // Whoever asks ends soon.
    let pids = pids.filter(|pid| *pid != std::process::id());
    let ours = pids.filter(|pid| identity(fs::metadata(format!("/proc/{pid}/root/"))) == own);
    let mut found: Vec<Stale> = ours
        .filter_map(|pid| look(pid, replaced))
        .take(MAX_FOUND)
        .collect();
    found.sort();
    found
}

fn identity(metadata: std::io::Result<Metadata>) -> Option<(u64, u64)> {
    metadata
        .ok()
        .map(|metadata| (metadata.dev(), metadata.ino()))
}

fn look(pid: u32, replaced: &BTreeSet<String>) -> Option<Stale> {
    let folder = PathBuf::from(format!("/proc/{pid}"));
    let mut maps = Vec::new();
    let file = fs::File::open(folder.join("maps")).ok()?;
    // A process that ends meanwhile says nothing more.
    let _ = file.take(MAX_MAPS).read_to_end(&mut maps);
    let maps = String::from_utf8_lossy(&maps);
    let mut seen = BTreeSet::new();
    let file = maps.lines().filter_map(mapping).find_map(|(range, path)| {
        let path = known(path, replaced).filter(|path| !seen.contains(path))?;
        // A range that is another one meanwhile says nothing; there are more.
        let mapped = identity(fs::metadata(folder.join("map_files").join(range)))?;
        seen.insert(path.clone());
        (Some(mapped) != identity(fs::metadata(&path))).then_some(path)
    })?;
    let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
    Some(Stale {
        unit: unit(&text("cgroup")),
        pid,
        name: text("comm").trim().to_owned(),
        file,
    })
}

/// The range of addresses, as `map_files` names it, and the path of a line of `maps` (`proc_pid_maps(5)`).
fn mapping(line: &str) -> Option<(String, &str)> {
    let path = &line[line.find('/')?..];
    let range = line.split(' ').next()?;
    let (from, to) = range.split_once('-')?;
    let short = |number: &str| {
        let number = number.trim_start_matches('0');
        if number.is_empty() {
            "0".to_owned()
        } else {
            number.to_owned()
        }
    };
    Some((format!("{}-{}", short(from), short(to)), path))
}

/// The replaced file that a path of `maps` names: what is not mounted any more is called without its `/usr`.
fn known(path: &str, replaced: &BTreeSet<String>) -> Option<String> {
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let whole = format!("/usr{path}");
    [path, &whole]
        .into_iter()
        .find(|path| replaced.contains(*path))
        .map(str::to_owned)
}

/// The innermost unit of a control group.
fn unit(cgroup: &str) -> Option<String> {
    let path = Path::new(cgroup.lines().find_map(|line| line.strip_prefix("0::"))?);
    let parts = path.iter().rev().filter_map(|part| part.to_str());
    let mut units = parts.filter(|part| part.ends_with(".service") || part.ends_with(".scope"));
    units.next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps_are_read() {
        let line = "00400000-0040b000 r-xp 00000000 08:01 1234       /usr/bin/a b (deleted)";
        assert_eq!(
            mapping(line),
            Some(("400000-40b000".into(), "/usr/bin/a b (deleted)"))
        );
        assert_eq!(mapping("7ffc-7ffd rw-p 00000000 00:00 0   [stack]"), None);
        let replaced: BTreeSet<String> = ["/usr/bin/a b".into(), "/usr/lib/x.so".into()].into();
        assert_eq!(
            known("/usr/bin/a b (deleted)", &replaced).unwrap(),
            "/usr/bin/a b"
        );
        assert_eq!(known("/lib/x.so", &replaced).unwrap(), "/usr/lib/x.so");
        assert_eq!(known("/usr/lib/y.so", &replaced), None);
        let unit = |text| unit(text).unwrap();
        assert_eq!(
            unit("1:x:/other.service\n0::/system.slice/a.service/sub\n"),
            "a.service"
        );
        assert_eq!(
            unit("0::/user.slice/user-0.slice/session-3.scope\n"),
            "session-3.scope"
        );
    }

    #[test]
    fn a_program_whose_file_was_replaced_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("sleep-of-test");
        let sleep = fs::canonicalize("/bin/sleep").unwrap();
        fs::copy(&sleep, &program).unwrap();
        let mut child = std::process::Command::new(&program)
            .arg("1000")
            .spawn()
            .unwrap();
        // It has all that it maps once it sleeps.
        let state = |pid| {
            let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let (_, rest) = text.rsplit_once(") ").unwrap();
            rest.starts_with('S')
        };
        while !state(child.id()) {
            std::thread::yield_now();
        }
        let replaced: BTreeSet<String> = [program.to_string_lossy().into_owned()].into();
        let found = |pid| look(pid, &replaced).map(|stale| (stale.pid, stale.file));
        let before = found(child.id());
        fs::copy(&sleep, dir.path().join("other")).unwrap();
        fs::rename(dir.path().join("other"), &program).unwrap();
        let after = found(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(before, None);
        assert_eq!(
            after,
            Some((child.id(), program.to_string_lossy().into_owned()))
        );
    }
}
