//! Reading: the file, what it imports and uses, and one table of all that.

use super::home::OneHome;
use super::keys::{LANGUAGE, SECTIONS};
use super::layers::{self, Layer, Merged};
use super::moves::{MOVES, Move};
use super::parts::Parts;
use super::reader::{Fields, Reader};
use super::report::{Findings, Source};
use super::value::{self, Node, Place, Table, Value};
use super::vars::Words;
use super::whens::Facts;
use super::{Config, json, modules, sections};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A config file is never larger, in bytes.
const LIMIT: u64 = 4 << 20;
/// More files than these are not read for one config.
const MOST_FILES: usize = 256;
/// What stands before the name of a profile in `imports`.
const PROFILE: &str = "profile:";
/// The profiles that come with Elea, by name.
const PROFILES: [(&str, &str); 1] = [("server", include_str!("profiles/server.toml"))];

/// The config that comes by stdin.
const STDIN: &str = "-";
/// What it is called.
const STDIN_NAME: &str = "stdin";
/// What it is read as: a config in the current folder, whose paths are relative to it and whose lock lies in it.
const OF_STDIN: &str = "elea.json";

/// Reads a config and everything that it imports, and checks it whole. `-` is what comes by stdin, JSON or TOML.
pub fn load(path: &Path) -> Result<Config, Findings> {
    match read(path) {
        (Some(mut config), found) if found.errors().is_empty() => {
            config.warnings = found;
            Ok(config)
        }
        (_, found) => Err(found),
    }
}

/// What a config would be read as, before it is written.
#[derive(Debug, Default)]
pub(super) struct Instead {
    /// Other texts of files that are read.
    pub(super) texts: BTreeMap<PathBuf, String>,
    /// Files that will be there to be copied.
    pub(super) files: BTreeSet<PathBuf>,
}

/// The same with other texts of some of its files.
pub(super) fn load_instead(path: &Path, instead: Instead) -> Result<Config, Findings> {
    let mut reader = Reader::new(MOVES);
    reader.instead = instead;
    match read_with(reader, path) {
        (Some(config), found) if found.errors().is_empty() => Ok(config),
        (_, found) => Err(found),
    }
}

/// The same; of a config with errors too as much as makes sense, for others to look at.
pub(crate) fn read(path: &Path) -> (Option<Config>, Findings) {
    read_by(path, MOVES)
}

/// Every file that a config is made of, as far as they can be read: not what comes with Elea, and not stdin.
pub fn files(path: &Path) -> Vec<PathBuf> {
    let (_, found) = read(path);
    let sources = found.sources();
    let paths = sources.iter().map(|source| source.path.clone());
    paths.filter(|path| path.is_file()).collect()
}

pub(super) fn read_by(path: &Path, moves: &'static [Move]) -> (Option<Config>, Findings) {
    read_with(Reader::new(moves), path)
}

fn read_with(mut reader: Reader, path: &Path) -> (Option<Config>, Findings) {
    let mut parts = Parts::default();
    Files::default().read(&mut reader, path, None, "", &mut parts);
    let (base, specialisations) = evaluate(&mut reader, parts);
    if reader.unreadable {
        // What the rest seems to say may be no more than a consequence.
        return (None, reader.findings());
    }
    let mut config = read_sections(&mut reader, base);
    for (name, merged) in specialisations {
        let special = read_sections(&mut reader, merged);
        if let (Some(config), Some(mut special)) = (&mut config, special) {
            // In the boot menu it is told from the system itself.
            if special.system.title == config.system.title {
                special.system.title = format!("{} ({name})", config.system.title);
            }
            special.special = Some(name.clone());
            config.specialisation.insert(name, special);
        }
    }
    let read: Vec<PathBuf> = reader.sources.iter().map(|s| s.path.clone()).collect();
    let found = reader.findings();
    if let Some(config) = &mut config {
        let path = if path == Path::new(STDIN) {
            Path::new(OF_STDIN)
        } else {
            path
        };
        let place = |config: &mut Config| {
            path.clone_into(&mut config.path);
            config.read.clone_from(&read);
            config.sources = found.sources();
        };
        place(config);
        config.specialisation.values_mut().for_each(place);
    }
    (config, found)
}

/// What [`super::home::load_home`] is.
pub(super) fn load_home(path: &Path, user: &str) -> Result<OneHome, Findings> {
    let mut reader = Reader::new(MOVES);
    let mut parts = Parts::default();
    Files::default().read(&mut reader, path, None, "", &mut parts);
    let (merged, _) = evaluate(&mut reader, parts);
    if reader.unreadable {
        return Err(reader.findings());
    }
    reader.problems.extend(merged.problems);
    reader.ranks = merged.ranks;
    let places = value::places(&merged.table);
    let mut top = Fields::new(String::new(), None, merged.table);
    let base = sections::base(&mut reader, &mut top);
    let mut homes = sections::home::read(&mut reader, &mut top);
    for (name, _) in LANGUAGE {
        top.skip(name);
    }
    let system = SECTIONS.iter().map(|section| section.name);
    let ignored = system.filter(|name| *name != "home" && top.skip(name));
    let ignored = ignored.map(str::to_owned).collect();
    reader.finish(&top);
    let known: Vec<&str> = homes.keys().map(String::as_str).collect();
    if !homes.contains_key(user) && reader.problems.is_empty() {
        let help = match known[..] {
            [] => format!("add `[home.{user}]`"),
            _ => format!("homes that it has: {}", known.join(", ")),
        };
        let what = format!("{} has no `[home.{user}]`", path.display());
        reader.problem(None, what, "", Some(help));
    }
    match homes.remove(user) {
        Some(home) if reader.problems.is_empty() => Ok(OneHome {
            user: user.to_owned(),
            home,
            base,
            places,
            read: reader.sources.iter().map(|s| s.path.clone()).collect(),
            ignored,
            warnings: reader.findings(),
        }),
        _ => Err(reader.findings()),
    }
}

/// The types of what was merged.
fn read_sections(reader: &mut Reader, merged: Merged) -> Option<Config> {
    let places = value::places(&merged.table);
    reader.problems.extend(merged.problems);
    reader.ranks = merged.ranks;
    let top = Fields::new(String::new(), None, merged.table);
    let mut config = sections::read(reader, top)?;
    config.places = places;
    config.said = merged.said;
    config.gone = merged.gone;
    sections::whole(reader, &config);
    Some(config)
}

/// Lays everything over one another, for the config and for each of its specialisations.
fn evaluate(reader: &mut Reader, mut parts: Parts) -> (Merged, BTreeMap<String, Merged>) {
    let vars = layers::merge(&parts.vars, &[]);
    reader.problems.extend(vars.problems);
    let vars = Words {
        of: "vars",
        values: &vars.table,
    };
    let fill = |reader: &mut Reader, layers: &mut Vec<Layer>| {
        for layer in layers {
            vars.fill(reader, &mut layer.table);
        }
    };
    reader.vars.clone_from(vars.values);
    fill(reader, &mut parts.layers);
    // What modules say is filled where it is read, once.
    let uses = std::mem::take(&mut parts.uses);
    modules::lay_in(reader, uses, vars, &mut parts);
    let mut whens = std::mem::take(&mut parts.whens);
    for when in &mut whens {
        vars.fill(reader, &mut when.table);
    }
    for special in parts.specialisations.values_mut() {
        fill(reader, &mut special.layers);
    }
    let facts = Facts {
        base: base(&parts.layers),
        vars,
    };
    facts.apply(reader, whens, &mut parts);
    let merged = layers::merge(&parts.layers, &parts.removed);
    let specialisations = parts.specialisations.iter().map(|(name, special)| {
        let layers = [&parts.layers[..], &special.layers].concat();
        let removed = [&parts.removed[..], &special.removed].concat();
        (name.clone(), layers::merge(&layers, &removed))
    });
    let specialisations = specialisations.collect();
    (merged, specialisations)
}

/// `[base]`, as all that holds without conditions says it; what is wrong with it is said later.
fn base(layers: &[Layer]) -> Table {
    let only = layers.iter().map(|layer| {
        let base = layer.table.get("base").cloned();
        Layer {
            rank: layer.rank,
            why: String::new(),
            table: base
                .map(|field| ("base".to_owned(), field))
                .into_iter()
                .collect(),
        }
    });
    let only: Vec<Layer> = only.collect();
    let mut merged = layers::merge(&only, &[]).table;
    match merged.remove("base").map(|field| field.node.value) {
        Some(Value::Table(base)) => base,
        _ => Table::new(),
    }
}

/// The files of a config.
#[derive(Debug, Default)]
struct Files {
    /// Those that import one another down to the one that is read.
    chain: Vec<PathBuf>,
    /// Those that were read: each is taken in once, whoever imports it.
    seen: BTreeSet<PathBuf>,
}

impl Files {
    /// Takes in what a file imports, and the file.
    fn read(
        &mut self,
        reader: &mut Reader,
        path: &Path,
        asked: Option<Place>,
        why: &str,
        parts: &mut Parts,
    ) {
        let identity = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if self.chain.contains(&identity) {
            let name = path.file_name().unwrap_or(path.as_os_str()).display();
            reader.problem(
                asked,
                format!("{name} imports itself"),
                "this import leads back here",
                Some("take one of the imports out".into()),
            );
            return;
        }
        if !self.seen.insert(identity.clone()) {
            return;
        }
        let Some((_, mut table)) = read_file(reader, path, asked) else {
            return;
        };
        self.chain.push(identity);
        for (at, target) in imports(reader, path, &mut table) {
            self.read(reader, &target, Some(at), "imported", parts);
        }
        self.chain.pop();
        parts.file(reader, why, table);
    }
}

/// What a file imports: where it says so, and the files.
fn imports(reader: &mut Reader, path: &Path, table: &mut Table) -> Vec<(Place, PathBuf)> {
    let list = match table.remove("imports").map(|field| field.node) {
        None => Vec::new(),
        Some(Node {
            value: Value::List(list),
            ..
        }) => list,
        Some(node) => {
            reader.wrong_type("imports", "a list of texts", &node);
            Vec::new()
        }
    };
    let mut found = Vec::new();
    for node in list {
        let Value::Text(name) = &node.value else {
            reader.wrong_type("imports[]", "a text", &node);
            continue;
        };
        if name.starts_with(PROFILE) {
            found.push((node.at, PathBuf::from(name)));
            continue;
        }
        let target = beside(path, name);
        if !target.is_dir() {
            found.push((node.at, target));
            continue;
        }
        match configs_of(&target) {
            Ok(files) => found.extend(files.into_iter().map(|file| (node.at, file))),
            Err(e) => {
                let what = format!("cannot read the folder {}: {e}", target.display());
                reader.problem(Some(node.at), what, "imported here", None);
            }
        }
    }
    found
}

/// The config files of a folder, by name.
fn configs_of(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|e| e == "toml" || e == "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads a file, or a profile by its name, as a table; its number.
pub(super) fn read_file(
    reader: &mut Reader,
    path: &Path,
    asked: Option<Place>,
) -> Option<(usize, Table)> {
    let number = reader.sources.len();
    if number >= MOST_FILES {
        let what = format!("the config has more than {MOST_FILES} files");
        reader.problem(asked, what, "one too many", None);
        return None;
    }
    let is_stdin = asked.is_none() && path == Path::new(STDIN);
    let text = if is_stdin {
        text(std::io::stdin().lock()).map_err(|why| (format!("cannot read stdin: {why}"), None))
    } else if let Some(text) = reader.instead.texts.get(path) {
        Ok(text.clone())
    } else {
        text_of(path)
    };
    let text = match text {
        Ok(text) => text,
        Err((what, help)) => {
            reader.unreadable |= asked.is_none();
            reader.problem(asked, what, "named here", asked.and(help));
            return None;
        }
    };
    let is_json = if is_stdin {
        // No TOML begins so.
        text.trim_start().starts_with('{')
    } else {
        path.extension().is_some_and(|e| e == "json")
    };
    let path = if is_stdin {
        Path::new(STDIN_NAME)
    } else {
        path
    };
    let (mut table, complaints) = if is_json {
        json::parse_json(number, &text)
    } else {
        value::parse_toml(number, &text)
    };
    let path = path.to_owned();
    reader.sources.push(Source { path, text });
    let label = if is_json {
        "this is no JSON"
    } else {
        "this is no TOML"
    };
    for (at, what) in complaints {
        // Of a name that stands twice the first counts, and the rest is as it is.
        let is_twice = what == "duplicate key";
        reader.unreadable |= !is_twice;
        let label = if is_twice { "again here" } else { label };
        reader.problem(Some(at), what, label, None);
    }
    reader.of_today(&mut table);
    Some((number, table))
}

/// A file's text, or why there is none and what to do.
fn text_of(path: &Path) -> Result<String, (String, Option<String>)> {
    if let Some(name) = path.to_str().and_then(|text| text.strip_prefix(PROFILE)) {
        let profile = PROFILES.iter().find(|(known, _)| *known == name);
        let known = || PROFILES.map(|(name, _)| name).join(", ");
        return profile.map(|(_, text)| (*text).to_owned()).ok_or_else(|| {
            let what = format!("there is no profile `{name}`");
            (
                what,
                Some(format!("those that come with Elea are: {}", known())),
            )
        });
    }
    let read = |path: &Path| {
        let file = File::open(path).map_err(|e| e.to_string())?;
        let kind = file.metadata().map_err(|e| e.to_string())?;
        if !kind.is_file() {
            return Err("it is no file".into());
        }
        text(file)
    };
    read(path).map_err(|why| {
        let help = "paths are relative to the folder of the file that names them";
        let what = format!("cannot read the config {}: {why}", path.display());
        (what, Some(help.to_owned()))
    })
}

/// A path as the file `config` means it: relative to its folder.
pub(super) fn beside(config: &Path, name: impl AsRef<Path>) -> PathBuf {
    config.parent().unwrap_or(Path::new("")).join(name)
}

fn text(from: impl Read) -> Result<String, String> {
    let mut bytes = Vec::new();
    from.take(LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| e.to_string())?;
    if bytes.len() as u64 > LIMIT {
        return Err(format!("it is larger than {} MiB", LIMIT >> 20));
    }
    String::from_utf8(bytes)
        .map_err(|e| format!("it is not UTF-8 (byte {})", e.utf8_error().valid_up_to()))
}
