//! Mirrors of registries, as containers-registries.conf(5) names them (version 2 of its form).
//!
//! Machines that run podman, skopeo or buildah have these files, and who keeps a mirror writes
//! them anyway. What only concerns short names is passed over.

use crate::NetError;
use elea_formats::oci::reference::{Location, Prefix, Target};
use elea_sys::At as _;
use serde::Deserialize;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// The most files that are read of a folder.
const MAX_FILES: usize = 256;
/// The most mirrors of a place that are asked.
const MAX_MIRRORS: usize = 16;

/// Where the images of registries are to be had.
#[derive(Debug, Clone, Default)]
pub struct Registries {
    entries: Arc<Vec<Entry>>,
}

/// One `[[registry]]`.
#[derive(Debug, Clone)]
struct Entry {
    covers: Pattern,
    /// The file that it stands in.
    file: PathBuf,
    blocked: bool,
    /// What the prefix is really called.
    location: Option<Prefix>,
    insecure: bool,
    mirrors: Vec<Mirror>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Prefix(Prefix),
    /// `*.example.org`: every host below it; the text begins with the dot.
    Below(String),
}

#[derive(Debug, Clone)]
struct Mirror {
    location: Prefix,
    insecure: bool,
    pulls: Pulls,
}

/// `pull-from-mirror`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Pulls {
    #[default]
    All,
    DigestOnly,
    TagOnly,
}

/// A place to ask for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) location: Location,
    /// Whether plain HTTP is spoken there.
    pub(crate) insecure: bool,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    registry: Vec<EntryText>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct EntryText {
    prefix: Option<String>,
    location: Option<String>,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<MirrorText>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct MirrorText {
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    pull_from_mirror: Pulls,
}

/// Whether a folder is there and this user may not look into it.
fn is_closed(folder: &Path) -> bool {
    let denied = |e: io::Error| e.kind() == io::ErrorKind::PermissionDenied;
    fs::read_dir(folder).err().is_some_and(denied)
}

impl Registries {
    /// What this machine and its user have written down: the file that `$CONTAINERS_REGISTRIES_CONF`
    /// names and no other; or else the user's file or the system's, and both folders of drop-ins.
    pub fn of_user() -> Result<Self, NetError> {
        if let Some(path) = std::env::var_os("CONTAINERS_REGISTRIES_CONF") {
            return Self::load(&[PathBuf::from(path)]);
        }
        let system = Path::new("/etc/containers");
        let home = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".config")));
        let user = home.map(|home| home.join("containers"));
        // A process that became another user has the first one's `$HOME`, which is none of its business.
        let user = user.filter(|folder| !is_closed(folder));
        let mut files: Vec<PathBuf> = Vec::new();
        let own = user.iter().map(PathBuf::as_path).chain([system]);
        files.extend(
            own.map(|folder| folder.join("registries.conf"))
                .find(|path| path.exists()),
        );
        for folder in [Some(system), user.as_deref()].into_iter().flatten() {
            files.extend(drop_ins(&folder.join("registries.conf.d"))?);
        }
        Self::load(&files)
    }

    /// Reads files; of two that speak of one prefix, the later counts.
    pub fn load(files: &[PathBuf]) -> Result<Self, NetError> {
        let mut all: Vec<Entry> = Vec::new();
        for path in files {
            let mut text = String::new();
            fs::File::open(path)
                .at("open", path)?
                .take(MAX_FILE)
                .read_to_string(&mut text)
                .at("read", path)?;
            let entries = parse(path, &text).map_err(|reason| NetError::RegistriesFile {
                path: path.clone(),
                reason,
            })?;
            for entry in entries {
                all.retain(|other| other.covers != entry.covers);
                all.push(entry);
            }
        }
        Ok(Self {
            entries: Arc::new(all),
        })
    }

    /// The places to ask for an image, in this order: mirrors, then the registry itself.
    pub(crate) fn places(&self, location: &Location) -> Result<Vec<Place>, NetError> {
        let asked = Prefix::of(location);
        let longest = self
            .entries
            .iter()
            .filter_map(|entry| Some((entry.covers.length_if_covering(&asked)?, entry)))
            .max_by_key(|(length, _)| *length);
        let itself = Place {
            location: location.clone(),
            insecure: false,
        };
        let Some((_, entry)) = longest else {
            return Ok(vec![itself]);
        };
        if entry.blocked {
            return Err(NetError::Blocked {
                what: location.to_string(),
                path: entry.file.clone(),
            });
        }
        let by_digest = matches!(location.target, Target::Digest(_));
        let elsewhere = |to: &Prefix, insecure| {
            let place = match &entry.covers {
                Pattern::Prefix(from) => from.replace(to, &asked)?,
                // What a wildcard stands for has no rest: all of the name goes below the mirror.
                Pattern::Below(_) => asked.host_prefix().replace(to, &asked)?,
            };
            Some(Place {
                location: place.location(location.target.clone()),
                insecure,
            })
        };
        let mut places: Vec<Place> = entry
            .mirrors
            .iter()
            .filter(|mirror| match mirror.pulls {
                Pulls::All => true,
                Pulls::DigestOnly => by_digest,
                Pulls::TagOnly => !by_digest,
            })
            .filter_map(|mirror| elsewhere(&mirror.location, mirror.insecure))
            .take(MAX_MIRRORS)
            .collect();
        places.push(match &entry.location {
            Some(to) => elsewhere(to, entry.insecure).unwrap_or(itself),
            None => Place {
                insecure: entry.insecure,
                ..itself
            },
        });
        Ok(places)
    }
}

impl Pattern {
    /// How specific it is, if it covers a repository.
    fn length_if_covering(&self, asked: &Prefix) -> Option<(bool, usize)> {
        match self {
            Self::Prefix(prefix) => prefix.covers(asked).then(|| (true, prefix.length())),
            Self::Below(end) => asked.host().ends_with(end).then_some((false, end.len())),
        }
    }
}

fn drop_ins(folder: &Path) -> Result<Vec<PathBuf>, NetError> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.at("read", folder)?,
    };
    let mut files = Vec::new();
    for entry in entries.take(MAX_FILES) {
        let path = entry.at("read", folder)?.path();
        if path.extension().is_some_and(|e| e == "conf") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn parse(path: &Path, text: &str) -> Result<Vec<Entry>, String> {
    let document: Document = toml::from_str(text).map_err(|e| e.to_string())?;
    let place = |text: &str| {
        let parsed = text.parse::<Prefix>();
        parsed.map_err(|e| format!("`{text}` is not HOST[:PORT][/NAME]: {}", e.reason))
    };
    let mut entries = Vec::new();
    for entry in document.registry {
        let location = entry.location.filter(|text| !text.is_empty());
        let prefix = entry.prefix.filter(|text| !text.is_empty());
        let covers = match prefix.as_deref().or(location.as_deref()) {
            None => return Err("a [[registry]] has neither `prefix` nor `location`".into()),
            Some(text) => match text.strip_prefix('*') {
                Some(end) if end.starts_with('.') => {
                    Pattern::Below(format!(".{}", place(&end[1..])?.host()))
                }
                _ => Pattern::Prefix(place(text)?),
            },
        };
        let mirror = |text: MirrorText| {
            Ok(Mirror {
                location: place(&text.location)?,
                insecure: text.insecure,
                pulls: match text.pull_from_mirror {
                    Pulls::All if entry.mirror_by_digest_only => Pulls::DigestOnly,
                    pulls => pulls,
                },
            })
        };
        entries.push(Entry {
            covers,
            file: path.to_owned(),
            blocked: entry.blocked,
            location: location.as_deref().map(place).transpose()?,
            insecure: entry.insecure,
            mirrors: entry
                .mirror
                .into_iter()
                .map(mirror)
                .collect::<Result<_, String>>()?,
        });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use elea_formats::oci::reference::Reference;

    const TEXT: &str = r#"
        unqualified-search-registries = ["registry.example"]
        short-name-mode = "enforcing"
        [aliases]
        "hello" = "registry.example/hello"

        [[registry]]
        location = "registry.example"
        [[registry.mirror]]
        location = "one.lan:5000"
        insecure = true
        [[registry.mirror]]
        location = "two.lan/copies"
        pull-from-mirror = "digest-only"

        [[registry]]
        prefix = "registry.example/team"
        location = "inside.example/t"
        insecure = true

        [[registry]]
        prefix = "registry.example/bad"
        blocked = true

        [[registry]]
        prefix = "*.wild.example"
        mirror-by-digest-only = true
        [[registry.mirror]]
        location = "three.lan/wild"
    "#;

    fn places(registries: &Registries, text: &str) -> Result<Vec<String>, String> {
        let Ok(Reference::Registry(location)) = format!("registry:{text}").parse() else {
            panic!("{text} is in no registry")
        };
        let places = registries.places(&location).map_err(|e| e.to_string())?;
        let shown = places.iter().map(|place| {
            let plain = if place.insecure { " plainly" } else { "" };
            format!("{}{plain}", place.location)
        });
        Ok(shown.collect())
    }

    fn registries(texts: &[&str]) -> Registries {
        let dir = tempfile::tempdir().unwrap();
        let files: Vec<_> = texts
            .iter()
            .enumerate()
            .map(|(i, text)| {
                let path = dir.path().join(format!("{i}.conf"));
                fs::write(&path, text).unwrap();
                path
            })
            .collect();
        Registries::load(&files).unwrap()
    }

    #[test]
    fn mirrors_come_before_the_registry_and_the_longest_prefix_counts() {
        let registries = registries(&[TEXT]);
        let digest = format!("sha256:{}", "0".repeat(64));
        for (asked, wanted) in [
            (
                "registry.example/os:1",
                vec!["one.lan:5000/os:1 plainly", "registry.example/os:1"],
            ),
            (
                "registry.example/team/os:1",
                vec!["inside.example/t/os:1 plainly"],
            ),
            (
                "registry.example/team:1",
                vec!["inside.example/t:1 plainly"],
            ),
            (
                "registry.example/teams:1",
                vec!["one.lan:5000/teams:1 plainly", "registry.example/teams:1"],
            ),
            ("other.example/os:1", vec!["other.example/os:1"]),
            ("wild.example/os:1", vec!["wild.example/os:1"]),
            ("notwild.example/os:1", vec!["notwild.example/os:1"]),
            ("a.b.wild.example/os:1", vec!["a.b.wild.example/os:1"]),
        ] {
            assert_eq!(places(&registries, asked).unwrap(), wanted, "{asked}");
        }
        let by_digest = |name: &str| places(&registries, &format!("{name}@{digest}")).unwrap();
        assert_eq!(
            by_digest("registry.example/os"),
            [
                format!("one.lan:5000/os@{digest} plainly"),
                format!("two.lan/copies/os@{digest}"),
                format!("registry.example/os@{digest}"),
            ]
        );
        assert_eq!(
            by_digest("a.wild.example/os"),
            [
                format!("three.lan/wild/os@{digest}"),
                format!("a.wild.example/os@{digest}")
            ]
        );
        let error = places(&registries, "registry.example/bad/x:1").unwrap_err();
        assert!(
            error.contains("blocked") && error.contains("0.conf"),
            "{error}"
        );
        assert!(places(&registries, "registry.example/badly:1").is_ok());
        // A later file has the last word on a prefix.
        let later =
            "[[registry]]\nprefix = \"Registry.example\"\nlocation = \"registry.example\"\n";
        let registries = self::registries(&[TEXT, later]);
        assert_eq!(
            places(&registries, "registry.example/os:1").unwrap(),
            ["registry.example/os:1"]
        );
    }

    #[test]
    fn a_file_that_makes_no_sense_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("registries.conf");
        for (text, part) in [
            ("[[registry]]\nlocation = 5\n", "line 2, column 12"),
            ("[[registry]]\nblocked = true\n", "neither"),
            ("[[registry]]\nprefix = \"a/b:tag\"\n", "a/b:tag"),
            ("[[registry]]\nprefix = \"*a\"\n", "*a"),
            (
                "[[registry]]\nprefix = \"a\"\n[[registry.mirror]]\ninsecure = true\n",
                "missing field `location`",
            ),
            ("[registry]\n", "line 1"),
        ] {
            fs::write(&path, text).unwrap();
            let error = Registries::load(std::slice::from_ref(&path))
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(part) && error.contains("registries.conf"),
                "{text}: {error}"
            );
        }
    }
}
