//! What a config declares of a home, as plain values, and as the entries of a generation.

use super::merge::{self, Format};
use super::{Error, environment, units};
use elea_formats::digest::Sha256;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A file of a home is never larger, in bytes.
pub const LARGEST: usize = 16 << 20;
/// All files of a generation together, in bytes.
const ALL: usize = 128 << 20;
/// A home declares no more paths.
const MOST: usize = 10_000;
/// Where the environment is written, for the user manager and those who read environment.d(5).
pub const ENVIRONMENT: &str = ".config/environment.d/60-elea.conf";
/// The same for shells, which do not read it.
pub const SHELLS: &str = ".config/elea/environment.sh";
/// Where user units are.
pub(super) const UNITS: &str = ".config/systemd/user";

/// What a config says of a home.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Home {
    /// Its files.
    pub files: Vec<File>,
    /// User units.
    pub units: Vec<Unit>,
    /// Variables of the session.
    pub environment: BTreeMap<String, String>,
    /// Names of packages.
    pub packages: Vec<String>,
    /// Where what they offer is, if there are any.
    pub profile: Option<std::path::PathBuf>,
}

/// A file or link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path in the home: `.config/git/config`.
    pub path: String,
    /// What it is.
    pub content: Content,
    /// The mode; of links nothing.
    pub mode: u32,
    /// How it comes there; of links nothing.
    pub how: How,
}

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A link to somewhere.
    Link(String),
}

/// How a file comes into a home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// A file that programs may write to; what they wrote is never lost.
    Copy,
    /// A link to the generation's own copy, which nobody writes to.
    Link,
    /// Declared keys are written into the file.
    Merge(Format),
    /// Written where nothing is, and never again.
    Seed,
}

/// A user unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its name: `sync.timer`.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Whether what its `[Install]` names starts it.
    pub enable: bool,
}

/// A path of a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub enum Entry {
    /// A link to somewhere.
    Symlink {
        /// Its target.
        target: String,
    },
    /// A link to the generation's copy.
    Link {
        /// The copy's digest.
        content: Sha256,
        /// Its mode, without the bits for writing.
        mode: u32,
    },
    /// A file.
    Copy {
        /// Its digest.
        content: Sha256,
        /// Its mode.
        mode: u32,
    },
    /// Keys in a file.
    Merge {
        /// The digest of the text that declares them.
        content: Sha256,
        /// The mode of a file that is made for them.
        mode: u32,
        /// What the text is written in.
        format: Format,
    },
    /// A file that is made once.
    Seed {
        /// Its digest.
        content: Sha256,
        /// Its mode.
        mode: u32,
    },
}

impl Entry {
    /// The digest and the mode of what the generation keeps for it.
    pub(super) fn content(&self) -> Option<(&Sha256, u32)> {
        match self {
            Self::Symlink { .. } => None,
            Self::Link { content, mode }
            | Self::Copy { content, mode }
            | Self::Merge { content, mode, .. }
            | Self::Seed { content, mode } => Some((content, *mode)),
        }
    }
}

/// The paths of a generation, and their contents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// By path.
    pub entries: BTreeMap<String, Entry>,
    /// By path, of all that are no links to somewhere.
    pub contents: BTreeMap<String, Vec<u8>>,
    /// Names of packages.
    pub packages: Vec<String>,
    /// The profile that was made of them.
    pub profile: Option<Sha256>,
}

impl Home {
    /// Everything as paths: units and the environment become files.
    pub fn wanted(self) -> Result<Wanted, Error> {
        let mut wanted = Wanted {
            packages: self.packages,
            ..Wanted::default()
        };
        for file in self.files {
            wanted.add(file)?;
        }
        for unit in self.units {
            let path = format!("{UNITS}/{}", unit.name);
            if unit.enable {
                for link in units::links(&unit.name, &unit.text)? {
                    wanted.add(plain(
                        format!("{UNITS}/{}", link.path),
                        Content::Link(link.target),
                    ))?;
                }
            }
            wanted.add(plain(path, Content::Bytes(unit.text.into_bytes())))?;
        }
        let profile = self.profile.as_deref();
        if !self.environment.is_empty() || profile.is_some() {
            for (path, text) in [
                (
                    ENVIRONMENT,
                    environment::of_manager(&self.environment, profile),
                ),
                (SHELLS, environment::of_shells(&self.environment, profile)),
            ] {
                let content = Content::Bytes(text.into_bytes());
                wanted.add(plain(path.to_owned(), content))?;
            }
        }
        wanted.check()?;
        Ok(wanted)
    }
}

/// What nobody but us writes to.
fn plain(path: String, content: Content) -> File {
    File {
        path,
        content,
        mode: 0o644,
        how: How::Copy,
    }
}

/// Whether a text is a path inside a home: relative, without empty names, `.` and `..`.
pub fn is_path(text: &str) -> bool {
    let name = |name: &str| {
        !matches!(name, "" | "." | "..") && name.len() <= 255 && !name.chars().any(char::is_control)
    };
    text.len() <= 3000 && text.split('/').all(name)
}

impl Wanted {
    fn add(&mut self, file: File) -> Result<(), Error> {
        let path = file.path;
        if !is_path(&path) {
            let why = "paths are relative to the home, without `.` and `..`";
            return Err(Error::declared(&path, why));
        }
        let entry = match file.content {
            Content::Link(target) => Entry::Symlink { target },
            Content::Bytes(bytes) => {
                if bytes.len() > LARGEST {
                    let why = format!("it is larger than {} MiB", LARGEST >> 20);
                    return Err(Error::declared(&path, why));
                }
                let (content, mode) = (Sha256::of(&bytes), file.mode & 0o777);
                let entry = match file.how {
                    How::Copy => Entry::Copy { content, mode },
                    How::Seed => Entry::Seed { content, mode },
                    How::Link => Entry::Link {
                        content,
                        mode: mode & 0o555,
                    },
                    How::Merge(format) => {
                        let text = str::from_utf8(&bytes);
                        let text = text.map_err(|_| Error::declared(&path, "it is not UTF-8"))?;
                        merge::declared(format, text)
                            .map_err(|e| Error::declared(&path, e.to_string()))?;
                        Entry::Merge {
                            content,
                            mode,
                            format,
                        }
                    }
                };
                self.contents.insert(path.clone(), bytes);
                entry
            }
        };
        if self.entries.insert(path.clone(), entry).is_some() {
            let why = "it is declared twice: as a file, and by a unit or the environment";
            return Err(Error::declared(&path, why));
        }
        Ok(())
    }

    /// What is only to be seen of all paths together.
    fn check(&self) -> Result<(), Error> {
        let size: usize = self.contents.values().map(Vec::len).sum();
        if size > ALL || self.entries.len() > MOST {
            let why = format!("a home has at most {} MiB and {MOST} paths", ALL >> 20);
            return Err(Error::declared("home", why));
        }
        for path in self.entries.keys() {
            for (at, _) in path.match_indices('/') {
                if self.entries.contains_key(&path[..at]) {
                    let why = format!("{} is declared too, and is no folder", &path[..at]);
                    return Err(Error::declared(path, why));
                }
            }
        }
        Ok(())
    }
}
