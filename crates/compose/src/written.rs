//! Trees of the store, written out for programs that work on folders.

use crate::lock::Error;
use crate::program;
use elea_formats::tree::Tree;
use elea_store::{Store, export};
use elea_sys::At as _;
use elea_sys::progress::Progress;
use std::fs::{self, File};
use std::path::Path;

/// Writes a tree to a new folder, owners and capabilities included.
pub(crate) fn write(
    store: &Store,
    tree: &Tree,
    folder: &Path,
    log: &Path,
    progress: &dyn Progress,
) -> Result<(), Error> {
    fs::create_dir(folder).at("make the folder", folder)?;
    let tar = folder.with_extension("tar");
    let mut file = File::create(&tar).at("create", &tar)?;
    export::tar(store, tree, &mut file)?;
    let mut command = program::program("tar");
    command
        .args(["--extract", "--numeric-owner", "--preserve-permissions"])
        .args(["--xattrs", "--xattrs-include=*", "--file"])
        .arg(&tar)
        .arg("--directory")
        .arg(folder);
    program::run(command, "tar", log, progress)?;
    Ok(fs::remove_file(&tar).at("remove", &tar)?)
}
