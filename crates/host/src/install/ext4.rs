//! ext4, made with its content in one run and sealed in another, straight in its place on
//! the disk; no loop device, no mount, and no fs-verity in this kernel.

use super::error::Error;
use super::layout::Partition;
use super::stage::Staged;
use super::target::Claimed;
use super::tool::Listen;
use super::{Kind, Plan, tool};
use elea_sys::At as _;
use elea_sys::progress::{Progress, Unit};
use std::fmt::Write as _;
use std::fs;
use std::os::fd::AsRawFd as _;

/// Debian's package of all three programs.
const PACKAGE: &str = "e2fsprogs";
/// Features by name, so that the result does not depend on `/etc/mke2fs.conf`. All are
/// known to Linux 4.5 and later but `verity` (5.4).
const FEATURES: &str = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,\
flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum,verity";
/// `EXT4_EXTENTS_FL | EXT4_VERITY_FL` (`fs/ext4/ext4.h`).
const SEALED: u32 = 0x0008_0000 | 0x0010_0000;

/// Whether what is needed is installed, before anything is destroyed.
pub(super) fn check_programs() -> Result<(), Error> {
    tool::command("mke2fs", PACKAGE)?;
    tool::command("e2fsck", PACKAGE)?;
    Ok(())
}

/// Makes the root file system in its partition.
pub(super) fn write(
    plan: &Plan,
    partition: &Partition,
    disk: &Claimed,
    staged: &Staged,
    progress: &dyn Progress,
) -> Result<(), Error> {
    progress.start("writing the root file system", None, Unit::Bytes);
    // The open file, not its name: nobody can put another one in its place, and a name with a
    // `?` would be read as options.
    let place = format!(
        "/proc/{}/fd/{}",
        std::process::id(),
        disk.file().as_raw_fd()
    );
    // A new file is zeros already; elsewhere the kernel zeroes the inode tables in the background.
    let zeros = match plan.target.kind {
        Kind::NewFile | Kind::File => "assume_storage_prezeroed=1",
        Kind::Device => "lazy_itable_init=1,lazy_journal_init=1",
    };
    let extended = format!(
        "offset={},root_owner=0:0,nodiscard,hash_seed={},{zeros}",
        partition.start, plan.disk_uuid
    );
    let mut command = tool::command("mke2fs", PACKAGE)?;
    command
        .args(["-q", "-F", "-t", "ext4", "-O", FEATURES, "-b", "4096"])
        .args(["-I", "256", "-i", "16384", "-m", "1", "-J", "size=64"])
        .args(["-L", partition.role.name(), "-U", &plan.filesystem_uuid])
        .args(["-E", &extended, "-d"])
        .arg(&staged.root)
        .arg(&place)
        .arg(format!("{}k", partition.size >> 10));
    tool::run("mke2fs", &mut command, Listen::Errors, progress)?;
    let place = format!("{place}?offset={}", partition.start);
    if !staged.sealed.is_empty() {
        progress.start("sealing the objects", None, Unit::Items);
        seal(&place, staged, progress)?;
    }
    progress.start("checking the root file system", None, Unit::Items);
    let mut command = tool::command("e2fsck", PACKAGE)?;
    command.args(["-fn", &place]);
    tool::run("e2fsck", &mut command, Listen::All, progress)?;
    Ok(())
}

/// Gives every object its real size, which hides the Merkle tree behind it, and the flag.
fn seal(place: &str, staged: &Staged, progress: &dyn Progress) -> Result<(), Error> {
    let mut script = String::new();
    for (path, size) in &staged.sealed {
        let _ = writeln!(
            script,
            "sif {path} size {size}\nsif {path} flags {SEALED:#x}"
        );
    }
    let file = staged.scratch.join("seal");
    fs::write(&file, script).at("write", &file)?;
    let mut command = tool::command("debugfs", PACKAGE)?;
    command.args(["-w", "-f"]).arg(&file).arg(place);
    let said = tool::run("debugfs", &mut command, Listen::Errors, progress)?;
    // Its exit status says nothing of the commands; besides errors there is only its version.
    match said.lines().find(|line| !line.starts_with("debugfs 1.")) {
        None => Ok(()),
        Some(line) => Err(Error::Program {
            program: "debugfs",
            output: line.to_owned(),
        }),
    }
}
