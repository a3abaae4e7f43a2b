//! The versions of what services keep, and what is done when a release has another one.

use super::restore::{self, Restored};
use super::snapshot::{self, About, Snapshot};
use super::{Error, Kept, Nobody, declared, of_image};
use crate::machine::{Machine, now};
use elea_formats::digest::Digest;
use elea_formats::state::{Rollback, State};
use elea_sys::{At as _, durable};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The value of `schema`.
pub const SCHEMA: &str = "elea.state-versions/1";
/// The value of `schema` of what a boot did.
pub const SETTLED_SCHEMA: &str = "elea.state-settled/1";
/// Where they are written down, below `/elea/state`.
const FILE: &str = "versions.json";
/// Asks the boot of a generation to restore what fits it.
const REQUEST: &str = "restore.json";
/// The largest record.
const LARGEST: u64 = 4 << 20;
/// Who acts.
const BY: &str = "elea agent state";

/// The versions of the data, by path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    schema: String,
    versions: BTreeMap<String, u64>,
}

/// A restore that is asked for.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    schema: String,
    generation: u64,
}

/// What is done about a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum Step {
    /// The data is older: it is copied before the release changes it.
    Snapshot {
        /// The path.
        path: String,
        /// The version of the data.
        has: u64,
        /// The version of the release.
        knows: u64,
    },
    /// The data is newer: what fits is restored.
    Restore {
        /// The path.
        path: String,
        /// The snapshot.
        snapshot: u64,
        /// The version of the release.
        knows: u64,
    },
    /// The data is newer, and is left so.
    Offer(Offer),
    /// The version is written down.
    Record {
        /// The path.
        path: String,
        /// The version.
        version: u64,
    },
}

/// Data that is newer than a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Offer {
    /// The path.
    pub path: String,
    /// The version of the data.
    pub has: u64,
    /// The version that the release knows.
    pub knows: u64,
    /// The newest snapshot of that version, if there is one.
    pub snapshot: Option<u64>,
}

impl std::fmt::Display for Offer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            path, has, knows, ..
        } = self;
        write!(
            f,
            "{path} has data of version {has}, and the release knows {knows}: "
        )?;
        match self.snapshot {
            Some(number) => write!(
                f,
                "snapshot {number} fits (`elea state restore {number} {path}`)"
            ),
            None => write!(f, "no snapshot of version {knows} is left"),
        }
    }
}

/// What a boot did before services start.
#[derive(Debug, Clone, Serialize)]
pub struct Settled {
    /// [`SETTLED_SCHEMA`].
    pub schema: &'static str,
    /// The restore that an earlier boot did not end.
    pub resumed: Option<u64>,
    /// What was done.
    pub steps: Vec<Step>,
    /// The snapshot that was made.
    pub snapshot: Option<u64>,
    /// What was restored.
    pub restored: Vec<Restored>,
}

impl Versions {
    /// Reads what is written down; nothing, if nothing is.
    pub(super) fn load(folder: &Path) -> Result<Self, Error> {
        let found = record(&folder.join(FILE), LARGEST)?;
        Ok(found.unwrap_or(Self {
            schema: SCHEMA.to_owned(),
            versions: BTreeMap::new(),
        }))
    }

    /// Writes it down.
    pub(super) fn save(&self, folder: &Path) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        Ok(durable::write(&folder.join(FILE), &text)?)
    }

    /// The version of what is at a path.
    pub(super) fn of(&self, path: &str) -> Option<u64> {
        self.versions.get(path).copied()
    }

    pub(super) fn set(&mut self, path: &str, version: u64) {
        self.versions.insert(path.to_owned(), version);
    }
}

/// Reads a record of Elea's own, if it is there.
pub(super) fn record<T: DeserializeOwned>(path: &Path, largest: u64) -> Result<Option<T>, Error> {
    let wrong = |why: String| Error::Record {
        path: path.display().to_string(),
        why,
    };
    match fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Ok(meta) if meta.len() > largest => {
            return Err(wrong(format!("it has {} bytes", meta.len())));
        }
        meta => meta.at("look at", path)?,
    };
    let text = fs::read(path).at("read", path)?;
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|e| wrong(e.to_string()))
}

/// What a release with this list does about the data.
pub fn plan(list: &State, versions: &Versions, snapshots: &[Snapshot], restore: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    // What has no place of its own goes with the generation.
    for one in list
        .keep
        .iter()
        .filter(|one| super::has_place(list, &one.path))
    {
        let Some(knows) = one.version else { continue };
        let path = one.path.clone();
        let record = |path: &String| Step::Record {
            path: path.clone(),
            version: knows,
        };
        match versions.of(&path) {
            None => steps.push(record(&path)),
            Some(has) if has == knows => {}
            Some(has) if has < knows => {
                let recorded = record(&path);
                steps.push(Step::Snapshot { path, has, knows });
                steps.push(recorded);
            }
            Some(has) => {
                let fits =
                    |one: &&Snapshot| one.entry(&path).and_then(|e| e.version) == Some(knows);
                let snapshot = snapshots.iter().rev().find(fits).map(|one| one.number);
                match snapshot.filter(|_| restore) {
                    Some(snapshot) => steps.push(Step::Restore {
                        path,
                        snapshot,
                        knows,
                    }),
                    None => steps.push(Step::Offer(Offer {
                        path,
                        has,
                        knows,
                        snapshot,
                    })),
                }
            }
        }
    }
    steps
}

/// Before services start: makes snapshots of data that the release will change, and restores what fits it where that is
/// wanted.
pub fn settle(machine: &Machine) -> Result<Settled, Error> {
    let list = declared(machine)?;
    let folder = machine.state().root().join("state");
    let number = machine.number().unwrap_or_default();
    let request = folder.join(REQUEST);
    let asked: Option<Request> = record(&request, LARGEST)?;
    let asked = asked.is_some_and(|asked| asked.generation == number);
    let settled = carry_out(&Kept::new(&folder, &list), number, asked)?;
    if asked {
        fs::remove_file(&request).at("remove", &request)?;
        durable::sync_folder(&folder)?;
    }
    Ok(settled)
}

/// The same, apart from the machine.
pub(super) fn carry_out(kept: &Kept<'_>, generation: u64, asked: bool) -> Result<Settled, Error> {
    let resumed = restore::resume(kept, &Nobody)?;
    let mut versions = Versions::load(kept.folder)?;
    let restores = asked || kept.list.rollback == Rollback::Restore;
    let steps = plan(kept.list, &versions, &snapshot::load(kept.folder), restores);
    let about = |reason: String| About {
        time: now(),
        reason,
        by: BY.to_owned(),
        generation: Some(generation),
        automatic: true,
    };
    let older: Vec<String> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Snapshot { path, .. } => Some(path.clone()),
            _ => None,
        })
        .collect();
    let mut made = None;
    if !older.is_empty() {
        let reason = format!("before generation {generation} changes it");
        match snapshot::take(kept, &older, about(reason), &Nobody) {
            Ok(snapshot) => made = Some(snapshot.number),
            // There is no data yet.
            Err(Error::Nothing) => {}
            Err(e) => return Err(e),
        }
    }
    let mut restored = Vec::new();
    for step in &steps {
        match step {
            Step::Record { path, version } => versions.set(path, *version),
            Step::Restore { path, snapshot, .. } => {
                // What was recorded until here is durable before the restore writes its own.
                versions.save(kept.folder)?;
                let reason =
                    format!("before generation {generation} went back to snapshot {snapshot}");
                let paths = [path.clone()];
                restored.push(restore::restore(
                    kept,
                    *snapshot,
                    &paths,
                    about(reason),
                    &Nobody,
                )?);
                versions = Versions::load(kept.folder)?;
            }
            Step::Snapshot { .. } | Step::Offer(_) => {}
        }
    }
    versions.save(kept.folder)?;
    Ok(Settled {
        schema: SETTLED_SCHEMA,
        resumed,
        steps,
        snapshot: made,
        restored,
    })
}

/// Data that is newer than the release in `image` (the running one, if there is none).
pub fn offers(machine: &Machine, image: Option<&Digest>) -> Result<Vec<Offer>, Error> {
    let folder = machine.state().root().join("state");
    let versions = Versions::load(&folder)?;
    // Without any there is nothing to compare, and no image needs to be looked into.
    if versions.versions.is_empty() {
        return Ok(Vec::new());
    }
    let list = match image {
        None => declared(machine)?,
        Some(image) => {
            let read = machine.with_image(image, |root| Ok(of_image(root)));
            read??
        }
    };
    let steps = plan(&list, &versions, &snapshot::load(&folder), false);
    let offers = steps.into_iter().filter_map(|step| match step {
        Step::Offer(offer) => Some(offer),
        _ => None,
    });
    Ok(offers.collect())
}

/// Asks the boot of a generation to restore what fits it.
pub fn request(machine: &Machine, generation: u64) -> Result<(), Error> {
    let folder = machine.state().root().join("state");
    let request = Request {
        schema: restore::SCHEMA.to_owned(),
        generation,
    };
    let text = serde_json::to_vec(&request).unwrap_or_default();
    Ok(durable::write(&folder.join(REQUEST), &text)?)
}
