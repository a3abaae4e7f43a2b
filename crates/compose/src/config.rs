//! The config: one TOML file for a system (or JSON of the same shape), with what it imports.
//!
//! [`load()`] reads it and says everything that is wrong at once, each with its place in the
//! file. `docs/config.md` describes every key. Nothing here knows of packages or trees.

pub mod adopt;
mod check;
mod clear;
mod fmt;
pub mod home;
mod json;
pub mod keys;
mod layers;
mod load;
mod modules;
mod moves;
mod parts;
mod reader;
mod report;
mod sections;
mod settings;
mod traps;
mod value;
mod vars;
mod whens;

pub use fmt::{FmtError, format};
pub use layers::Rank;
pub(crate) use load::read;
pub use load::{files, load};
pub use moves::{MigrateError, Migrated, Renamed, migrate};
pub(crate) use reader::nearest;
pub use report::{Finding, Findings, Other};
pub use sections::apps::{App, Box};
pub use sections::certificates::Certificates;
pub use sections::firewall::{Firewall, From, Ports};
pub use sections::network::{Link, Network, Route};
pub use sections::secrets::Secret;
pub use sections::ssh::Ssh;
pub use sections::state::{Kept, State};
pub use sections::storage::{Mount, Swap};
pub use sections::templates::Template;
pub use sections::timers::Timer;
pub use sections::units::Unit;
pub(crate) use sections::units::starter;
pub use sections::update::Update;
pub use settings::Setting;
pub(crate) use value::quoted;

use elea_formats::release::Health;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use value::Place;

/// A system as its config describes it, checked as far as that is possible without packages.
/// Serialized, it is a config again: one file, with all defaults.
#[derive(Debug, Clone, Serialize)]
pub struct Config {
    /// The config's own file.
    #[serde(skip)]
    pub path: PathBuf,
    /// Every file that was read, the config itself first.
    #[serde(skip)]
    pub read: Vec<PathBuf>,
    /// What it is.
    pub system: System,
    /// The distribution that it is made from.
    pub base: Base,
    /// What is installed.
    pub packages: Packages,
    /// Files beside those of packages, by their absolute path.
    pub files: BTreeMap<String, File>,
    /// Accounts by name.
    pub users: BTreeMap<String, User>,
    /// Groups by name.
    pub groups: BTreeMap<String, Group>,
    /// Which units start.
    pub services: Services,
    /// Units that the config writes itself, by name.
    pub units: BTreeMap<String, Unit>,
    /// Commands that run at set times, by name.
    pub timers: BTreeMap<String, Timer>,
    /// The kernel.
    pub kernel: Kernel,
    /// Settings of the running kernel, by their names in sysctl(8).
    pub sysctl: BTreeMap<String, Setting>,
    /// What is made at each boot.
    pub tmpfiles: Tmpfiles,
    /// The network.
    pub network: Network,
    /// What may come in from it.
    pub firewall: Option<Firewall>,
    /// Further file systems by where they are mounted.
    pub mounts: BTreeMap<String, Mount>,
    /// Where memory goes that is not in use.
    pub swap: Swap,
    /// What of `/etc` and `/var` the machine keeps.
    pub state: State,
    /// The ssh server.
    pub ssh: Ssh,
    /// Authorities that are trusted.
    pub certificates: Certificates,
    /// What services get to know, by name.
    pub secrets: BTreeMap<String, Secret>,
    /// Files with variables filled in, by their absolute path.
    pub templates: BTreeMap<String, Template>,
    /// How a boot is judged.
    pub health: Health,
    /// Where upgrades come from.
    pub update: Option<Update>,
    /// Who may sign.
    pub trust: Trust,
    /// The boot loader.
    pub loader: Loader,
    /// Homes by the names of their users; each applies its own (`elea home apply`).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub home: BTreeMap<String, home::Home>,
    /// Apps by name; nothing acts on them yet.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub apps: BTreeMap<String, App>,
    /// Boxes by name; nothing acts on them yet.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub boxes: BTreeMap<String, Box>,
    /// The same system in other ways, by name: what a specialisation says is laid over the rest.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub specialisation: BTreeMap<String, Config>,
    /// Which of them this is; none for the system itself.
    #[serde(skip)]
    pub special: Option<String>,
    #[serde(skip)]
    places: BTreeMap<String, Place>,
    #[serde(skip)]
    said: BTreeMap<String, Vec<layers::Said>>,
    /// Items that `[remove]` takes out of lists.
    #[serde(skip)]
    gone: BTreeMap<String, BTreeMap<String, Place>>,
    #[serde(skip)]
    sources: report::Sources,
    /// What is allowed and most likely not meant.
    #[serde(skip)]
    pub warnings: Findings,
}

/// `[system]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct System {
    /// The name that an upgrade must keep.
    pub name: String,
    /// The version, ordered by UAPI.10.
    pub version: String,
    /// The security epoch.
    pub epoch: u64,
    /// The host name.
    pub hostname: String,
    /// What the boot menu shows.
    pub title: String,
    /// The locale of the system: `C.UTF-8`.
    pub locale: String,
    /// The time zone: `Europe/Vienna`.
    pub timezone: String,
}

/// `[base]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Base {
    /// The suite: `trixie`.
    pub suite: String,
    /// The archive's URL; none is what the build machine itself uses.
    pub mirror: Option<String>,
    /// An image in a registry, by its digest, whose apt resolves the packages of homes; none is the machine's own apt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<String>,
    /// `amd64`.
    pub architecture: String,
    /// The archive's components: `main`.
    pub components: Vec<String>,
}

/// `[packages]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Packages {
    /// The names, sorted.
    pub install: Vec<String>,
    /// Whether what packages recommend comes with them.
    pub recommends: bool,
}

/// `[files."/path"]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct File {
    /// What stands there.
    #[serde(flatten)]
    pub content: Content,
    /// The mode; not of a link. Shown in octal, as it is written.
    #[serde(serialize_with = "octal")]
    pub mode: u32,
    /// The owner's name or number.
    pub owner: String,
    /// The group's name or number.
    pub group: String,
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A file with this text.
    Text(String),
    /// A copy of a file of the build machine.
    Copy(PathBuf),
    /// A symbolic link to this target.
    Link(String),
    /// A folder.
    Folder,
}

/// `[users.NAME]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct User {
    /// The number; none takes the next free one and the lock keeps it.
    pub uid: Option<u32>,
    /// Whether it is no person: its number is one of the system's.
    pub system: bool,
    /// Groups besides its own.
    pub groups: Vec<String>,
    /// Keys that may log in, as lines of `authorized_keys`.
    pub ssh_keys: Vec<String>,
    /// The password's hash; none is a locked password.
    pub password: Option<String>,
    /// The shell.
    pub shell: Option<String>,
    /// The home folder.
    pub home: Option<String>,
    /// The person's name.
    pub comment: String,
    /// Whether it may become root without a password (`sudo` must be installed).
    pub sudo: bool,
}

/// `[groups.NAME]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Group {
    /// The number; none takes the next free one and the lock keeps it.
    pub gid: Option<u32>,
}

/// `[services]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Services {
    /// Units that start.
    pub enable: Vec<String>,
    /// Units that do not.
    pub disable: Vec<String>,
    /// Units that cannot be started.
    pub mask: Vec<String>,
}

/// `[kernel]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Kernel {
    /// The package that brings it.
    pub package: String,
    /// Arguments of its command line.
    pub arguments: Vec<String>,
    /// Modules in the initrd besides the usual ones.
    pub drivers: Vec<String>,
    /// Whether the usual drivers are in the initrd.
    pub usual_drivers: bool,
    /// Modules that are loaded at boot.
    pub modules: Vec<String>,
    /// Modules that no device loads by itself.
    pub blacklist: Vec<String>,
    /// Parameters of modules, by the module's name.
    pub options: BTreeMap<String, BTreeMap<String, Setting>>,
}

/// `[tmpfiles]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tmpfiles {
    /// Lines of tmpfiles.d(5).
    pub lines: Vec<String>,
}

/// `[trust]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Trust {
    /// Files with public keys (PEM); the image trusts them.
    pub keys: Vec<PathBuf>,
    /// A `trust.toml`; the image has it.
    pub policy: Option<PathBuf>,
}

/// `[loader]`: the boot loader comes from a suite of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Loader {
    /// The suite: `sid`.
    pub suite: String,
    /// The package that holds the EFI program.
    pub package: String,
    /// The version; none is the newest.
    pub version: Option<String>,
}

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

/// Something that is said of a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Definition {
    /// Where.
    #[serde(flatten)]
    pub origin: Origin,
    /// The value, as TOML writes it.
    pub value: String,
    /// How much weight it has.
    pub rank: Rank,
    /// Why what stands there counts at all: that the file is imported, which module it is; empty in the config itself.
    pub why: String,
    /// Whether it is what holds, or a part of it.
    pub holds: bool,
    /// Where it is taken out again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed: Option<Origin>,
}

/// An item of a list, and everybody who says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// The item, as TOML writes it.
    pub value: String,
    /// Whether it is in the list that comes out.
    pub holds: bool,
    /// Who says it, in the order of the layers.
    pub said: Vec<Definition>,
}

/// What something other than the reader found in a config.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Whether nothing can be done before it is put right.
    pub(crate) is_error: bool,
    /// Dotted names of values that it is about; the first that was written is shown.
    pub(crate) keys: Vec<String>,
    /// The line of a longer text that it is about.
    pub(crate) line: Option<String>,
    pub(crate) what: String,
    pub(crate) label: String,
    pub(crate) help: Option<String>,
}

/// With the keys that a config has for it.
impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Self::Text(text) => map.serialize_entry("content", text)?,
            Self::Copy(path) => map.serialize_entry("source", path)?,
            Self::Link(target) => map.serialize_entry("symlink", target)?,
            Self::Folder => map.serialize_entry("directory", &true)?,
        }
        map.end()
    }
}

/// The texts of a list of texts, each as a definition has it.
fn strings(list: &str) -> Option<Vec<String>> {
    let table: toml::Table = format!("list = {list}").parse().ok()?;
    let items = table.get("list")?.as_array()?.iter();
    items
        .map(|item| item.as_str().map(|text| format!("{text:?}")))
        .collect()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
fn octal<S: Serializer>(mode: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{mode:04o}"))
}

impl Config {
    /// The folder that the lock lies in.
    pub fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    /// Everything that is said of a value, by its dotted name and in the order of the layers.
    pub fn said(&self, key: &str) -> Vec<Definition> {
        let said = self.said.get(key).into_iter().flatten();
        let definition = |said: &layers::Said| {
            Some(Definition {
                origin: self.origin_of(said.at)?,
                value: said.text.clone(),
                rank: said.rank,
                why: said.why.clone(),
                holds: said.counts,
                removed: said.gone.and_then(|at| self.origin_of(at)),
            })
        };
        said.filter_map(definition).collect()
    }

    /// Every item that somebody says of a list, in the order of the layers; none if it is no list. `value` is what
    /// comes out, as TOML writes it.
    pub fn items(&self, key: &str, value: Option<&str>) -> Vec<Item> {
        let mut items: Vec<Item> = Vec::new();
        let left = value.and_then(strings);
        for said in self.said.get(key).into_iter().flatten() {
            for (value, at) in &said.items {
                let gone = self.gone.get(key).and_then(|gone| gone.get(value)).copied();
                let gone = gone.or_else(|| self.taken_out(key, value));
                // What is forced stays.
                let gone = gone.filter(|_| said.rank != Rank::Force).or(said.gone);
                let is_left = left.as_ref().is_none_or(|left| left.contains(value));
                let Some(origin) = self.origin_of(*at) else {
                    continue;
                };
                let definition = Definition {
                    origin,
                    value: value.clone(),
                    rank: said.rank,
                    why: said.why.clone(),
                    holds: said.counts && gone.is_none() && is_left,
                    removed: gone.and_then(|at| self.origin_of(at)),
                };
                let known = items.iter().position(|item| item.value == *value);
                let at = known.unwrap_or_else(|| {
                    items.push(Item {
                        value: value.clone(),
                        holds: false,
                        said: Vec::new(),
                    });
                    items.len() - 1
                });
                items[at].holds |= definition.holds;
                items[at].said.push(definition);
            }
        }
        items
    }

    /// Where `packages.remove` has an item.
    fn taken_out(&self, key: &str, item: &str) -> Option<Place> {
        let removing = self
            .said
            .get("packages.remove")
            .filter(|_| key == "packages.install")?;
        let mut items = removing.iter().flat_map(|said| &said.items);
        items.find(|(value, _)| value == item).map(|(_, at)| *at)
    }

    /// The names of all values of which something is said.
    pub fn said_keys(&self) -> impl Iterator<Item = &str> {
        self.said.keys().map(String::as_str)
    }

    /// All values with their dotted names, those that are left to the defaults too, as TOML writes them.
    pub fn values(&self) -> Vec<(String, String)> {
        fn walk(path: &str, value: &toml::Value, all: &mut Vec<(String, String)>) {
            match value {
                toml::Value::Table(table) => {
                    for (name, value) in table {
                        let name = value::quoted(name);
                        let path = match path {
                            "" => name,
                            path => format!("{path}.{name}"),
                        };
                        walk(&path, value, all);
                    }
                }
                value => all.push((path.to_owned(), value.to_string())),
            }
        }
        let mut all = Vec::new();
        // A config is a table of plain values.
        if let Ok(mut table) = toml::Table::try_from(self) {
            table.remove("specialisation");
            walk("", &toml::Value::Table(table), &mut all);
        }
        all
    }

    /// One of the specialisations, as a config of its own.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn specialised(mut self, name: &str) -> Result<Self, Findings> {
        if let Some(special) = self.specialisation.remove(name) {
            return Ok(special);
        }
        let known: Vec<&str> = self.specialisation.keys().map(String::as_str).collect();
        let what = format!("the config has no specialisation `{name}`");
        let help = if known.is_empty() {
            "it has none; [specialisation.NAME] declares one".to_owned()
        } else {
            format!("it has: {}", known.join(", "))
        };
        Err(Findings::error(what, &help))
    }

    /// Where a value was written, by its dotted name: `system.version`, `packages.install[jq]`.
    pub fn origin(&self, key: &str) -> Option<Origin> {
        self.origin_of(*self.places.get(key)?)
    }

    /// Where a value was written, or the first one of a table.
    fn place(&self, key: &str) -> Option<Place> {
        value::place_of(&self.places, key)
    }

    fn origin_of(&self, place: Place) -> Option<Origin> {
        let source = self.sources.get(place.file)?;
        let (line, column) = report::position(&source.text, place.start);
        Some(Origin {
            file: source.path.clone(),
            line,
            column,
        })
    }

    /// The names of all values that the config and its imports set.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// Errors that only the packages could tell, each tied to a value by its dotted name:
    /// (name, what is wrong, what to do).
    pub fn errors(&self, found: Vec<(String, String, Option<String>)>) -> Findings {
        Findings::tied(Arc::clone(&self.sources), found, |key| self.place(key))
    }

    /// What others found in the config, tied to its lines.
    pub(crate) fn found(&self, found: Vec<Found>) -> Findings {
        let (mut errors, mut warnings) = (Vec::new(), Vec::new());
        for found in found {
            let place = found.keys.iter().find_map(|key| {
                let place = self.place(key)?;
                let line = found.line.as_deref().filter(|line| !line.is_empty());
                let inner = line.and_then(|line| report::within(&self.sources, place, line));
                Some(inner.unwrap_or(place))
            });
            let problem = report::Problem {
                at: place,
                what: found.what,
                label: found.label,
                help: found.help,
                other: None,
            };
            if found.is_error {
                errors.push(problem);
            } else {
                warnings.push(problem);
            }
        }
        Findings::new(Arc::clone(&self.sources), errors, warnings)
    }
}
