//! What is laid over the tree that packages made, until it is a system that boots as an image.
//!
//! Every step leaves the same bytes for the same config and lock, whatever the time, the place
//! or the machine.

mod accounts;
mod boot;
mod certificates;
pub(crate) mod clean;
mod enable;
mod etc;
mod inside;
mod layout;
mod release;
mod services;
mod source;
mod state;
#[cfg(test)]
mod tests;
pub(crate) mod times;
pub(crate) mod tree;
mod units;
mod var;

use crate::config::Config;
use crate::lock::{Error, Lock, Options};
use crate::own::Programs;
use crate::steps::{Part, Steps};
use elea_store::Store;
use elea_sys::progress::Progress;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use tree::Tree;

/// What finishing needs.
pub(crate) struct Job<'a> {
    pub(crate) config: &'a Config,
    pub(crate) lock: &'a Lock,
    pub(crate) options: &'a Options,
    pub(crate) store: &'a Store,
    pub(crate) steps: Steps<'a>,
    /// The digest of the image of the packages' tree.
    pub(crate) packages: String,
    /// The results of steps that the image is made of, as they come.
    pub(crate) parts: RefCell<Vec<Part>>,
    /// Elea's own programs.
    pub(crate) programs: &'a Programs,
    /// A folder for temporary files.
    pub(crate) work: &'a Path,
    pub(crate) log: &'a Path,
    /// The loader's package.
    pub(crate) loader: &'a dyn Fn() -> Result<PathBuf, Error>,
    pub(crate) progress: &'a dyn Progress,
}

/// Finishes the tree; returns the lock with the numbers of all accounts.
pub(crate) fn finish(job: &Job<'_>, tree: &mut Tree<'_>) -> Result<Lock, Error> {
    let lock = accounts::settle(job, tree)?;
    let accounts = accounts::Numbers::of(&lock);
    etc::system(job, tree)?;
    units::install(tree)?;
    boot::programs(job, tree)?;
    etc::files(job, tree, &accounts)?;
    certificates::settle(job, tree)?;
    services::settle(job, tree)?;
    let payload = boot::payload(job, tree)?;
    release::write(job, tree, &payload)?;
    source::write(job, tree, &lock)?;
    state::settle(job, tree, &accounts)?;
    var::settle(tree)?;
    layout::settle(tree)?;
    source::bring(job, tree)?;
    Ok(lock)
}
