//! Why a disk was not made.

use elea_formats::digest::Digest;
use elea_sys::PathError;
use std::io;
use std::path::{Path, PathBuf};

/// Why a disk was not made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The files of the disk belong to root.
    #[error(
        "installing needs root, since the files on the disk belong to root; run it again with sudo"
    )]
    NotRoot,
    /// Neither a file nor a device.
    #[error("{} is {what}, neither a regular file nor a block device", path.display())]
    NotADisk {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// There is no such file, and no size to make one of.
    #[error("{} does not exist; give a size (`--size 8G`) and it is made", .0.display())]
    NoSize(PathBuf),
    /// No such device.
    #[error("there is no device {}; `lsblk` lists them", .0.display())]
    NoDevice(PathBuf),
    /// A size was given for something that has one.
    #[error("{} has {} and cannot be made {}", path.display(), mib(*actual), mib(*asked))]
    Size {
        /// The path.
        path: PathBuf,
        /// Its size.
        actual: u64,
        /// What was asked for.
        asked: u64,
    },
    /// A partition cannot hold a partition table that firmware reads.
    #[error("{} is a partition of {disk}; a whole disk is needed", path.display())]
    IsPartition {
        /// The path.
        path: PathBuf,
        /// Its disk.
        disk: String,
    },
    /// The device is read-only.
    #[error("{} is read-only", .0.display())]
    ReadOnly(PathBuf),
    /// Something uses it.
    #[error("{} is in use: {by}; unmount or detach it first", path.display())]
    Busy {
        /// The path.
        path: PathBuf,
        /// By what.
        by: String,
    },
    /// It holds something.
    #[error("{} holds {found}; `--wipe` destroys it", path.display())]
    Occupied {
        /// The path.
        path: PathBuf,
        /// What was found.
        found: String,
    },
    /// It is too small for any image.
    #[error("{} has {}, which is too small: the boot partition takes {}, and the root at least {}", path.display(), mib(*size), mib(*boot), mib(*root))]
    Tiny {
        /// The path.
        path: PathBuf,
        /// Its size.
        size: u64,
        /// What the boot partition takes.
        boot: u64,
        /// What the root takes at least.
        root: u64,
    },
    /// It is too small.
    #[error("{} has {}, and {} are needed for this image: boot partition, objects with fs-verity, and room for the first boot", path.display(), mib(*size), mib(*needed))]
    TooSmall {
        /// The path.
        path: PathBuf,
        /// Its size.
        size: u64,
        /// What is needed.
        needed: u64,
    },
    /// It is another one than when it was planned.
    #[error("{} changed since it was looked at; nothing was written, try again", .0.display())]
    Changed(PathBuf),
    /// The image holds no system.
    #[error("image {} has no /{}, so it is not a system that can be installed", .0.short(), elea_formats::release::PATH)]
    NoRelease(Digest),
    /// The release cannot be read.
    #[error("/{} of image {} cannot be read: {reason}; it was built wrongly, or by a newer Elea", elea_formats::release::PATH, image.short())]
    Release {
        /// The image.
        image: Digest,
        /// Why.
        reason: String,
    },
    /// The image is for another kind of machine.
    #[error("the image is for {0}, and disks are made for amd64 only")]
    Architecture(String),
    /// A kernel argument that cannot be used.
    #[error("the kernel argument `{argument}` cannot be used: {reason}")]
    Argument {
        /// The argument.
        argument: String,
        /// Why.
        reason: String,
    },
    /// Not enough room where the disk is prepared, or where its file is.
    #[error("{} has {} free, and {} are needed {what}; free some, or use another folder", folder.display(), mib(*free), mib(*needed))]
    NoRoom {
        /// The folder.
        folder: PathBuf,
        /// What for.
        what: &'static str,
        /// Bytes free.
        free: u64,
        /// Bytes needed.
        needed: u64,
    },
    /// A file that the release names is not in the image.
    #[error("the image has no /{0}, which its release names; it was built wrongly")]
    Missing(String),
    /// An object is not what its name says.
    #[error("object {} of the store is damaged; `elea store fsck` says what else is", .0)]
    Damaged(Digest),
    /// A program is missing.
    #[error("{program} is not installed; it is in the package {package}")]
    NoProgram {
        /// The program.
        program: &'static str,
        /// Debian's package.
        package: &'static str,
    },
    /// A program failed.
    #[error("{program} failed: {output}")]
    Program {
        /// The program.
        program: &'static str,
        /// What it said.
        output: String,
    },
    /// The partition table could not be made or read.
    #[error("cannot {action} the partition table of {}: {reason}", path.display())]
    Table {
        /// What was tried.
        action: &'static str,
        /// The disk.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The boot partition could not be written.
    #[error("cannot write the boot partition of {}: {source}", path.display())]
    Boot {
        /// The disk.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An object could not be sealed.
    #[error("cannot seal {}: {source}", path.display())]
    Seal {
        /// The object.
        path: PathBuf,
        /// Why.
        #[source]
        source: elea_sys::verity::VerityError,
    },
    /// What was being prepared cannot be read again.
    #[error("the first generation could not be prepared: {0}")]
    Staging(String),
    /// The first generation could not be staged.
    #[error(transparent)]
    Apply(#[from] crate::apply::Error),
    /// The first generation was refused.
    #[error(transparent)]
    Refused(#[from] crate::plan::Refusal),
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] elea_store::Error),
    /// The person asked to stop.
    #[error("stopped; the disk has no partition table and is not installed")]
    Cancelled,
}

/// Bytes for people: whole MiB, rounded up, since `--size` takes them so.
fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

impl Error {
    /// Says which disk a failure of the boot partition was on.
    pub(super) fn on(self, disk: &Path) -> Self {
        match self {
            Self::Boot { source, .. } => Self::Boot {
                path: disk.to_owned(),
                source,
            },
            other => other,
        }
    }
}
