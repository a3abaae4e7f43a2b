//! Local edits of `/etc` taken into the config: a key where one says the same for certain, else a copy of the file
//! beside the config and an entry of `[files]`.
//!
//! What is said already is changed where it is said, in the config's own file or in one that it imports from its folder; what
//! is new goes into the config's own. [`plan()`] decides, reads the result as a whole and writes nothing; [`Plan::apply`]
//! writes the copies, then the texts that name them. Secrets are refused: an image is for everybody to read.

mod decide;
mod edit;
mod layout;
mod units;
mod write;

use super::load::{self, Instead};
use super::{Config, Findings, Setting};
use elea_etc::{Found, Local, Owned};
use elea_sys::PathError;
use elea_sys::root::Root;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The value of `schema`.
pub const SCHEMA: &str = "elea.etc-adopt/1";
/// A file of `/etc` that is taken is never larger, in bytes.
pub const LARGEST: u64 = 16 << 20;

/// What is written, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Adoption {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The config's file.
    pub config: PathBuf,
    /// What the config says now.
    pub adopted: Vec<Adopted>,
    /// What it does not, and why.
    pub refused: Vec<Refused>,
    /// Whether it was only asked what would be written.
    pub dry_run: bool,
}

/// An edit that is in the config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Adopted {
    /// The path below `/etc`.
    pub path: String,
    /// The files of the config that say it.
    pub files: Vec<PathBuf>,
    /// What says it, as TOML; empty where another line does.
    pub lines: Vec<String>,
    /// The copy of it, relative to the config's folder.
    pub copy: Option<PathBuf>,
}

/// An edit that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The path below `/etc`.
    pub path: String,
    /// Why not, and what to do instead.
    pub why: String,
}

/// Why nothing was adopted.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// A file could not be read or written.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The config is no TOML: another program writes it.
    #[error("{} is JSON, which a program writes: let that say it", .0.display())]
    Json(PathBuf),
    /// The text of the config cannot be edited.
    #[error("{} cannot be edited: {why}", path.display())]
    Edit {
        /// The config.
        path: PathBuf,
        /// What is in the way.
        why: String,
    },
    /// With these lines it would not be a config; nothing was written.
    #[error("with these lines the config would be wrong; nothing was written\n{0}")]
    Wrong(Findings),
}

/// What is to be written.
#[derive(Debug)]
pub struct Plan {
    /// What a person is told.
    pub shown: Adoption,
    /// The new texts of the config and of what it imports, of those that change.
    texts: BTreeMap<PathBuf, String>,
    /// Files beside the config, relative to its folder.
    copies: Vec<(PathBuf, Vec<u8>)>,
}

/// What the config is to say of one edit.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Take {
    /// Values: the table's names and the key, and what it is to be.
    Values(Vec<(Vec<String>, NewValue)>),
    /// An entry of `[files]`.
    File,
    /// What says another edit says this one too.
    Covered,
    /// Nothing, and why.
    Refuse(String),
}

/// What a value is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum NewValue {
    /// This, alone.
    One(Setting),
    /// One more of a list, and the lists of the same table that it must not be in.
    Item(String, &'static [&'static str]),
}

/// Plans how the config takes in these edits. `image` is the root of the system without the machine's `/etc`.
pub fn plan(config: &Config, edits: &[Local], image: &Root) -> Result<Plan, AdoptError> {
    let path = &config.path;
    if path.extension().is_some_and(|e| e == "json") {
        return Err(AdoptError::Json(path.clone()));
    }
    let mut documents = edit::Documents::of(config)?;
    let mut plan = Plan {
        shown: Adoption {
            schema: SCHEMA,
            config: path.clone(),
            adopted: Vec::new(),
            refused: Vec::new(),
            dry_run: true,
        },
        texts: BTreeMap::new(),
        copies: Vec::new(),
    };
    let decisions = decide::Decide::new(config, edits, image);
    let mut folders = Vec::new();
    let mut told = BTreeSet::new();
    for local in edits {
        let taken = match decisions.of(local) {
            Take::Refuse(why) => Err(why),
            Take::Covered => Ok((Vec::new(), None)),
            Take::Values(values) => documents.values(config, &values).map(|lines| (lines, None)),
            Take::File if is_plain_folder(local) => {
                folders.push(local.path.clone());
                continue;
            }
            Take::File => documents.file(config, local),
        };
        let files = documents.take_changed();
        plan.note(&local.path, taken, files, &mut told);
    }
    // A folder with nothing of its own is made with what is in it.
    for path in folders {
        let below = format!("{path}/");
        let local = edits.iter().find(|local| local.path == path);
        let has = plan
            .shown
            .adopted
            .iter()
            .any(|one| one.path.starts_with(&below));
        let taken = match local {
            Some(local) if !has => documents.file(config, local),
            _ => Ok((Vec::new(), None)),
        };
        let files = documents.take_changed();
        plan.note(&path, taken, files, &mut told);
    }
    plan.shown.adopted.sort_by(|a, b| a.path.cmp(&b.path));
    plan.texts = documents.texts();
    plan.check(config)?;
    Ok(plan)
}

type Taken = Result<(Vec<String>, Option<(PathBuf, Vec<u8>)>), String>;

impl Plan {
    /// Reads the config whole with its new texts, as if they and the copies were there.
    fn check(&self, config: &Config) -> Result<(), AdoptError> {
        if self.texts.is_empty() {
            return Ok(());
        }
        let copies = self.copies.iter();
        let instead = Instead {
            texts: self.texts.clone(),
            files: copies
                .map(|(name, _)| load::beside(&config.path, name))
                .collect(),
        };
        let read = load::load_instead(&config.path, instead);
        read.map(|_| ()).map_err(AdoptError::Wrong)
    }

    fn note(&mut self, path: &str, taken: Taken, files: Vec<PathBuf>, told: &mut BTreeSet<String>) {
        let path = path.to_owned();
        match taken {
            Err(why) => self.shown.refused.push(Refused { path, why }),
            Ok((mut lines, copy)) => {
                // What two edits ask for is said once.
                let all = lines.join("\n");
                if !told.insert(all) {
                    lines.clear();
                }
                let name = copy.as_ref().map(|(name, _)| name.clone());
                self.copies.extend(copy);
                self.shown.adopted.push(Adopted {
                    path,
                    files,
                    lines,
                    copy: name,
                });
            }
        }
    }
}

fn is_plain_folder(local: &Local) -> bool {
    let plain =
        |owned: &Owned| owned.mode == 0o755 && owned.owner == "root" && owned.group == "root";
    local.is_new && matches!(&local.found, Found::Folder(owned) if plain(owned))
}

/// Where a config says something, for messages.
fn place(config: &Config, origin: &super::Origin) -> String {
    let name = origin.file.file_name().map_or_else(
        || origin.file.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    );
    let name = if origin.file == config.path {
        name
    } else {
        origin.file.display().to_string()
    };
    format!("{name}:{}", origin.line)
}

/// The folder that the config lies in.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
