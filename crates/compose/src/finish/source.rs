//! What the image is built from, in it (`docs/formats/source.md`).

use super::Job;
use super::tree::{self, ROOT};
use crate::lock::{Error, Lock};
use crate::own::{Program, Said};
use crate::source::{Builder, FOLDER, gather};
use crate::steps;
use elea_formats::tree::{Content, Node, Tree};

/// Writes it. The config has hashes of passwords, and files that not everybody may read: it is root's alone.
pub(super) fn write(job: &Job<'_>, tree: &mut tree::Tree<'_>, lock: &Lock) -> Result<(), Error> {
    tree.folder(FOLDER, 0o700, ROOT)?;
    let mut builder = Builder::this();
    for program in job.programs.both() {
        if let Some(said) = said(program, tree.nodes()) {
            builder.programs.insert(program.place.to_owned(), said);
        }
    }
    for (path, content) in gather(job.config, lock, &builder)? {
        tree.put_as(&format!("{FOLDER}/{path}"), &content, 0o600, ROOT)?;
    }
    Ok(())
}

/// What the image says of a program that it has.
fn said(program: &Program, tree: &Tree) -> Option<Said> {
    let Ok(Some(Node::Leaf(id))) = tree.follow(program.place.as_bytes()) else {
        return None;
    };
    match tree.content(id) {
        Content::Object { digest, size } => Some(Said {
            sha256: program.sha256,
            object: digest,
            size,
        }),
        _ => None,
    }
}

/// Writes what the image is made of, last: of contents, those alone that it does not have anyway.
pub(super) fn bring(job: &Job<'_>, tree: &mut tree::Tree<'_>) -> Result<(), Error> {
    let files = steps::bring(job.store, &job.parts.borrow(), tree.nodes())?;
    for (path, content) in files {
        tree.put_content(&format!("{FOLDER}/{path}"), content)?;
    }
    Ok(())
}
