//! Programs of the tree, run in a copy of it.

use super::{Job, times};
use crate::lock::Error;
use crate::{program, written};
use elea_formats::tree::Tree as Nodes;
use elea_sys::At as _;
use std::ffi::OsStr;
use std::fs;

/// What programs of the tree find in it while they run.
const PREPARE: &str = "mount --rbind /proc /mnt/tree/proc
mount -t tmpfs tmpfs /mnt/tree/dev
touch /mnt/tree/dev/null
mount --bind /dev/null /mnt/tree/dev/null
";

/// Writes the tree out, runs a program in it, behind variables for it (`NAME=value`), and takes in the folder that it
/// made.
pub(super) fn run(
    job: &Job<'_>,
    tree: &Nodes,
    arguments: &[&str],
    made: &str,
) -> Result<Nodes, Error> {
    let folder = job.work.join("tree");
    written::write(job.store, tree, &folder, job.log, job.progress)?;
    let chroot = ["chroot", "/mnt/tree", "/usr/bin/env"];
    let all: Vec<&OsStr> = chroot.iter().chain(arguments).map(OsStr::new).collect();
    let command = program::Sandbox {
        work: job.work,
        prepare: PREPARE,
        clock: program::Clock {
            epoch: job.lock.epoch,
            ahead: job.options.clock_ahead,
        },
    }
    .command(&all);
    program::run(command, "util-linux", job.log, job.progress)?;
    let mut result = job.store.import_dir(&folder.join(made), job.progress)?;
    // It is kept, and brought along by images, as it is.
    times::clamp(&mut result, job.lock.epoch);
    fs::remove_dir_all(&folder).at("remove", &folder)?;
    Ok(result)
}
