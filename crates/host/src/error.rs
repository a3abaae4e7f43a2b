//! Why a verb could not do its work.

use crate::{apply, entries, esp, plan, view};
use elea_formats::oci::reference::ReferenceError;
use elea_net::NetError;
use elea_store::trust::TrustError;
use elea_sys::PathError;
use elea_sys::lock::LockError;
use elea_sys::mount::MountError;
use std::path::PathBuf;

/// Why a verb could not do its work. Nothing that boots was changed, unless the message says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file operation failed.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A mount failed.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// Only root may read the boot partition and write the state.
    #[error("this needs root; run it again with sudo")]
    NotRoot,
    /// The machine is none of Elea's.
    #[error(
        "{} is not a system that Elea installed (it has no elea/generations); `elea install` makes one, `--root DIR` names another",
        .0.display()
    )]
    NotElea(PathBuf),
    /// The system was started by something else.
    #[error(
        "this system was not started by Elea's initrd (there is no /run/elea/booted), so it is not known which generation runs"
    )]
    NotBooted,
    /// `/run/elea/booted` does not read.
    #[error("/run/elea/booted does not read: {0}; start the machine again")]
    Booted(String),
    /// The boot partition was not found.
    #[error(transparent)]
    Esp(#[from] esp::Error),
    /// A system root without a boot partition.
    #[error("there is no folder `loader` below {0}/efi or {0}/boot: mount the boot partition there", root.display())]
    NoBoot {
        /// The system root.
        root: PathBuf,
    },
    /// Somebody else is at work.
    #[error("{holder} is at work on this machine; wait for it to end, or say --wait")]
    Busy {
        /// "elea upgrade, process 812".
        holder: String,
    },
    /// The lock file could not be used.
    #[error(transparent)]
    Lock(LockError),
    /// The machine's state could not be read.
    #[error(transparent)]
    View(#[from] view::Error),
    /// The change is not made.
    #[error(transparent)]
    Refused(#[from] plan::Refusal),
    /// The change could not be carried out.
    #[error(transparent)]
    Apply(#[from] apply::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] elea_store::Error),
    /// Nothing could be fetched.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The trusted keys could not be read.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// `/etc` could not be compared.
    #[error(transparent)]
    Etc(#[from] elea_etc::Error),
    /// An image is not one that this machine can boot.
    #[error(transparent)]
    Image(#[from] crate::install::Error),
    /// The record of what the running release says of itself cannot be read.
    #[error("the running image's usr/lib/elea/release.json cannot be read: {0}")]
    Release(String),
    /// Nothing says where upgrades come from.
    #[error("this machine follows nothing; `elea switch REF` names what to follow")]
    NoSource,
    /// The reference is none.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// What is offered failed here before.
    #[error(
        "{version} failed on this machine as generation {number} ({reason}) and is not tried again by itself; `elea log show {number}` shows what happened, `elea retry {number}` tries it again"
    )]
    FailedBefore {
        /// The version.
        version: String,
        /// The failed generation.
        number: u64,
        /// Why it failed.
        reason: String,
    },
    /// Accounts of the machine and of the release cannot both be.
    #[error(
        "the release brings accounts that this machine has otherwise: {}; rename or renumber the machine's, then try again",
        .0.join("; ")
    )]
    Clash(Vec<String>),
    /// No such generation.
    #[error("there is no generation {0}; `elea generations` lists them")]
    Unknown(u64),
    /// An image that is needed is gone.
    #[error(
        "the image of generation {number} is not in the store any more; `elea switch REF` fetches it again"
    )]
    Gone {
        /// The generation.
        number: u64,
    },
    /// `etc reset` of something that is no edit.
    #[error("/etc/{0} is not changed on this machine; `elea etc diff` lists what is")]
    NoEdit(String),
    /// A program that is needed failed.
    #[error("{program} failed: {said}")]
    Program {
        /// Its name.
        program: &'static str,
        /// What it said.
        said: String,
    },
    /// A live switch waits for its confirmation.
    #[error(
        "an `elea apply` waits to be confirmed; `elea confirm` keeps it, `elea confirm --revert` takes it back"
    )]
    Unconfirmed,
    /// The boot that runs has no verdict yet.
    #[error(
        "this boot has not been judged yet, and what is judged must not change; wait for it (`elea status`), or stage for the next boot with --boot"
    )]
    Unjudged,
    /// Nothing can be switched live where nothing runs.
    #[error(
        "the system at {0} does not run: there is nothing to switch live; leave --test and --confirm out"
    )]
    NotRunning(PathBuf),
    /// Nothing to undo, or nothing that can be.
    #[error(transparent)]
    Undo(crate::undo::Why),
    /// Nothing of the change can be tried live.
    #[error("nothing of it can be switched live: {0}; `elea apply --boot` boots it next, on trial")]
    NotLive(String),
    /// A part of a live switch.
    #[error("cannot switch /etc: {0}")]
    Live(String),
    /// A live switch could not be begun or ended.
    #[error(transparent)]
    Switch(#[from] crate::live::ExecuteError),
    /// The units of a configuration cannot be planned.
    #[error(transparent)]
    Units(#[from] crate::live::Error),
    /// The units of a configuration cannot be read.
    #[error(transparent)]
    UnitFiles(#[from] crate::live::LoadError),
    /// The person asked to stop.
    #[error("stopped; nothing that boots was changed")]
    Cancelled,
}

impl From<entries::Error> for Error {
    fn from(error: entries::Error) -> Self {
        Self::Apply(error.into())
    }
}

impl From<LockError> for Error {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Held { holder, .. } => Self::Busy { holder },
            other @ LockError::Path(_) => Self::Lock(other),
        }
    }
}

impl Error {
    /// Whether a signature, a digest or a version was refused, or damage was found: exit code 5.
    pub fn is_verification(&self) -> bool {
        match self {
            Self::Net(e) => e.is_verification(),
            Self::Apply(e) => matches!(
                e,
                apply::Error::WrongPayload { .. } | apply::Error::ReadBack { .. }
            ),
            _ => false,
        }
    }
}
