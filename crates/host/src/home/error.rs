//! Why a home could not be changed.

use elea_sys::PathError;
use std::path::PathBuf;

/// Why a home could not be changed. Nothing was, unless the message says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file operation failed.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The folder cannot be a home.
    #[error("{} cannot be used: {why}", path.display())]
    Home {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// What is declared makes no sense.
    #[error("{path}: {why}")]
    Declared {
        /// The path or unit.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// A record does not read.
    #[error("{} cannot be read: {why}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A newer Elea wrote a record.
    #[error("{} was written by a newer elea ({why}); nothing was touched: use that one, or the newest there is", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// What is not known of it.
        why: String,
    },
    /// A generation's copy is not what it was.
    #[error("{} is not what generation {number} had; `elea home apply` makes a new one", path.display())]
    Damaged {
        /// The generation.
        number: u64,
        /// The file.
        path: PathBuf,
    },
    /// No such generation.
    #[error("this home has no generation {0}; `elea home generations` lists them")]
    Unknown(u64),
    /// There is no older one.
    #[error("generation {0} is the oldest one; `elea home remove` takes everything back")]
    Oldest(u64),
    /// Nothing was ever applied.
    #[error("nothing was applied to this home yet; `elea home apply` makes its first generation")]
    Nothing,
    /// The generation in use has none.
    #[error(
        "generation {0} of this home has no packages; name them in `packages` of its config, then `elea home apply`"
    )]
    NoPackages(u64),
    /// A profile of packages could not be made.
    #[error("the packages cannot be installed: {0}")]
    Packages(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A generation's packages are not there any more.
    #[error("the packages of this generation are gone from {}; `elea home apply` installs them anew", path.display())]
    Profile {
        /// Where they were.
        path: PathBuf,
    },
    /// The machine does not let its users have mounts of their own.
    #[error(
        "{0}; programs of a home's packages run in a user namespace, which this machine refuses: its administrator allows them by `user.max_user_namespaces` of sysctl(8), and on Ubuntu by `kernel.apparmor_restrict_unprivileged_userns=0`"
    )]
    Namespace(PathError),
    /// A mount failed.
    #[error(transparent)]
    Mount(#[from] elea_sys::mount::MountError),
    /// Somebody else is at work.
    #[error("another elea is at work on this home; wait for it to end")]
    Busy,
    /// Something happened to a folder meanwhile.
    #[error("the folder of {0} was changed meanwhile")]
    Moved(String),
    /// The person asked to stop.
    #[error("stopped; the home is as it was")]
    Stopped,
    /// Something failed halfway.
    #[error("{0}; what was done was taken back, and the home is as it was")]
    Reverted(#[source] Box<Error>),
    /// A test ended it.
    #[cfg(test)]
    #[error("killed")]
    Dead,
}

impl Error {
    pub(super) fn declared(path: &str, why: impl Into<String>) -> Self {
        Self::Declared {
            path: path.to_owned(),
            why: why.into(),
        }
    }
}
