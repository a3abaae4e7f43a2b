//! The config's units, as systemd reads them: `systemd-analyze verify`, where it is there.
//!
//! They are laid into a folder of their own (`--root`), so nothing depends on the units of this machine. What systemd
//! would not load is an error. What it would pass over is a warning: the image's systemd may be newer and know it.
//! Programs and units that packages bring are not in the folder; that they are missing there means nothing.

use super::verified;
use crate::config::{Config, Content, Found, quoted, starter};
use crate::program;
use crate::render::render;
use elea_formats::unit::unescape_path;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Where units of a config lie, as files that sections or `[files]` make.
const FOLDERS: [&str; 2] = ["/etc/systemd/system/", "/usr/lib/systemd/system/"];
const PROGRAM: &str = "/usr/bin/systemd-analyze";
/// Units that others wait for.
const TARGETS: [&str; 9] = [
    "basic",
    "local-fs",
    "multi-user",
    "paths",
    "shutdown",
    "sockets",
    "sysinit",
    "timers",
    "umount",
];
/// A unit is never larger, in bytes: systemd reads no longer line.
const LARGEST: u64 = 1 << 20;

/// A unit's file, or a drop-in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct File {
    /// What the config calls it.
    key: String,
    text: String,
    /// The file of the build machine that it is a copy of.
    source: Option<PathBuf>,
}

/// What systemd says of the units of a config; `kept` is where its words of before are.
pub(super) fn look(files: &BTreeMap<String, File>, kept: Option<&Path>) -> Vec<Found> {
    if files.is_empty() {
        return Vec::new();
    }
    let place = kept.and_then(|folder| {
        let texts = files.iter().map(|(path, file)| (&**path, &*file.text));
        verified::place(folder, Path::new(PROGRAM), &texts.collect())
    });
    if let Some(words) = place.as_deref().and_then(verified::read) {
        return read(files, &words);
    }
    // A machine without systemd, or without room for a few files, builds all the same.
    let Some(words) = said(files) else {
        return Vec::new();
    };
    let found = read(files, &words);
    // Before what is wrong has been corrected, nothing is written.
    if let (Some(place), true) = (place, found.iter().all(|found| !found.is_error)) {
        verified::keep(&place, &words);
    }
    found
}

/// The files of units, by their path.
pub(super) fn files(config: &Config) -> BTreeMap<String, File> {
    let rendered = render(config).files.into_iter();
    let rendered = rendered.map(|(path, made)| (path, made.file.content, made.key));
    let own = config.files.iter().map(|(path, file)| {
        let key = format!("files.{}", quoted(path));
        (path.clone(), file.content.clone(), key)
    });
    let mut files = BTreeMap::new();
    for (path, content, key) in rendered.chain(own) {
        let rest = FOLDERS.iter().find_map(|folder| path.strip_prefix(folder));
        let Some(name) = rest.and_then(|rest| rest.split('/').next()) else {
            continue;
        };
        // `x.service`, `x.service.d/50.conf`, `service.d/50.conf`; not what links in `x.wants`.
        let of = name.strip_suffix(".d").unwrap_or(name);
        let (text, source) = match content {
            Content::Text(text) => (text, None),
            Content::Copy(path) => match fs::metadata(&path) {
                Ok(found) if found.len() <= LARGEST => {
                    (fs::read_to_string(&path).unwrap_or_default(), Some(path))
                }
                _ => continue,
            },
            Content::Link(_) | Content::Folder => continue,
        };
        if is_unit(of) {
            files.insert(path, File { key, text, source });
        }
    }
    files
}

fn is_unit(name: &str) -> bool {
    starter(name).is_some() || name.ends_with(".slice")
}

/// What systemd-analyze prints; none where it cannot be run.
fn said(files: &BTreeMap<String, File>) -> Option<String> {
    let folder = tempfile::tempdir().ok()?;
    let root = folder.path();
    let lay = |path: &str, text: &str| {
        let path = root.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent()?).ok()?;
        fs::write(path, text).ok()
    };
    for target in TARGETS {
        lay(&format!("{}{target}.target", FOLDERS[1]), "[Unit]\n")?;
    }
    let mut names = BTreeSet::new();
    for (path, file) in files {
        lay(path, &file.text)?;
        names.insert(unit_of(path)?);
    }
    for name in &names {
        let is_there = FOLDERS
            .iter()
            .any(|folder| files.contains_key(&format!("{folder}{name}")));
        if !is_there {
            lay(&format!("{}{name}", FOLDERS[1]), &stand_in(name))?;
        }
    }
    let mut command = program::program(PROGRAM);
    command
        .args(["verify", "--man=no", "--root"])
        .arg(root)
        .arg("--");
    let output = command.args(&names).output().ok()?;
    let words = String::from_utf8_lossy(&output.stderr);
    Some(words.replace(&root.display().to_string(), ""))
}

/// The unit that a file is, or is laid over.
fn unit_of(path: &str) -> Option<&str> {
    let rest = FOLDERS
        .iter()
        .find_map(|folder| path.strip_prefix(folder))?;
    let name = rest.split('/').next()?;
    Some(name.strip_suffix(".d").unwrap_or(name))
}

/// A unit that a package brings, for the drop-ins of the config: one that systemd loads.
fn stand_in(name: &str) -> String {
    let (stem, kind) = name.rsplit_once('.').unwrap_or((name, ""));
    let path = unescape_path(stem).unwrap_or_default();
    let path = String::from_utf8_lossy(&path);
    match kind {
        "service" => "[Service]\nType=oneshot\nExecStart=/bin/true\n".into(),
        "socket" => "[Socket]\nListenStream=/run/x\nAccept=yes\n".into(),
        "timer" => "[Timer]\nOnCalendar=daily\n".into(),
        "path" => "[Path]\nPathExists=/\n".into(),
        "mount" => format!("[Mount]\nWhat=/dev/null\nWhere={path}\n"),
        "automount" => format!("[Automount]\nWhere={path}\n"),
        "swap" => format!("[Swap]\nWhat={path}\n"),
        _ => "[Unit]\n".into(),
    }
}

/// What is said of the config's own files, tied to its lines.
fn read(files: &BTreeMap<String, File>, said: &str) -> Vec<Found> {
    let refused: BTreeSet<&str> = said.lines().filter_map(refused).collect();
    let mut found = Vec::new();
    let mut explained = BTreeSet::new();
    for line in said.lines() {
        if let Some((path, number, words)) = of_file(line, files) {
            let unit = unit_of(path).unwrap_or(path);
            let file = &files[path];
            // A line that is passed over may be what is then missing.
            explained.insert(unit);
            found.push(of_line(file, number, words, refused.contains(unit)));
        } else if let Some((unit, words)) = of_unit(line, files, &refused) {
            explained.insert(unit);
            found.push(of_whole(unit, files, words));
        } else if let Some((unit, other)) = cycle(line, files) {
            let what = format!("`{unit}` waits for itself, by way of `{other}`");
            found.push(of_whole(unit, files, what));
        }
    }
    for unit in refused.iter().filter(|unit| !explained.contains(*unit)) {
        if has(files, unit) {
            found.push(of_whole(
                unit,
                files,
                format!("systemd does not load `{unit}`"),
            ));
        }
    }
    found
}

/// The unit that a line says is not loaded.
fn refused(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("Unit ")?;
    let end = [" has a bad unit file setting", " failed to load properly"];
    let at = end.iter().find_map(|end| rest.find(end))?;
    Some(&rest[..at])
}

/// `PATH:LINE: words` of one of the files.
fn of_file<'a>(line: &'a str, files: &BTreeMap<String, File>) -> Option<(&'a str, usize, &'a str)> {
    if !line.starts_with('/') {
        return None;
    }
    let (path, rest) = line.split_once(':')?;
    let (number, words) = rest.split_once(": ")?;
    files.get(path)?;
    Some((path, number.parse().ok()?, words))
}

/// `UNIT: words` of a unit that is not loaded and is whole in the config.
fn of_unit<'a>(
    line: &'a str,
    files: &BTreeMap<String, File>,
    refused: &BTreeSet<&str>,
) -> Option<(&'a str, String)> {
    let (unit, words) = line.split_once(": ")?;
    let is_summary = words.starts_with("Unit configuration has fatal error");
    (refused.contains(unit) && has(files, unit) && !is_summary).then(|| {
        let words = words.strip_suffix(" Refusing.").unwrap_or(words);
        (unit, format!("systemd does not load `{unit}`: {words}"))
    })
}

/// Two units that each start after the other.
fn cycle<'a>(line: &'a str, files: &BTreeMap<String, File>) -> Option<(&'a str, &'a str)> {
    let (unit, rest) = line.split_once(": Found ordering cycle on ")?;
    let other = rest.split('/').next()?;
    has(files, unit).then_some((unit, other))
}

fn has(files: &BTreeMap<String, File>, unit: &str) -> bool {
    whole(files, unit).is_some()
}

/// The unit's own file; that of the template, if it was looked at as an instance of it.
fn whole<'f>(files: &'f BTreeMap<String, File>, unit: &str) -> Option<&'f File> {
    let template = unit.split_once('@').and_then(|(base, rest)| {
        let (_, kind) = rest.rsplit_once('.')?;
        Some(format!("{base}@.{kind}"))
    });
    let names = [Some(unit.to_owned()), template];
    let paths = FOLDERS.iter().flat_map(|folder| {
        let names = names.iter().flatten();
        names.map(move |name| format!("{folder}{name}"))
    });
    paths.into_iter().find_map(|path| files.get(&path))
}

fn of_line(file: &File, number: usize, words: &str, is_error: bool) -> Found {
    let lines: Vec<&str> = file.text.lines().collect();
    let line = lines.get(number.wrapping_sub(1)).map(|line| line.trim());
    let section = lines[..number.min(lines.len())]
        .iter()
        .rev()
        .find_map(|line| line.trim().strip_prefix('[')?.strip_suffix(']'));
    let name = line.and_then(|line| Some(line.split_once('=')?.0.trim()));
    let key = &file.key;
    let mut keys = Vec::new();
    if let (Some(section), Some(name)) = (section, name) {
        keys.push(format!("{key}.{section}.{}", quoted(name)));
    }
    keys.extend([".text", ".content", ".source", ""].map(|end| format!("{key}{end}")));
    let words = words.trim_end_matches('.');
    let unit = if is_error {
        "systemd does not load it"
    } else {
        "systemd passes over it"
    };
    Found {
        is_error,
        keys,
        line: line.map(str::to_owned),
        what: match &file.source {
            Some(source) => format!("`{key}`, line {number} of {}: {words}", source.display()),
            None => format!("`{key}`: {words}"),
        },
        label: unit.into(),
        help: (!is_error).then(|| {
            "it does nothing, unless the image's systemd is newer than this machine's".into()
        }),
    }
}

fn of_whole(unit: &str, files: &BTreeMap<String, File>, what: String) -> Found {
    let mut keys = Vec::new();
    let key = whole(files, unit).map_or("", |file| &file.key);
    // It may name the setting: `Where= setting doesn't match unit name`.
    let setting = what
        .split([' ', ','])
        .find_map(|word| word.strip_suffix('='));
    if let Some((setting, (_, kind))) = setting.zip(unit.rsplit_once('.')) {
        let section = kind[..1].to_ascii_uppercase() + &kind[1..];
        keys.push(format!("{key}.{section}.{setting}"));
    }
    keys.extend([".text", ".content", ".source", ""].map(|end| format!("{key}{end}")));
    Found {
        is_error: true,
        keys,
        line: setting.map(|name| format!("{name}=")),
        what,
        label: "this unit".into(),
        help: None,
    }
}

/// Whether a folder is there to look at units in; for tests.
#[cfg(test)]
pub(super) fn can_be_run() -> bool {
    Path::new(PROGRAM).exists()
}
