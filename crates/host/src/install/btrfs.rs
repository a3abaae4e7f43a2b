//! btrfs: made in a file beside the disk, since `mkfs.btrfs` begins at the start of what it
//! is given, and copied into its partition without the holes. fs-verity's trees live in btrfs's own
//! metadata, so the first boot seals.

use super::error::Error;
use super::layout::Partition;
use super::stage::Staged;
use super::target::Claimed;
use super::tool::Listen;
use super::window::Window;
use super::{Plan, check, tool};
use elea_sys::progress::{Progress, Unit};
use elea_sys::{At as _, PathError};
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Debian's package.
const PACKAGE: &str = "btrfs-progs";
/// How much is copied at once, in bytes.
const PIECE: usize = 1 << 20;

/// Whether what is needed is installed, before anything is destroyed.
pub(super) fn check_programs() -> Result<(), Error> {
    tool::command("mkfs.btrfs", PACKAGE)?;
    Ok(())
}

/// Makes the root file system and copies it into its partition.
pub(super) fn write(
    plan: &Plan,
    partition: &Partition,
    disk: &Claimed,
    staged: &Staged,
    progress: &dyn Progress,
) -> Result<(), Error> {
    progress.start("making the root file system", None, Unit::Bytes);
    let image = staged.scratch.join("root.btrfs");
    let file = File::create_new(&image).at("create", &image)?;
    file.set_len(partition.size).at("enlarge", &image)?;
    let mut command = tool::command("mkfs.btrfs", PACKAGE)?;
    command
        .args([
            "--quiet",
            "--force",
            "--data",
            "single",
            "--metadata",
            "dup",
        ])
        .args(["--label", partition.role.name()])
        .args(["--uuid", &plan.filesystem_uuid, "--rootdir"])
        .args([&staged.root, &image]);
    tool::run("mkfs.btrfs", &mut command, Listen::Errors, progress)?;
    // mkfs opened it by its name.
    let file = File::open(&image).at("open", &image)?;
    let used = file.metadata().at("look at", &image)?.blocks() * 512;
    progress.start("writing the root file system", Some(used), Unit::Bytes);
    let mut window = Window::new(disk.file(), partition.start, partition.size)?;
    copy(&file, &image, &mut window, disk.path(), progress)?;
    Ok(fs::remove_file(&image).at("remove", &image)?)
}

/// Copies the parts of a file that hold data.
fn copy(
    mut file: &File,
    path: &Path,
    window: &mut Window,
    disk: &Path,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let mut buffer = vec![0; PIECE];
    let mut end = 0;
    while let Some(start) = seek(file, path, SeekFrom::Data(end))? {
        end = seek(file, path, SeekFrom::Hole(start))?.unwrap_or(start);
        file.seek(std::io::SeekFrom::Start(start))
            .at("read", path)?;
        window
            .seek(std::io::SeekFrom::Start(start))
            .at("write", disk)?;
        let mut left = end - start;
        while left > 0 {
            check(progress)?;
            let length = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
            file.read_exact(&mut buffer[..length]).at("read", path)?;
            window.write_all(&buffer[..length]).at("write", disk)?;
            left -= length as u64;
            progress.advance(length as u64);
        }
    }
    Ok(())
}

/// `None` behind the last data.
fn seek(file: &File, path: &Path, to: SeekFrom) -> Result<Option<u64>, PathError> {
    match rustix::fs::seek(file, to) {
        Err(Errno::NXIO) => Ok(None),
        sought => sought.map(Some).at("read", path),
    }
}
