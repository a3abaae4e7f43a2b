//! What the image is built from, in it (`docs/formats/source.md`).

use super::Job;
use super::tree::{ROOT, Tree};
use crate::lock::{Error, Lock};
use crate::source::{FOLDER, gather};
use crate::steps;

/// Writes it. The config has hashes of passwords, and files that not everybody may read: it is root's alone.
pub(super) fn write(job: &Job<'_>, tree: &mut Tree<'_>, lock: &Lock) -> Result<(), Error> {
    tree.folder(FOLDER, 0o700, ROOT)?;
    for (path, content) in gather(job.config, lock)? {
        tree.put_as(&format!("{FOLDER}/{path}"), &content, 0o600, ROOT)?;
    }
    Ok(())
}

/// Writes what the image is made of, last: of contents, those alone that it does not have anyway.
pub(super) fn bring(job: &Job<'_>, tree: &mut Tree<'_>) -> Result<(), Error> {
    let files = steps::bring(job.store, &job.parts.borrow(), tree.nodes())?;
    for (path, content) in files {
        tree.put_content(&format!("{FOLDER}/{path}"), content)?;
    }
    Ok(())
}
