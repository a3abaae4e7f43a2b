//! What is laid over the tree that packages made, until it is a system that boots as an image.
//!
//! Every step leaves the same bytes for the same config and lock, whatever the time, the place
//! or the machine.

mod accounts;
mod boot;
mod certificates;
mod clean;
mod etc;
mod layout;
mod release;
mod services;
#[cfg(test)]
mod tests;
mod times;
mod tree;
mod units;
mod var;

use crate::config::Config;
use crate::lock::{Error, Lock, Options};
use crate::program;
use elea_sys::progress::Progress;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use tree::Tree;

/// What finishing needs.
pub(crate) struct Job<'a> {
    pub(crate) config: &'a Config,
    pub(crate) lock: &'a Lock,
    pub(crate) options: &'a Options,
    /// The tree that packages made.
    pub(crate) tree: &'a Path,
    /// A folder for temporary files.
    pub(crate) work: &'a Path,
    /// The loader's package.
    pub(crate) loader: PathBuf,
    pub(crate) log: &'a Path,
    pub(crate) progress: &'a dyn Progress,
}

/// Finishes the tree; returns the lock with the numbers of all accounts.
pub(crate) fn finish(job: &Job<'_>) -> Result<Lock, Error> {
    let tree = Tree::open(job.tree)?;
    clean::leftovers(&tree)?;
    let lock = accounts::settle(job, &tree)?;
    let accounts = accounts::Numbers::of(&lock);
    etc::system(job, &tree)?;
    units::install(&tree)?;
    boot::programs(job, &tree)?;
    etc::files(job, &tree, &accounts)?;
    certificates::settle(job, &tree)?;
    services::settle(job, &tree)?;
    let payload = boot::payload(job, &tree)?;
    release::write(job, &tree, &payload)?;
    var::settle(&tree)?;
    layout::settle(&tree)?;
    times::clamp(job.tree, lock.epoch)?;
    Ok(lock)
}

impl Job<'_> {
    /// Runs a program of the tree in it, behind variables for it (`NAME=value`); what it prints.
    fn run_inside(&self, arguments: &[&str]) -> Result<String, Error> {
        let chroot = ["chroot", "/mnt/tree", "/usr/bin/env"];
        let all: Vec<&OsStr> = chroot.iter().chain(arguments).map(OsStr::new).collect();
        let command = program::Sandbox {
            work: self.work,
            prepare: PREPARE,
            time: self.lock.epoch,
        }
        .command(&all);
        let printed = program::run(command, "util-linux", self.log, self.progress)?;
        Ok(String::from_utf8_lossy(&printed).into_owned())
    }
}

/// What programs of the tree find in it while they run.
const PREPARE: &str = "mount -t proc proc /mnt/tree/proc
mount -t tmpfs tmpfs /mnt/tree/dev
touch /mnt/tree/dev/null
mount --bind /dev/null /mnt/tree/dev/null
";
