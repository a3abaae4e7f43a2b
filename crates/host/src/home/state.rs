//! What a home's generations are, and what was put where: the files below `~/.local/share/elea/home`.

use super::declared::{Entry, Wanted};
use super::found::Found;
use super::merge::{Format, Ownership};
use super::{Error, Home};
use elea_formats::digest::Sha256;
use elea_sys::{At as _, durable};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

/// `state.json`.
const STATE: &str = "elea.home-state/1";
/// `manifest.json`.
const GENERATION: &str = "elea.home-generation/1";
/// These files are never larger, in bytes.
const LIMIT: u64 = 64 << 20;
/// So many generations are kept, besides the one in use.
const KEPT: usize = 10;

/// What was put into a home. Its file is replaced at the moment when an apply counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) schema: String,
    /// The generation in use.
    pub(super) generation: Option<u64>,
    /// Rises with every change.
    pub(super) transaction: u64,
    pub(super) placed: BTreeMap<String, Placed>,
    /// Folders that were made; they go when nothing is in them.
    pub(super) folders: BTreeSet<String>,
    /// The same of those above this file.
    pub(super) above: BTreeSet<std::path::PathBuf>,
}

/// What was put at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(super) enum Placed {
    Link {
        target: String,
    },
    File {
        content: Sha256,
        mode: u32,
    },
    Merged {
        format: Format,
        ownership: Ownership,
    },
    /// Once, and left alone since.
    Seeded {
        content: Sha256,
    },
    /// Nothing: somebody had something there.
    Foreign,
}

impl Placed {
    /// Whether what was put there is there, unchanged.
    pub(super) fn is_there(&self, found: &Found) -> bool {
        match (self, found) {
            (Self::Link { target }, Found::Link { target: found, .. }) => target == found,
            (
                Self::File { content, mode },
                Found::File {
                    content: c,
                    mode: m,
                    ..
                },
            ) => content == c && mode == m,
            (Self::Seeded { content }, Found::File { content: found, .. }) => content == found,
            _ => false,
        }
    }
}

/// `<n>/manifest.json`: what a generation declares. The contents are in `<n>/files`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// `elea.home-generation/1`.
    pub schema: String,
    /// Its number.
    pub number: u64,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Its paths.
    pub entries: BTreeMap<String, Entry>,
    /// Names of packages.
    pub packages: Vec<String>,
    /// The profile that was made of them: its folder's name below `profiles`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Sha256>,
}

fn load<T: DeserializeOwned>(path: &Path, schema: &str) -> Result<Option<T>, Error> {
    #[derive(Deserialize)]
    struct Head {
        schema: String,
    }
    let file = match fs::File::open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.at("open", path)?,
    };
    let mut bytes = Vec::new();
    file.take(LIMIT).read_to_end(&mut bytes).at("read", path)?;
    let wrong = |why: String| Error::Record {
        path: path.to_owned(),
        why,
    };
    let newer = |why: String| Error::Newer {
        path: path.to_owned(),
        why,
    };
    let head: Head = serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))?;
    if head.schema != schema {
        let why = format!("it is `{}`, and this program knows `{schema}`", head.schema);
        let name = |schema: &str| schema.rsplit_once('/').map(|(name, _)| name.to_owned());
        let same = name(&head.schema) == name(schema);
        return Err(if same { newer(why) } else { wrong(why) });
    }
    // What is whole and names this schema was written so: what does not fit, such as a step, is not known here yet.
    serde_json::from_slice(&bytes).map(Some).map_err(|e| {
        let why = e.to_string();
        if e.is_data() { newer(why) } else { wrong(why) }
    })
}

pub(super) fn encode(value: &impl Serialize) -> Vec<u8> {
    // Maps with text as keys, and nothing that can fail.
    let mut bytes = serde_json::to_vec_pretty(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

impl Home {
    pub(super) fn load_state(&self) -> Result<State, Error> {
        Ok(load(&self.data.join("state.json"), STATE)?.unwrap_or_default())
    }

    pub(super) fn save_state(&self, state: &State) -> Result<(), Error> {
        let state = State {
            schema: STATE.into(),
            ..state.clone()
        };
        let path = self.data.join("state.json");
        Ok(durable::write_private(&path, &encode(&state))?)
    }

    pub(super) fn load_record<T: DeserializeOwned>(
        &self,
        name: &str,
        schema: &str,
    ) -> Result<Option<T>, Error> {
        load(&self.data.join(name), schema)
    }

    /// The numbers of all generations.
    pub(super) fn numbers(&self) -> Result<Vec<u64>, Error> {
        let entries = match fs::read_dir(&self.data) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.at("list", &self.data)?,
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let name = entry.at("list", &self.data)?.file_name();
            numbers.extend(name.to_str().and_then(|name| name.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    pub(super) fn manifest(&self, number: u64) -> Result<Manifest, Error> {
        let path = self.data.join(number.to_string()).join("manifest.json");
        load(&path, GENERATION)?.ok_or(Error::Unknown(number))
    }

    /// A generation with its contents, each checked.
    pub(super) fn wanted(&self, number: u64) -> Result<Wanted, Error> {
        let manifest = self.manifest(number)?;
        let files = self.data.join(number.to_string()).join("files");
        let mut wanted = Wanted {
            entries: manifest.entries,
            packages: manifest.packages,
            profile: manifest.profile,
            ..Wanted::default()
        };
        for (path, entry) in &wanted.entries {
            let Some((content, _)) = entry.content() else {
                continue;
            };
            let at = files.join(path);
            let mut bytes = Vec::new();
            let file = fs::File::open(&at).at("open", &at)?;
            let most = super::declared::LARGEST as u64 + 1;
            file.take(most).read_to_end(&mut bytes).at("read", &at)?;
            if Sha256::of(&bytes) != *content {
                return Err(Error::Damaged { number, path: at });
            }
            wanted.contents.insert(path.clone(), bytes);
        }
        Ok(wanted)
    }

    /// Writes a generation, whole and durable before it has its name.
    pub(super) fn save_generation(&self, number: u64, wanted: &Wanted) -> Result<(), Error> {
        let new = self.data.join(".new");
        remove_tree(&new)?;
        fs::create_dir(&new).at("make the folder", &new)?;
        for (path, entry) in &wanted.entries {
            let (Some((_, mode)), Some(bytes)) = (entry.content(), wanted.contents.get(path))
            else {
                continue;
            };
            let at = new.join("files").join(path);
            let folder = at.parent().unwrap_or(&new);
            fs::create_dir_all(folder).at("make the folder", folder)?;
            fs::write(&at, bytes).at("write", &at)?;
            let mode = fs::Permissions::from_mode(mode & 0o555);
            fs::set_permissions(&at, mode).at("set the mode of", &at)?;
        }
        let manifest = Manifest {
            schema: GENERATION.into(),
            number,
            created: crate::machine::now(),
            entries: wanted.entries.clone(),
            packages: wanted.packages.clone(),
            profile: wanted.profile,
        };
        if let Some(profile) = wanted.profile {
            let (target, at) = (format!("../profiles/{profile}"), new.join("profile"));
            symlink(&target, &at).at("make a link at", &at)?;
        }
        durable::write_private(&new.join("manifest.json"), &encode(&manifest))?;
        // One call for all files.
        durable::sync_filesystem(&new)?;
        let at = self.data.join(number.to_string());
        fs::rename(&new, &at).at("rename into place", &at)?;
        Ok(durable::sync_folder(&self.data)?)
    }

    /// Removes generations that are older than those that are kept.
    pub(super) fn sweep(&self, current: Option<u64>) -> Result<(), Error> {
        let numbers = self.numbers()?;
        let old = numbers.len().saturating_sub(KEPT);
        for number in numbers.iter().take(old).filter(|n| Some(**n) != current) {
            remove_tree(&self.data.join(number.to_string()))?;
        }
        remove_tree(&self.data.join(".new"))?;
        self.sweep_profiles()?;
        self.sweep_packages()
    }
}

/// Removes a folder of ours, if it is there.
pub(super) fn remove_tree(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        // Folders of packages may be such that nothing can be removed from them.
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            open_folders(path);
            Ok(fs::remove_dir_all(path).at("remove", path)?)
        }
        result => Ok(result.at("remove", path)?),
    }
}

/// Lets the owner remove what is in folders.
fn open_folders(path: &Path) {
    // What cannot be done shows when it is removed.
    let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_folders(&entry.path());
        }
    }
}
