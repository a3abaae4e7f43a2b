//! The lock: what exactly a config means, so that the same image can be made again.
//!
//! [`resolve()`] makes it, [`load`] and [`save`] keep it beside the config, and
//! `docs/formats/lock.md` describes the file.

mod changes;
mod file;
mod resolve;
mod stages;
mod update;

pub use changes::{Change, Changes, changes};
pub use file::{Loaded, encode, load, parse, path_of, save};
pub(crate) use file::{read as load_at, save_at};
pub(crate) use resolve::{Asked, settle};
pub use resolve::{fetch, request, resolve, resolve_beside, to_fetch};
#[cfg(test)]
pub(crate) use stages::tests as stages_for_tests;
pub use stages::{Stage, Staged};
pub use update::Update;

use crate::config;
use crate::program::ProgramError;
use elea_formats::digest::{Digest, Sha256};
use elea_sys::PathError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The value of `schema`.
pub const SCHEMA: &str = "elea.lock/1";

/// Everything that a build takes from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// [`SCHEMA`].
    pub schema: String,
    /// SHA-256 of what the config asks of archives; another one means that the lock is outdated.
    pub request: Sha256,
    /// `amd64`.
    pub architecture: String,
    /// The time that no file of the image is newer than, in seconds since 1970: the date of
    /// the newest archive.
    pub epoch: i64,
    /// The archives as they were, the release itself first.
    pub archives: Vec<Archive>,
    /// The packages, sorted by name.
    pub packages: Vec<Package>,
    /// The order in which they are installed; empty if all are installed together.
    #[serde(default)]
    pub stages: Vec<Stage>,
    /// The package that the boot loader's file is taken from; it is not installed. None in the lock of a home.
    #[serde(default)]
    pub loader: Option<Package>,
    /// The numbers of users by name. A build adds to them and changes none.
    #[serde(default)]
    pub users: BTreeMap<String, u32>,
    /// The numbers of groups by name.
    #[serde(default)]
    pub groups: BTreeMap<String, u32>,
}

impl Lock {
    /// All packages, the loader's too.
    pub fn all(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().chain(&self.loader)
    }

    /// The loader's package, which the lock of a system has.
    pub(crate) fn loader(&self) -> Result<&Package, Error> {
        let why = "the lock is that of a home and names no boot loader; delete it to resolve anew";
        self.loader.as_ref().ok_or_else(|| Error::Tree(why.into()))
    }
}

/// An archive at the time of locking.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// `trixie-security`.
    pub suite: String,
    /// Its `Date`, as it stands in the release file.
    pub date: String,
    /// SHA-256 of its signed release file.
    pub release: Sha256,
}

/// A package's file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// `openssh-server`.
    pub name: String,
    /// `1:10.0p1-7`.
    pub version: String,
    /// `amd64`, `all`.
    pub architecture: String,
    /// SHA-256 of the file.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// The archive's suite.
    pub archive: String,
    /// Where it is below the archive's URL, escaped as in a URL.
    pub file: String,
}

/// What a build needs beside the config.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder that fetched packages are kept in.
    pub cache: PathBuf,
    /// The folder for the work, where some gigabytes should be free; all is removed at the end.
    pub work: PathBuf,
    /// Whether nothing may be fetched or resolved anew: the lock must hold.
    pub locked: bool,
    /// Which packages move to newer versions where the archives have them.
    pub update: Update,
    /// Whether packages are unpacked and configured anew, though a tree of them is kept.
    pub fresh: bool,
    /// By how much later the time is that programs of packages see than the machine's. What is made at another time is
    /// not kept for later builds.
    pub clock_ahead: Duration,
    /// A tree of tools whose apt is asked instead of the machine's.
    pub tools: Option<PathBuf>,
    /// The program `elea` that goes into the image.
    pub elea: PathBuf,
    /// The static program `elea-initrd` that becomes the initrd.
    pub initrd: PathBuf,
    /// The images of its specialisations, which the image names.
    pub specialisations: BTreeMap<String, Digest>,
}

impl Options {
    /// The system whose sources name archives: the tree of tools, else the machine.
    pub(crate) fn system(&self) -> PathBuf {
        match &self.tools {
            Some(profile) => profile.join("tree"),
            None => "/".into(),
        }
    }

    /// Where packages are kept for a store: beside it.
    pub fn cache_beside(store: &Path) -> PathBuf {
        store
            .parent()
            .unwrap_or(Path::new("."))
            .join("cache/packages")
    }
}

/// Why there is no lock, or no build.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The config asks for what the archives do not have.
    #[error("{0}")]
    Config(#[source] config::Findings),
    /// A file could not be read or written.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Another program failed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The lock file makes no sense.
    #[error("the lock {} is damaged: {why}; restore it, or delete it to resolve anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A lock of a later Elea.
    #[error("the lock {} is `{found}`, and this Elea reads `{SCHEMA}`; use a newer Elea", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: String,
    },
    /// `--locked`, and there is no lock.
    #[error("{} has no lock, and `--locked` allows no resolving; build once without it", path.display())]
    NoLock {
        /// The config.
        path: PathBuf,
    },
    /// `--locked`, and the config asks for something else.
    #[error("the lock of {} does not fit it any more ({why}), and `--locked` allows no resolving; build once without it", path.display())]
    Outdated {
        /// The config.
        path: PathBuf,
        /// What differs.
        why: String,
    },
    /// No archive to ask.
    #[error("{why}; name one in the config: [base] mirror = \"URL\"")]
    NoArchive {
        /// What was looked for.
        why: String,
    },
    /// The keys of the distribution are not there.
    #[error(
        "the distribution's keys ({0}) are not on this machine; install the package debian-archive-keyring"
    )]
    NoKeys(&'static str),
    /// apt said something that is not understood.
    #[error("apt's answer about {about} is not understood: {why}")]
    Answer {
        /// What was asked.
        about: String,
        /// What is wrong.
        why: String,
    },
    /// A package cannot be had.
    #[error(
        "{name} {version} cannot be fetched: {why}; what was fetched is kept, so try again when the archive can be reached"
    )]
    Fetch {
        /// The package.
        name: String,
        /// The version.
        version: String,
        /// Why.
        why: String,
    },
    /// Archives have no such files any more.
    #[error("{}", gone(packages, cache))]
    Gone {
        /// What is gone, as the lock has it.
        packages: Vec<Package>,
        /// The folder of packages.
        cache: PathBuf,
    },
    /// `--update` names what the lock does not have.
    #[error("{}", not_locked(names))]
    NotLocked {
        /// The names, each with the nearest one of the lock.
        names: Vec<(String, Option<String>)>,
    },
    /// A package's file makes no sense.
    #[error("the package {} is damaged: {why}; delete it to have it fetched anew", path.display())]
    Deb {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// There is no apt, and no image that has it is named.
    #[error(
        "this machine has no apt, which finds the versions of packages; name an image that has it: [base] tools = \"registry:HOST/NAME@sha256:DIGEST\" (one of Debian's own will do)"
    )]
    NoApt,
    /// An image of tools lacks one.
    #[error(
        "the image {image} has no {lacking}; `base.tools` must name one that has apt, dpkg and Debian's keys"
    )]
    Tools {
        /// The image.
        image: String,
        /// The file that is not in it.
        lacking: String,
    },
    /// An image cannot be fetched.
    #[error(transparent)]
    Net(#[from] elea_net::NetError),
    /// `--locked`, and a package is not kept here.
    #[error("{count} packages of the lock are not in {} (the first is {first}), and `--locked` fetches nothing; build once without it", cache.display())]
    NotKept {
        /// How many.
        count: usize,
        /// One of them.
        first: String,
        /// The folder of packages.
        cache: PathBuf,
    },
    /// Only root can own other people's files.
    #[error("a build needs root: files of many owners are made; run it with sudo")]
    NotRoot,
    /// The tree that packages made is not what a system needs.
    #[error("{0}")]
    Tree(String),
    /// The initrd cannot be made.
    #[error(transparent)]
    Initrd(#[from] crate::initrd::Error),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] elea_store::Error),
}

fn gone(packages: &[Package], cache: &Path) -> String {
    let mut out = match packages.len() {
        1 => "the archive has dropped a package of the lock, and it is not kept in ".to_owned(),
        n => {
            format!("the archives have dropped {n} packages of the lock, and they are not kept in ")
        }
    };
    let _ = writeln!(out, "{}:", cache.display());
    for package in packages {
        let _ = writeln!(
            out,
            "  {} {} (was in {})",
            package.name, package.version, package.archive
        );
    }
    let names: Vec<&str> = packages.iter().map(|p| p.name.as_str()).collect();
    let _ = write!(
        out,
        "let them move with `elea lock --update {}`, or take the folder of packages of a machine that built this (`--cache DIR`)",
        names.join(" ")
    );
    out
}

fn not_locked(names: &[(String, Option<String>)]) -> String {
    let each = names.iter().map(|(name, near)| match near {
        Some(near) => format!("the lock has no package `{name}`; did you mean `{near}`?"),
        None => format!("the lock has no package `{name}`; `elea lock` without a name adds what the config asks for"),
    });
    each.collect::<Vec<_>>().join("\n")
}
