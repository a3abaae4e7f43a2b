//! What the config is to say of an edit.

use super::super::clear;
use super::super::{Config, Setting, check};
use super::units::{self, Links};
use super::{Found, LARGEST, Local, NewValue, Owned, Take, place};
use crate::render;
use elea_sys::root::Root;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Folders of sysctl.d(5), with the files that stand alone.
const SYSCTL: [&str; 4] = [
    "etc/sysctl.d",
    "run/sysctl.d",
    "usr/local/lib/sysctl.d",
    "usr/lib/sysctl.d",
];
/// A file of settings is never larger, in bytes.
const SMALL: u64 = 1 << 20;

/// What all decisions need.
pub(super) struct Decide<'a> {
    config: &'a Config,
    edits: &'a [Local],
    image: &'a Root,
    /// Files that sections of the config make, and the sections.
    made: BTreeMap<String, String>,
    links: Links,
}

impl<'a> Decide<'a> {
    pub(super) fn new(config: &'a Config, edits: &'a [Local], image: &'a Root) -> Self {
        let made = render::render(config).files;
        Self {
            config,
            edits,
            image,
            made: made
                .into_iter()
                .map(|(path, made)| (path, made.key))
                .collect(),
            links: Links::of(edits, image),
        }
    }

    pub(super) fn of(&self, local: &Local) -> Take {
        let path = local.path.as_str();
        let refuse = |why: &str| Take::Refuse(why.to_owned());
        if !check::path(path) {
            return refuse("a config cannot name this path");
        }
        let name = path.strip_prefix("/etc/").unwrap_or_default();
        if let Some(why) = never(name) {
            return refuse(why);
        }
        if let Some(take) = units::take(&self.links, local) {
            return take;
        }
        match &local.found {
            Found::Other(what) => Take::Refuse(format!("it is {what}, which a config cannot say")),
            Found::Gone => self.gone(path),
            Found::Link(target) => self.link(name, target),
            Found::Folder(_) => self.file(path),
            Found::File(bytes, owned) => self.content(local, name, bytes, owned),
        }
    }

    /// The image has it, and the machine does not.
    fn gone(&self, path: &str) -> Take {
        let key = format!("files.{path:?}");
        let said = super::super::value::place_of(&self.config.places, &key)
            .and_then(|at| self.config.origin_of(at));
        let made = self.made.get(path);
        Take::Refuse(match (said, made) {
            (Some(origin), _) => format!(
                "it is removed here: take `[{key}]` out of {} to have it so",
                place(self.config, &origin)
            ),
            (None, Some(key)) => format!("it is removed here, and `{key}` of the config makes it"),
            (None, None) => "it is removed here, and a config cannot take away a package's file; an empty file of this name in [files] may do".into(),
        })
    }

    fn link(&self, name: &str, target: &str) -> Take {
        let zone = target
            .rsplit_once("usr/share/zoneinfo/")
            .map(|(_, zone)| zone);
        match (name, zone) {
            ("localtime", Some(zone)) => one(&["system", "timezone"], zone),
            _ => self.file(&format!("/etc/{name}")),
        }
    }

    fn content(&self, local: &Local, name: &str, bytes: &[u8], owned: &Owned) -> Take {
        if bytes.len() as u64 > LARGEST {
            return Take::Refuse(format!("it has more than {} MiB", LARGEST >> 20));
        }
        if owned.mode & 0o004 == 0 {
            return Take::Refuse(format!(
                "its mode {:04o} keeps it from others, and an image is for everybody to read; if it is a secret, see [secrets], else write [files.{:?}] with that mode by hand",
                owned.mode, local.path
            ));
        }
        let text = std::str::from_utf8(bytes).ok();
        let found = clear::certain(&String::from_utf8_lossy(bytes));
        let clear = found.or_else(|| text.and_then(keyed).map(str::to_owned));
        if let Some(what) = clear {
            return Take::Refuse(format!(
                "there is {what} in it, and an image is for everybody to read; see [secrets]"
            ));
        }
        let usual = owned.mode == 0o644 && owned.owner == "root" && owned.group == "root";
        let take = text
            .filter(|_| usual)
            .and_then(|text| self.key(local, name, text));
        take.unwrap_or_else(|| self.file(&local.path))
    }

    /// The key that says the same as a whole file.
    fn key(&self, local: &Local, name: &str, text: &str) -> Option<Take> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let single = match (lines.next(), lines.next()) {
            (Some(line), None) => Some(line),
            _ => None,
        };
        match name {
            "hostname" => {
                let host = single.filter(|line| check::hostname(line))?;
                Some(one(&["system", "hostname"], host))
            }
            "timezone" => {
                // The link is what counts; this file only repeats it.
                let zone = single?;
                let link = self
                    .edits
                    .iter()
                    .find(|edit| edit.path == "/etc/localtime")?;
                let same = matches!(&link.found, Found::Link(target) if target.ends_with(&format!("zoneinfo/{zone}")));
                same.then_some(Take::Covered)
            }
            "locale.conf" => {
                let locale = single?.strip_prefix("LANG=")?.trim_matches('"');
                Some(one(&["system", "locale"], locale))
            }
            _ => {
                let (folder, file) = name.rsplit_once('/')?;
                let is_list = file.ends_with(".conf");
                match folder {
                    "sysctl.d" if is_list => self.sysctl(local, file, text),
                    "modules-load.d" if is_list => self.modules(local, text),
                    _ => None,
                }
            }
        }
    }

    /// Settings of the kernel, where no other file has a say in them.
    fn sysctl(&self, local: &Local, file: &str, text: &str) -> Option<Take> {
        let settings = settings(text)?;
        let ours = self.made.contains_key(&local.path);
        if !ours {
            // What comes later wins; a config's come as 60-elea.conf.
            let others = self.others(file);
            let taken = |(name, value): (&String, &String)| {
                let said = self.config.sysctl.get(name);
                others.contains(name) || said.is_some_and(|said| render::plain(said) != *value)
            };
            if !local.is_new || settings.iter().any(taken) {
                return None;
            }
        }
        let missing = |name: &&String| ours && !settings.contains_key(*name);
        if let Some(name) = self.config.sysctl.keys().find(missing) {
            let key = format!("sysctl.{}", super::super::quoted(name));
            let at = self
                .config
                .origin(&key)
                .map(|origin| place(self.config, &origin));
            let at = at.unwrap_or_default();
            return Some(Take::Refuse(format!(
                "`{name}` is gone from it: take it out of the config ({at})"
            )));
        }
        let changed = settings.into_iter().filter(|(name, value)| {
            let now = self.config.sysctl.get(name);
            now.is_none_or(|now| render::plain(now) != *value)
        });
        let values = changed.map(|(name, value)| {
            (
                vec!["sysctl".to_owned(), name],
                NewValue::One(setting(&value)),
            )
        });
        Some(Take::Values(values.collect()))
    }

    /// The names that other files of sysctl.d set.
    fn others(&self, but: &str) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let mut look = |path: &Path| {
            let text = self.image.read(path, SMALL).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            let set = text.lines().filter_map(|line| line.split_once('='));
            names
                .extend(set.map(|(name, _)| name.trim().trim_start_matches('-').replace('/', ".")));
        };
        for folder in SYSCTL {
            let files = self.image.list(Path::new(folder), 4096).unwrap_or_default();
            for file in files.iter().filter(|file| *file != but) {
                look(&Path::new(folder).join(file));
            }
        }
        look(Path::new("etc/sysctl.conf"));
        for edit in self
            .edits
            .iter()
            .filter(|edit| edit.path.starts_with("/etc/sysctl"))
        {
            if let (false, Found::File(bytes, _)) =
                (edit.path.ends_with(&format!("/{but}")), &edit.found)
            {
                let text = String::from_utf8_lossy(bytes);
                let set = text.lines().filter_map(|line| line.split_once('='));
                names.extend(
                    set.map(|(name, _)| name.trim().trim_start_matches('-').replace('/', ".")),
                );
            }
        }
        names
    }

    /// Modules that are loaded: all files together are one list.
    fn modules(&self, local: &Local, text: &str) -> Option<Take> {
        let ours = self.made.contains_key(&local.path);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let lines = lines.filter(|line| !(ours && line.starts_with('#')));
        let names: Vec<&str> = lines.collect();
        let plain = |name: &&str| {
            name.chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        };
        if names.is_empty() || !names.iter().all(plain) || !(local.is_new || ours) {
            return None;
        }
        if ours
            && self
                .config
                .kernel
                .modules
                .iter()
                .any(|name| !names.contains(&name.as_str()))
        {
            return None;
        }
        let new = names
            .into_iter()
            .filter(|name| !self.config.kernel.modules.iter().any(|m| m == name));
        let key = ["kernel", "modules"].map(str::to_owned).to_vec();
        Some(Take::Values(
            new.map(|name| (key.clone(), NewValue::Item(name.to_owned(), &[])))
                .collect(),
        ))
    }

    /// A copy, unless another part of the config makes the file.
    fn file(&self, path: &str) -> Take {
        match self.made.get(path) {
            Some(key) => Take::Refuse(format!("`{key}` of the config makes it: say it there")),
            None => Take::File,
        }
    }
}

/// What no config takes, whatever is in it.
fn never(name: &str) -> Option<&'static str> {
    let base = name.trim_end_matches('-');
    match base {
        "shadow" | "gshadow" => {
            Some("it has the hashes of passwords; `[users.NAME]` has `password` for one")
        }
        "passwd" | "group" | "subuid" | "subgid" => Some(
            "accounts are carried to the next release one by one; `[users.NAME]` and `[groups.NAME]` declare them",
        ),
        "machine-id" | "adjtime" => Some("it is the machine's own, and carried to every release"),
        _ if name.starts_with("ssh/ssh_host_") => {
            Some("it is the machine's own, and carried to every release")
        }
        _ => None,
    }
}

/// Keys that other programs keep in their settings.
fn keyed(text: &str) -> Option<&'static str> {
    let names = [
        "privatekey",
        "presharedkey",
        "psk",
        "wpa_passphrase",
        "secret",
    ];
    let mut pairs = text.lines().filter_map(|line| line.trim().split_once('='));
    let found = pairs.any(|(name, value)| {
        let name = name.trim().to_ascii_lowercase();
        names.contains(&name.as_str()) && !value.trim().is_empty()
    });
    found.then_some("a key")
}

fn one(path: &[&str], value: &str) -> Take {
    let path = path.iter().map(|name| (*name).to_owned()).collect();
    Take::Values(vec![(path, NewValue::One(Setting::Text(value.to_owned())))])
}

/// The settings of a file of sysctl.d, if it has nothing else: a comment would be lost.
fn settings(text: &str) -> Option<BTreeMap<String, String>> {
    let mut out = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line == "# From [sysctl] of the config." {
            continue;
        }
        let (name, value) = line.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.starts_with(['#', ';', '-', '.']) || !name.chars().all(plain) || !name.contains('.')
        {
            return None;
        }
        out.insert(name.to_owned(), value.to_owned());
    }
    (!out.is_empty()).then_some(out)
}

fn setting(text: &str) -> Setting {
    match text.parse::<i64>() {
        Ok(number) if number.to_string() == text => Setting::Number(number),
        _ => Setting::Text(text.to_owned()),
    }
}
