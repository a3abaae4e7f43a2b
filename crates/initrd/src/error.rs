//! Why a generation cannot be booted.

use elea_formats::digest::Digest;
use elea_formats::modules::ListError;
use elea_sys::PathError;
use elea_sys::mount::MountError;
use std::path::PathBuf;
use std::time::Duration;

/// Why a generation cannot be booted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] PathError),
    /// A mount failed.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The kernel command line lacks something or has it wrong.
    #[error("the kernel command line has no usable `{argument}`: {found}")]
    Argument {
        /// What is needed.
        argument: &'static str,
        /// What stands there.
        found: String,
    },
    /// The initrd itself is damaged.
    #[error(transparent)]
    Modules(#[from] ListError),
    /// No block device has the file system.
    #[error(
        "no device with the file system {uuid} appeared within {} s; there are: {seen}",
        waited.as_secs()
    )]
    NoRoot {
        /// The wanted UUID.
        uuid: String,
        /// How long it was waited for.
        waited: Duration,
        /// The devices that are there.
        seen: String,
    },
    /// The file system is there but has no Elea on it.
    #[error("the file system {uuid} on {device} has no /elea/store")]
    NoStore {
        /// Its UUID.
        uuid: String,
        /// Its device.
        device: String,
    },
    /// There should be a store in memory.
    #[error("the command line says `elea.memory`, and the initramfs has no store in /memory/elea")]
    NoMemory,
    /// The generation's folder is missing.
    #[error("generation {0} is not on the disk")]
    NoGeneration(u64),
    /// The manifest names another image than the boot entry.
    #[error("generation {number} has the image {manifest}, but the boot entry asks for {entry}")]
    OtherImage {
        /// The generation.
        number: u64,
        /// What its manifest says.
        manifest: String,
        /// What the command line says.
        entry: Digest,
    },
    /// The image file has another content than its name says.
    #[error("the image {} is damaged or replaced: its digest is {found}, not {wanted}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The digest on the command line.
        wanted: Digest,
        /// The digest of the file.
        found: String,
    },
    /// The image file is not sealed although the disk's objects are.
    #[error("the image {} is not sealed by fs-verity, and the disk is not waiting to be sealed", .0.display())]
    NotSealed(PathBuf),
    /// fs-verity failed otherwise.
    #[error("cannot measure {}: {source}", path.display())]
    Verity {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: elea_sys::verity::VerityError,
    },
    /// The edits of `/etc` could not be carried over.
    #[error("cannot carry the edits of /etc from generation {from}: {source}")]
    Carry {
        /// The generation that ran last.
        from: u64,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error>,
    },
    /// The image's list of what is kept cannot be used.
    #[error(transparent)]
    State(#[from] elea_formats::state::StateError),
    /// What is kept cannot be shown.
    #[error("cannot keep {}: {why}", path.display())]
    Kept {
        /// Where.
        path: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The image has no init.
    #[error("the image has no /sbin/init that can be run: {0}")]
    NoInit(std::io::Error),
}
