//! What the machine keeps of its own: `elea state …` (`docs/formats/state.md`).

pub mod adopt;
mod copy;
pub mod list;
mod release;
pub mod reset;
pub mod restore;
pub mod snapshot;
#[cfg(test)]
mod tests;
pub mod versions;

use crate::machine::Machine;
use elea_formats::state::{Keep, Mode, PATH, State, StateError};
use elea_sys::PathError;
use elea_sys::root::Root;
use release::Release;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

pub(crate) use copy::size;
pub use copy::{Method, Size};

/// The largest file of accounts.
const MAX_ACCOUNTS: u64 = 16 << 20;

/// Why a command about state failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine could not be looked at.
    #[error(transparent)]
    Machine(#[from] crate::Error),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] PathError),
    /// The image's list cannot be used.
    #[error(transparent)]
    List(#[from] StateError),
    /// A record of Elea's own cannot be read.
    #[error("{path} cannot be read: {why}")]
    Record {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
    /// The path is not kept.
    #[error("{0} is not kept by this release; `elea state list` shows what is")]
    NotKept(String),
    /// Nothing can be in a snapshot.
    #[error(
        "nothing is declared that a snapshot could hold; [state.directories] of the config declares it"
    )]
    Nothing,
    /// No such snapshot.
    #[error("there is no snapshot {0}; `elea state list` shows those that are there")]
    NoSnapshot(u64),
    /// It holds nothing of the kind.
    #[error("snapshot {number} has nothing of {path}")]
    NotIn {
        /// The snapshot.
        number: u64,
        /// The path.
        path: String,
    },
    /// The disk has no room.
    #[error(
        "the copy needs {} MB and {} MB are free, of which some must stay; remove a snapshot (`elea state snapshot --remove N`)",
        need / 1_000_000, free / 1_000_000
    )]
    NoRoom {
        /// Bytes that it takes.
        need: u64,
        /// Bytes that may be written.
        free: u64,
    },
    /// A service did not stop or start.
    #[error("{unit} did not {verb}: {said}")]
    Service {
        /// The unit.
        unit: String,
        /// `stop`, `start`.
        verb: &'static str,
        /// What systemctl said.
        said: String,
    },
    /// `cp` failed.
    #[error("cp failed: {0}")]
    Copy(String),
    /// The path cannot be declared.
    #[error("{path} cannot be declared: {why}")]
    CannotDeclare {
        /// The path.
        path: String,
        /// Why, and what to do.
        why: String,
    },
    /// A system that does not run, and would not.
    #[error("no generation of {dir} would boot, so that it is not known what is declared; `elea --root {dir} status` says how it stands", dir = .0.display())]
    NoRelease(PathBuf),
    /// A reset was asked for already, or none was.
    #[error("{0}")]
    Reset(&'static str),
}

/// What the release keeps that runs, or of a system that does not run, that boots next.
pub fn declared(machine: &Machine) -> Result<State, Error> {
    Release::with(machine, |release| Ok(release.list.clone()))
}

/// What the image at `root` keeps; everything, if it says nothing of it.
pub(crate) fn of_image(root: &Path) -> Result<State, Error> {
    let bytes = match Root::open(root)?.read(Path::new(PATH), elea_formats::state::LARGEST) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Ok(State {
                schema: elea_formats::state::SCHEMA.to_owned(),
                mode: Mode::Persistent,
                rollback: elea_formats::state::Rollback::Offer,
                keep: Vec::new(),
            });
        }
        bytes => bytes?,
    };
    Ok(State::parse(&bytes)?)
}

/// Whether a path is in a place of its own below `/elea/state`: of a persistent machine, `/etc` is not.
fn has_place(list: &State, path: &str) -> bool {
    list.mode == Mode::Ephemeral || path.starts_with("/var/")
}

/// `/elea/state` with what a release keeps in it.
#[derive(Debug)]
pub struct Kept<'a> {
    /// `/elea/state` of the physical root, writable.
    pub(crate) folder: &'a Path,
    /// What is kept.
    pub(crate) list: &'a State,
}

/// A thing in its place: its descriptor keeps the path usable by this process and its children.
struct Held {
    _held: OwnedFd,
    path: PathBuf,
}

impl<'a> Kept<'a> {
    /// What `list` keeps in `folder` (`/elea/state`).
    pub fn new(folder: &'a Path, list: &'a State) -> Self {
        Self { folder, list }
    }

    /// The entries that are in such a place, all or these.
    fn placed(&self, paths: &[String]) -> Result<Vec<&'a Keep>, Error> {
        let all = self
            .list
            .keep
            .iter()
            .filter(|one| has_place(self.list, &one.path));
        if paths.is_empty() {
            return Ok(all.collect());
        }
        let all: Vec<&Keep> = all.collect();
        let mut chosen = Vec::new();
        for path in paths {
            let path = path.trim_end_matches('/');
            let found = all.iter().find(|one| one.path == path);
            chosen.push(*found.ok_or_else(|| Error::NotKept(path.to_owned()))?);
        }
        Ok(chosen)
    }

    /// The place's root and the path in it. Links that services left in it lead nowhere else.
    fn root<'p>(&self, path: &'p str) -> Result<(Root, &'p Path), Error> {
        let (top, inside) = path[1..].split_once('/').unwrap_or(("var", ""));
        Ok((Root::open(&self.folder.join(top))?, Path::new(inside)))
    }

    /// What is there, if it is.
    fn held(&self, path: &str) -> Result<Option<Held>, Error> {
        let (root, inside) = match self.root(path) {
            Err(Error::File(e)) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            found => found?,
        };
        match root.kind(inside) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e.into()),
            Ok(rustix::fs::FileType::Directory) => {
                let (held, _) = root.folder(inside)?;
                Ok(Some(shown(held, "/.")))
            }
            Ok(_) => Ok(Some(shown(root.file(inside)?.into(), ""))),
        }
    }
}

impl Held {
    /// What it takes.
    fn size(&self) -> Result<Size, PathError> {
        use elea_sys::At as _;
        use std::os::unix::fs::MetadataExt as _;
        // The path of a file is a link to it.
        let meta = std::fs::metadata(&self.path).at("look at", &self.path)?;
        if meta.is_dir() {
            return size(&self.path);
        }
        Ok(Size {
            bytes: meta.blocks() * 512,
            files: 1,
        })
    }
}

fn shown(held: OwnedFd, end: &str) -> Held {
    use std::os::fd::AsRawFd as _;
    // Children have other descriptors: this process's are named.
    let path = format!("/proc/{}/fd/{}{end}", std::process::id(), held.as_raw_fd());
    Held {
        _held: held,
        path: PathBuf::from(path),
    }
}

/// Stops and starts services; the real one asks systemd.
pub trait Services {
    /// Stops a unit; whether it ran.
    fn stop(&self, unit: &str) -> Result<bool, Error>;
    /// Starts a unit that ran.
    fn start(&self, unit: &str) -> Result<(), Error>;
}

/// By `systemctl`.
#[derive(Debug, Clone, Copy)]
pub struct Systemd;

impl Services for Systemd {
    fn stop(&self, unit: &str) -> Result<bool, Error> {
        let state = crate::systemd::property(Some(unit), "ActiveState");
        let runs = state.is_some_and(|state| !matches!(state.as_str(), "inactive" | "failed"));
        if runs {
            order("stop", unit)?;
        }
        Ok(runs)
    }

    fn start(&self, unit: &str) -> Result<(), Error> {
        order("start", unit)
    }
}

/// Who stops and starts the services of a machine: those of a system that does not run are left alone, and so are
/// those of the machine that this runs on.
pub fn services(machine: &Machine) -> &'static dyn Services {
    match machine.booted() {
        Some(_) => &Systemd,
        None => &Nobody,
    }
}

/// Nothing runs yet, or nothing is to be stopped.
#[derive(Debug, Clone, Copy)]
pub struct Nobody;

impl Services for Nobody {
    fn stop(&self, _: &str) -> Result<bool, Error> {
        Ok(false)
    }

    fn start(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }
}

fn order(verb: &'static str, unit: &str) -> Result<(), Error> {
    crate::systemd::order(verb, unit).map_err(|said| Error::Service {
        unit: unit.to_owned(),
        verb,
        said,
    })
}

/// Does something while the services that write these are stopped, and starts them again whatever comes of it.
fn stopped<T>(
    entries: &[&Keep],
    services: &dyn Services,
    work: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    let mut units: Vec<&str> = entries
        .iter()
        .filter_map(|one| one.service.as_deref())
        .collect();
    units.sort_unstable();
    units.dedup();
    let mut ran = Vec::new();
    let mut stopping = Ok(());
    for unit in units {
        match services.stop(unit) {
            Ok(true) => ran.push(unit),
            Ok(false) => {}
            Err(e) => {
                stopping = Err(e);
                break;
            }
        }
    }
    let done = stopping.and_then(|()| work());
    let mut starting = Ok(());
    for unit in ran {
        starting = starting.and(services.start(unit));
    }
    let done = done?;
    starting?;
    Ok(done)
}
