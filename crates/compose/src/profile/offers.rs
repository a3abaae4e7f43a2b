//! What a session finds of a profile: the programs, manual pages, completions and menu entries of the packages that
//! were asked for, and not of those that they need.

use crate::lock::Error;
use elea_sys::At as _;
use elea_sys::root::Root;
use rustix::fs::FileType;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

/// Where programs are.
const PROGRAMS: [&str; 6] = [
    "usr/bin",
    "usr/sbin",
    "usr/games",
    "bin",
    "sbin",
    "usr/local/bin",
];
/// What is found by `XDG_DATA_DIRS`, or beside `bin` on the path.
const SHARES: [&str; 9] = [
    "applications",
    "bash-completion",
    "fish",
    "icons",
    "info",
    "man",
    "metainfo",
    "pixmaps",
    "zsh",
];
/// dpkg's list of a package's files is never larger, in bytes.
const LIST: u64 = 64 << 20;
/// A menu entry is never larger, in bytes.
const ENTRY: u64 = 1 << 20;
/// Links of alternatives lead to links no further than so.
const LINKS: usize = 8;

/// Fills `bin` and `share` of the profile's folder. The programs, with where they are in the tree.
pub(super) fn lay_out(
    tree: &Root,
    asked: &[String],
    folder: &Path,
    elea: &Path,
) -> Result<Vec<(String, String)>, Error> {
    let files = files(tree, asked)?;
    let programs = programs(tree, &files)?;
    let bin = folder.join("bin");
    for path in [&bin, &folder.join("share"), &folder.join("root")] {
        fs::create_dir(path).at("make the folder", path)?;
    }
    for (name, path) in &programs {
        let at = bin.join(name);
        fs::write(&at, wrapper(elea, path)).at("write", &at)?;
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&at, mode).at("set the mode of", &at)?;
    }
    for file in &files {
        let Ok(below) = file.strip_prefix("usr/share") else {
            continue;
        };
        let shared = below.iter().next().is_some_and(|first| {
            SHARES.iter().any(|known| first == *known) && below.components().count() > 1
        });
        if shared && tree.exists(file) && !tree.kind(file)?.is_dir() {
            share(tree, file, below, folder, &programs)?;
        }
    }
    Ok(programs.into_iter().collect())
}

/// The paths of the packages' files, without `/` at their begin.
fn files(tree: &Root, asked: &[String]) -> Result<BTreeSet<PathBuf>, Error> {
    let info = Path::new("var/lib/dpkg/info");
    let lists = tree.list(info, 1 << 20)?;
    let mut files = BTreeSet::new();
    for name in lists {
        let Some(text) = name.to_str() else { continue };
        let Some(package) = text.strip_suffix(".list") else {
            continue;
        };
        let package = package.split(':').next().unwrap_or(package);
        if !asked.iter().any(|name| name == package) {
            continue;
        }
        let bytes = tree.read(&info.join(&name), LIST)?;
        let text = String::from_utf8_lossy(&bytes);
        let paths = text.lines().filter_map(|line| line.strip_prefix('/'));
        let plain = |path: &&str| {
            let mut parts = Path::new(*path).components();
            !path.is_empty() && parts.all(|part| matches!(part, Component::Normal(_)))
        };
        files.extend(paths.filter(plain).map(PathBuf::from));
    }
    Ok(files)
}

/// What may be run, by name. Links that alternatives made are of the package that they lead to.
fn programs(tree: &Root, files: &BTreeSet<PathBuf>) -> Result<BTreeMap<String, String>, Error> {
    let mut programs = BTreeMap::new();
    for folder in PROGRAMS {
        let folder = Path::new(folder);
        // `/bin` is a link to `usr/bin` mostly.
        if !tree.kind(folder).is_ok_and(FileType::is_dir) {
            continue;
        }
        for name in tree.list(folder, 1 << 20)? {
            let path = folder.join(&name);
            let Some(name) = name.to_str().filter(|name| is_plain(name)) else {
                continue;
            };
            let ours = files.contains(&path)
                || path
                    .strip_prefix("usr")
                    .is_ok_and(|old| files.contains(old))
                || alternative(tree, &path).is_some_and(|end| files.contains(&end));
            if ours && may_run(tree, &path) {
                let at = format!("/{}", path.display());
                programs.entry(name.to_owned()).or_insert(at);
            }
        }
    }
    Ok(programs)
}

/// A name that can stand in a script and a path.
fn is_plain(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "._+-[]@:,".contains(c);
    !name.is_empty() && !name.starts_with('-') && name.chars().all(good)
}

/// Where a link through `/etc/alternatives` ends.
fn alternative(tree: &Root, path: &Path) -> Option<PathBuf> {
    let mut at = tree.read_link(path).ok()?;
    if !at.starts_with("/etc/alternatives") {
        return None;
    }
    for _ in 0..LINKS {
        let inside = at.strip_prefix("/").ok()?.to_owned();
        match tree.read_link(&inside) {
            Ok(next) if next.is_absolute() => at = next,
            _ => return Some(inside),
        }
    }
    None
}

fn may_run(tree: &Root, path: &Path) -> bool {
    let status = tree
        .file(path)
        .and_then(|f| f.metadata().at("look at", path));
    status.is_ok_and(|status| status.is_file() && status.permissions().mode() & 0o111 != 0)
}

/// A program of the machine that runs one of the profile: the profile is known by where this file is.
fn wrapper(elea: &Path, program: &str) -> String {
    let quoted = elea.display().to_string().replace('\'', r"'\''");
    format!(
        "#!/bin/sh\nelea='{quoted}'\n[ -x \"$elea\" ] || elea=elea\n\
         exec \"$elea\" home exec --profile \"${{0%/*}}/..\" -- '{program}' \"$@\"\n"
    )
}

/// One file of `/usr/share`.
fn share(
    tree: &Root,
    file: &Path,
    below: &Path,
    folder: &Path,
    programs: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let at = folder.join("share").join(below);
    let above = at.parent().unwrap_or(folder);
    fs::create_dir_all(above).at("make the folder", above)?;
    if below.starts_with("applications") && below.extension().is_some_and(|e| e == "desktop") {
        let bytes = tree.read(file, ENTRY)?;
        let text = menu_entry(&String::from_utf8_lossy(&bytes), programs);
        fs::write(&at, text).at("write", &at)?;
        return Ok(());
    }
    // As many steps up as there are names, to the profile's folder.
    let up: PathBuf = (0..below.components().count()).map(|_| "..").collect();
    let target = up.join("tree").join(file);
    Ok(symlink(&target, &at).at("make a link at", &at)?)
}

/// A menu entry whose programs are found on the path, since the tree is no place of the machine.
fn menu_entry(text: &str, programs: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let changed = ["Exec=", "TryExec="].iter().find_map(|key| {
            let value = line.strip_prefix(key)?;
            let (program, rest) = value.split_once(' ').unwrap_or((value, ""));
            let name = Path::new(program).file_name()?.to_str()?;
            let known = program.starts_with('/') && programs.contains_key(name);
            known.then(|| {
                format!(
                    "{key}{name}{}{rest}",
                    if rest.is_empty() { "" } else { " " }
                )
            })
        });
        out.push_str(changed.as_deref().unwrap_or(line));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn menu_entries_run_what_is_on_the_path() {
        let programs = BTreeMap::from([("gvim".to_owned(), "/usr/bin/gvim".to_owned())]);
        let text = "[Desktop Entry]\nExec=/usr/bin/gvim -f %F\nTryExec=/usr/bin/gvim\n[Desktop Action x]\nExec=/opt/x/y %u\n";
        let changed = menu_entry(text, &programs);
        assert!(
            changed.contains("\nExec=gvim -f %F\nTryExec=gvim\n"),
            "{changed}"
        );
        assert!(changed.contains("Exec=/opt/x/y %u\n"), "{changed}");
    }

    #[test]
    fn programs_are_of_what_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["usr/bin", "etc/alternatives", "var/lib/dpkg/info"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        for (name, mode) in [
            ("usr/bin/asked.basic", 0o755),
            ("usr/bin/needed", 0o755),
            ("usr/bin/text", 0o644),
        ] {
            fs::write(at(name), "").unwrap();
            fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        symlink("/etc/alternatives/asked", at("usr/bin/asked")).unwrap();
        symlink("/usr/bin/asked.basic", at("etc/alternatives/asked")).unwrap();
        symlink("/../../../../../etc", at("usr/bin/out")).unwrap();
        let list = "/.\n/usr\n/usr/bin\n/usr/bin/asked.basic\n/usr/bin/text\n/usr/bin/../../x\n/usr/bin/out\n";
        fs::write(at("var/lib/dpkg/info/asked:amd64.list"), list).unwrap();
        fs::write(at("var/lib/dpkg/info/needed.list"), "/usr/bin/needed\n").unwrap();
        let tree = Root::open(dir.path()).unwrap();
        let files = files(&tree, &["asked".to_owned()]).unwrap();
        assert!(!files.contains(Path::new("usr/bin/../../x")));
        let programs = programs(&tree, &files).unwrap();
        let names: Vec<&String> = programs.keys().collect();
        assert_eq!(names, ["asked", "asked.basic"]);
        assert_eq!(programs["asked"], "/usr/bin/asked");
    }

    #[test]
    fn wrappers_quote_what_they_run() {
        let text = wrapper(Path::new("/o'x/elea"), "/usr/bin/[");
        assert!(text.contains(r"elea='/o'\''x/elea'"), "{text}");
        assert!(text.contains("'/usr/bin/[' \"$@\""), "{text}");
    }
}
