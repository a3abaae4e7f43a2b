//! What a config says of homes.

pub mod folder;

use super::report::Findings;
use super::value::Place;
use super::{Base, Content, octal};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// `[home.NAME]`: what one person's home has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Home {
    /// Files by their path in the home.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, HomeFile>,
    /// User units by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub units: BTreeMap<String, HomeUnit>,
    /// Variables of the session.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Names of packages.
    pub packages: Vec<String>,
}

/// `[home.NAME.files."path"]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HomeFile {
    /// What stands there: a text, a link, or what is copied, which may be a folder with all that is in it.
    #[serde(flatten)]
    pub content: Content,
    /// The mode; not of a link. Without one, it is that of a file whose source may be run, or not.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "mode")]
    pub mode: Option<u32>,
    /// How it comes there; not of a link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub how: Option<How>,
    /// What a file that is merged is written in, if its path does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
}

impl HomeFile {
    /// Whether it is a folder of files that are copied.
    pub fn is_folder(&self) -> bool {
        matches!(&self.content, Content::Copy(path) if path.is_dir())
    }
}

/// How a file comes into a home.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// As a file that programs may write to.
    Copy,
    /// As a link to a copy that nobody writes to.
    Link,
    /// Key by key.
    Merge,
    /// Once, where nothing is.
    Seed,
}

/// What a file that is merged is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// JSON.
    Json,
    /// INI.
    Ini,
    /// TOML.
    Toml,
}

/// `[home.NAME.units."x.service"]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HomeUnit {
    /// Its text, or the file that has it.
    #[serde(flatten)]
    pub content: Content,
    /// Whether what its `[Install]` names starts it.
    pub enable: bool,
}

/// What a config says of one home, read for it alone.
#[derive(Debug, Clone)]
pub struct OneHome {
    /// Whose it is.
    pub user: String,
    /// The home.
    pub home: Home,
    /// The distribution that its packages are of.
    pub base: Base,
    /// Every file that was read, the config itself first.
    pub read: Vec<PathBuf>,
    /// Tables that are about the system, and were not looked at.
    pub ignored: Vec<String>,
    /// What is allowed and most likely not meant.
    pub warnings: Findings,
    pub(super) places: BTreeMap<String, Place>,
}

impl OneHome {
    /// The same as [`Config::errors`](super::Config::errors).
    pub fn errors(&self, found: Vec<(String, String, Option<String>)>) -> Findings {
        let place = |key: &str| super::value::place_of(&self.places, key);
        Findings::tied(self.warnings.sources(), found, place)
    }
}

#[expect(
    clippy::ref_option,
    clippy::trivially_copy_pass_by_ref,
    reason = "serde gives references"
)]
fn mode<S: serde::Serializer>(mode: &Option<u32>, serializer: S) -> Result<S::Ok, S::Error> {
    octal(&mode.unwrap_or_default(), serializer)
}

/// Reads what a config says of the home of `user`. The config may be one of a whole system or have homes alone: tables
/// about the system are not looked at, and need not be there.
pub fn load_home(path: &std::path::Path, user: &str) -> Result<OneHome, Findings> {
    super::load::load_home(path, user)
}
