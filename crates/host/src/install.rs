//! Makes a disk from which a machine boots: a file for a virtual machine, or a device.
//!
//! [`Contents::load`] reads what an image brings, [`Target::inspect`] looks at the disk,
//! [`plan`] decides without touching anything, and [`apply`] writes. The partition table is
//! written last: until then the disk is an empty one, however the work was cut short.
//! `docs/formats/disk.md` describes the result.

mod bootable;
mod btrfs;
mod contents;
mod error;
mod esp;
mod ext4;
pub mod firstboot;
mod layout;
mod signature;
mod stage;
mod table;
mod target;
mod tool;
mod window;

pub(crate) use bootable::Known;
pub use bootable::{Bootable, options};
pub use contents::Contents;
pub use error::Error;
pub use layout::{Filesystem, Partition, Role, Sealing};
pub use target::{Kind, Target};

use crate::apply::Context;
use elea_formats::generation::Generation;
use elea_formats::release::Source;
use elea_store::trust::PublicKey;
use elea_sys::progress::{Progress, Unit};
use elea_sys::{At as _, PathError};
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};

/// The value of `schema`.
pub const SCHEMA: &str = "elea.install/1";

/// What a person may choose.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The file system of the root.
    pub filesystem: Filesystem,
    /// Whether what is on the disk may be destroyed.
    pub wipe: bool,
    /// What upgrades follow, instead of what the release says.
    pub follow: Option<Source>,
    /// Kernel arguments of this machine, after the release's.
    pub arguments: Vec<String>,
    /// Keys that the machine trusts besides those in its image.
    pub keys: Vec<PublicKey>,
}

/// What will be done; shown by `--dry-run` and carried out by [`apply`].
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// What it is, for people.
    pub what: String,
    /// The disk.
    pub target: Target,
    /// What is on the disk and will be gone.
    pub destroys: Vec<String>,
    /// The UUID of the partition table.
    pub disk_uuid: String,
    /// The partitions, in the order of their numbers.
    pub partitions: Vec<Partition>,
    /// The file system of the root.
    pub filesystem: Filesystem,
    /// Its UUID, which the kernel command line names.
    pub filesystem_uuid: String,
    /// Whether the disk is born sealed.
    pub sealing: Sealing,
    /// How many objects are copied.
    pub objects: u64,
    /// Their content in bytes.
    pub bytes: u64,
    /// What the root takes at least, in bytes: objects, fs-verity, metadata, room to begin.
    pub needed: u64,
    /// The first generation.
    pub generation: Generation,
    /// The specialisations that stand in the boot menu beside it.
    pub specialisations: Vec<Generation>,
    /// Keys that the machine trusts besides those in its image, in PEM.
    pub keys: Vec<String>,
}

/// What can be said of a disk before there is an image for it: whether there is something on it, whether it has room for
/// the smallest, and whether the programs are there.
pub fn precheck(target: &Target, options: &Options) -> Result<(), Error> {
    ready(target, options)?;
    layout::has_room(target)
}

fn ready(target: &Target, options: &Options) -> Result<(), Error> {
    if !options.wipe && !target.found.is_empty() {
        return Err(Error::Occupied {
            path: target.path.clone(),
            found: target.found.join(", "),
        });
    }
    match options.filesystem {
        Filesystem::Ext4 => ext4::check_programs()?,
        Filesystem::Btrfs => btrfs::check_programs()?,
    }
    Ok(())
}

/// Decides how the disk will look. Pure but for the random UUIDs, the clock, and a look for the
/// programs that will be needed.
pub fn plan(contents: &Contents, target: &Target, options: &Options) -> Result<Plan, Error> {
    ready(target, options)?;
    let partitions = layout::partitions(contents, target, options.filesystem)?;
    let uuid = random_uuid()?;
    let mut generation = contents
        .boots
        .generation(&uuid, &options.arguments, now())?;
    if options.follow.is_some() {
        generation.source.clone_from(&options.follow);
    }
    let mut specialisations = Vec::new();
    for ((name, beside), number) in contents.beside.iter().zip(generation.number + 1..) {
        let mut one = beside.boots.generation(&uuid, &options.arguments, now())?;
        one.source.clone_from(&generation.source);
        specialisations.push(one.beside(name, generation.number, number));
    }
    let objects = contents.all_objects();
    Ok(Plan {
        schema: SCHEMA,
        what: format!("install {} on {}", generation.title, target.path.display()),
        target: target.clone(),
        destroys: target.found.clone(),
        disk_uuid: random_uuid()?,
        partitions,
        filesystem: options.filesystem,
        filesystem_uuid: uuid,
        sealing: layout::sealing(options.filesystem),
        objects: objects.len() as u64,
        bytes: objects.values().sum(),
        needed: layout::root_needs(contents, options.filesystem),
        generation,
        specialisations,
        keys: options.keys.iter().map(PublicKey::to_pem).collect(),
    })
}

/// Carries out a plan.
///
/// `store` is the folder of the store that has the image, `staging` a folder with room for
/// the image (a folder of its own is made in it and removed again). A file that the install made is removed when
/// it fails; any other disk is left without a partition table.
pub fn apply(
    plan: &Plan,
    contents: &Contents,
    store: &Path,
    staging: &Path,
    progress: &dyn Progress,
) -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let found = Target::inspect(&plan.target.path, Some(plan.target.size))?;
    if found != plan.target {
        return Err(Error::Changed(plan.target.path.clone()));
    }
    let staging = tempfile::Builder::new()
        .prefix("elea-install-")
        .tempdir_in(staging)
        .at("create a folder in", staging)?;
    let context = Context {
        time: now(),
        boot: None,
        by: "elea install".into(),
    };
    let staged = stage::Staged::create(plan, contents, store, staging.path(), &context, progress)?;
    let disk = target::Claimed::take(&plan.target)?;
    let written = write(plan, &disk, &staged, progress);
    match written {
        Ok(()) => {
            progress.finish();
            Ok(())
        }
        Err(error) => {
            disk.give_up(&plan.target);
            Err(error)
        }
    }
}

/// The order matters: what is on the disk goes first, what makes it a disk comes last.
fn write(
    plan: &Plan,
    disk: &target::Claimed,
    staged: &stage::Staged,
    progress: &dyn Progress,
) -> Result<(), Error> {
    progress.start("clearing the disk", None, Unit::Bytes);
    disk.clear(&plan.target)?;
    for partition in &plan.partitions {
        check(progress)?;
        if plan.target.kind == Kind::Device {
            disk.forget(partition.start, partition.size)?;
        }
        match partition.role {
            Role::Boot => {
                progress.start("writing the boot partition", None, Unit::Bytes);
                let window = window::Window::new(disk.file(), partition.start, partition.size)?;
                write_boot(plan, partition, window, staged)?;
            }
            Role::Root => match plan.filesystem {
                Filesystem::Ext4 => ext4::write(plan, partition, disk, staged, progress)?,
                Filesystem::Btrfs => btrfs::write(plan, partition, disk, staged, progress)?,
            },
        }
    }
    progress.start("waiting for the disk", None, Unit::Bytes);
    disk.sync()?;
    for partition in plan.partitions.iter().filter(|p| p.role == Role::Boot) {
        let window = window::Window::comparing(disk.file(), partition.start, partition.size)?;
        write_boot(plan, partition, window, staged)?;
    }
    check(progress)?;
    table::write(disk.file(), plan)?;
    disk.announce();
    Ok(())
}

/// Writes the boot partition, or compares it.
fn write_boot(
    plan: &Plan,
    partition: &Partition,
    window: window::Window,
    staged: &stage::Staged,
) -> Result<(), Error> {
    let sector = plan.target.sector;
    esp::write(
        window,
        &staged.boot,
        partition.start,
        sector,
        &partition.uuid,
    )
    .map_err(|e| e.on(&plan.target.path))
}

/// Ends the work if the person asked for it.
fn check(progress: &dyn Progress) -> Result<(), Error> {
    if progress.cancelled() {
        return Err(Error::Cancelled);
    }
    Ok(())
}

/// The time in UTC, RFC 3339.
fn now() -> String {
    jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

/// A random UUID (version 4), from the kernel.
fn random_uuid() -> Result<String, PathError> {
    let path = PathBuf::from("/proc/sys/kernel/random/uuid");
    let text = fs::read_to_string(&path).at("read", &path)?;
    Ok(text.trim().to_owned())
}
