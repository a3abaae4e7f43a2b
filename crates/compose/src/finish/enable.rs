//! What `systemctl enable`, `disable` and `mask` do to the links in `/etc/systemd/system`, on a tree in memory.
//!
//! The rules are those of `systemctl(1)`, `systemd.unit(5)` ("Install section options") and, where these are silent, of
//! systemd's own `install.c` as of version 252: a test compares both on the same folders.

use super::tree::{Kind, Tree};
use crate::lock::Error;
use elea_formats::unit::{Name, Unit, unescape};
use std::collections::{BTreeMap, BTreeSet};

/// Where units lie; what stands in an earlier folder hides the same name in a later one.
const FOLDERS: [&str; 3] = [CONFIG, "usr/local/lib/systemd/system", VENDOR];
/// Where links are made.
const CONFIG: &str = "etc/systemd/system";
const VENDOR: &str = "usr/lib/systemd/system";
/// `[Install]` settings that ask for a link, and the folder of the other unit that it is made in.
const WANTS: [(&str, &str); 3] = [
    ("WantedBy", "wants"),
    ("RequiredBy", "requires"),
    ("UpheldBy", "upholds"),
];

/// A unit file, and what its `[Install]` says.
#[derive(Debug)]
struct File {
    /// Its name, where an alias or instance was asked for: the file's own.
    name: Name,
    path: String,
    unit: Unit,
}

/// What a name leads to.
#[derive(Debug)]
enum Found {
    Missing,
    Masked,
    File(Box<File>),
}

/// Whether there is such a unit, masked or not.
pub(super) fn exists(tree: &Tree<'_>, name: &str) -> bool {
    let Ok(parsed) = Name::parse(name) else {
        return false;
    };
    let template = parsed.template();
    let names = [Some(name), template.as_ref().map(Name::as_str)];
    names
        .into_iter()
        .flatten()
        .any(|name| FOLDERS.iter().any(|f| tree.has(&format!("{f}/{name}"))))
}

fn base(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// Follows aliases to a unit's file.
fn find(tree: &Tree<'_>, name: &Name) -> Result<Found, Error> {
    let mut name = name.clone();
    // As many as systemd follows.
    for _ in 0..8 {
        let places = FOLDERS.iter().map(|f| format!("{f}/{name}"));
        let mut there = places.filter(|path| tree.has(path));
        let Some(path) = there.next() else {
            match name.template() {
                Some(template) => name = template,
                None => return Ok(Found::Missing),
            }
            continue;
        };
        if let Some(target) = tree.target(&path) {
            if target == "/dev/null" {
                return Ok(Found::Masked);
            }
            match Name::parse(base(&target)) {
                Ok(other) if other != name => {
                    name = other;
                    continue;
                }
                _ => {}
            }
        }
        let Some(text) = tree.read(&path)? else {
            return Ok(Found::Missing);
        };
        if text.is_empty() {
            return Ok(Found::Masked);
        }
        let unit = read(tree, &name, &path, &text)?;
        return Ok(Found::File(Box::new(File { name, path, unit })));
    }
    Ok(Found::Missing)
}

/// A unit file with its drop-ins.
fn read(tree: &Tree<'_>, name: &Name, path: &str, text: &[u8]) -> Result<Unit, Error> {
    let broken = |path: &str, e| Error::Tree(format!("{path} of the image is no unit file: {e}"));
    let mut unit = Unit::parse(text).map_err(|e| broken(path, e))?;
    let mut drop_ins = BTreeMap::new();
    for folder in FOLDERS {
        let folder = format!("{folder}/{name}.d");
        for file in tree.names(&folder) {
            if file.ends_with(".conf") {
                let path = format!("{folder}/{file}");
                drop_ins.entry(file).or_insert(path);
            }
        }
    }
    for path in drop_ins.values() {
        if let Some(text) = tree.read(path)? {
            unit.lay(&text).map_err(|e| broken(path, e))?;
        }
    }
    Ok(unit)
}

impl File {
    fn words(&self, key: &str) -> impl Iterator<Item = &str> {
        self.unit.words("Install", key)
    }

    /// The name under which it is installed; none for a template that no instance was named of.
    fn installed(&self, asked: &Name) -> Option<Name> {
        if asked.template().is_some() {
            return Some(asked.clone());
        }
        if self.name.instance() != Some("") {
            return Some(self.name.clone());
        }
        let default = self.unit.value("Install", "DefaultInstance")?;
        let kind = self.name.kind().word();
        Name::parse(&format!("{}@{default}.{kind}", self.name.prefix())).ok()
    }

    fn has_rules(&self) -> bool {
        let keys = WANTS.iter().map(|(key, _)| *key);
        keys.chain(["Alias"])
            .any(|key| self.words(key).next().is_some())
    }

    /// The names of links that stand for this unit.
    fn known_names(&self) -> BTreeSet<String> {
        let own = [self.name.as_str()].into_iter().map(str::to_owned);
        let default = self
            .installed(&self.name)
            .map(|name| name.as_str().to_owned());
        let aliases = self.words("Alias").map(|alias| expand(alias, &self.name));
        own.chain(default).chain(aliases.flatten()).collect()
    }
}

/// A word with specifiers in it (`systemd.unit(5)`); none if it has one that only a running machine knows.
fn expand(word: &str, name: &Name) -> Option<String> {
    let mut out = String::new();
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next()? {
            'n' => out.push_str(name.as_str()),
            'N' => out.push_str(name.stem()),
            'p' => out.push_str(name.prefix()),
            'i' => out.push_str(name.instance().unwrap_or_default()),
            'I' => {
                let bytes = unescape(name.instance().unwrap_or_default())?;
                out.push_str(&String::from_utf8(bytes).ok()?);
            }
            'j' => {
                let prefix = name.prefix();
                out.push_str(prefix.rsplit_once('-').map_or(prefix, |(_, last)| last));
            }
            '%' => out.push('%'),
            _ => return None,
        }
    }
    Some(out)
}

/// Makes the links that units ask for, and those of the units that these name in `Also=`.
pub(super) fn enable(tree: &mut Tree<'_>, names: &[&str]) -> Result<(), Error> {
    let mut todo: Vec<String> = names.iter().rev().map(|name| (*name).to_owned()).collect();
    let mut done = BTreeSet::new();
    while let Some(name) = todo.pop() {
        let Ok(asked) = Name::parse(&name) else {
            continue;
        };
        if !done.insert(name.clone()) {
            continue;
        }
        let file = match find(tree, &asked)? {
            Found::File(file) => file,
            Found::Masked if names.contains(&name.as_str()) => {
                return Err(Error::Tree(format!(
                    "the unit `{name}` is masked in the image, so it cannot be enabled; remove what masks it"
                )));
            }
            // What a unit names in `Also=` need not be there.
            Found::Masked | Found::Missing => continue,
        };
        todo.extend(
            file.words("Also")
                .filter_map(|word| expand(word, &file.name)),
        );
        let Some(installed) = file.installed(&asked) else {
            continue;
        };
        let target = format!("/{}", file.path);
        let aliases = file
            .words("Alias")
            .filter_map(|word| expand(word, &installed));
        let mut links: Vec<String> = aliases
            .filter(|alias| Name::parse(alias).is_ok())
            .map(|alias| format!("{CONFIG}/{alias}"))
            .collect();
        for (key, folder) in WANTS {
            let others = file.words(key).filter_map(|word| expand(word, &installed));
            let others = others.filter(|other| Name::parse(other).is_ok());
            links.extend(others.map(|other| format!("{CONFIG}/{other}.{folder}/{installed}")));
        }
        for link in links {
            if link != file.path
                && tree
                    .target(&link)
                    .is_none_or(|to| base(&to) != base(&target))
            {
                tree.link(&target, &link)?;
            }
        }
    }
    Ok(())
}

/// All links in [`CONFIG`] that may make a unit start or give it a name: their paths and the last names of their targets.
fn links(tree: &Tree<'_>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for name in tree.names(CONFIG) {
        let path = format!("{CONFIG}/{name}");
        if let Some(target) = tree.target(&path) {
            found.push((path, base(&target).to_owned()));
        } else if WANTS
            .iter()
            .any(|(_, end)| name.ends_with(&format!(".{end}")))
        {
            for link in tree.names(&path) {
                let path = format!("{path}/{link}");
                if let Some(target) = tree.target(&path) {
                    found.push((path, base(&target).to_owned()));
                }
            }
        }
    }
    found
}

/// Removes all links to units, and to those that they name in `Also=`.
pub(super) fn disable(tree: &mut Tree<'_>, names: &[&str]) -> Result<(), Error> {
    let mut todo: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut gone = BTreeSet::new();
    while let Some(name) = todo.pop() {
        if !gone.insert(name.clone()) {
            continue;
        }
        if let Ok(asked) = Name::parse(&name)
            && let Found::File(file) = find(tree, &asked)?
        {
            todo.extend(
                file.words("Also")
                    .filter_map(|word| expand(word, &file.name)),
            );
            // An alias stands for its unit; an instance does not stand for its template.
            if asked.template().is_none() {
                todo.push(file.name.as_str().to_owned());
            }
        }
    }
    for (path, target) in links(tree) {
        if gone.contains(base(&path)) || gone.contains(&target) {
            tree.remove(&path)?;
            let folder = &path[..path.len() - base(&path).len() - 1];
            if folder != CONFIG && tree.names(folder).is_empty() {
                tree.remove(folder)?;
            }
        }
    }
    Ok(())
}

/// Makes it impossible that units start.
pub(super) fn mask(tree: &mut Tree<'_>, names: &[&str]) -> Result<(), Error> {
    for name in names {
        let path = format!("{CONFIG}/{name}");
        if tree.kind(&path).is_some_and(|kind| kind != Kind::Link) {
            return Err(Error::Tree(format!(
                "the unit `{name}` has a file of its own in /{CONFIG}, so it cannot be masked; remove the file"
            )));
        }
        tree.link("/dev/null", &path)?;
    }
    Ok(())
}

/// The units that can be enabled, and whether they are.
pub(super) fn states(tree: &Tree<'_>) -> Result<BTreeMap<String, bool>, Error> {
    let links = links(tree);
    let mut states = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for folder in FOLDERS {
        for name in tree.names(folder) {
            let Ok(parsed) = Name::parse(&name) else {
                continue;
            };
            if tree.kind(&format!("{folder}/{name}")) == Some(Kind::Folder)
                || !seen.insert(name.clone())
            {
                continue;
            }
            let Found::File(file) = find(tree, &parsed)? else {
                continue;
            };
            if file.name != parsed {
                continue;
            }
            let known = file.known_names();
            let at_top = format!("{CONFIG}/{name}");
            let stands_for = |path: &str, target: &str| {
                *path != at_top && (base(path) == name || target == name)
            };
            let of = links
                .iter()
                .filter(|(path, target)| stands_for(path, target));
            let names: Vec<&str> = of.map(|(path, _)| base(path)).collect();
            if names.iter().any(|link| known.contains(*link)) {
                states.insert(name, true);
            } else if names.is_empty() && file.has_rules() && tree.target(&at_top).is_none() {
                states.insert(name, false);
            }
        }
    }
    Ok(states)
}
