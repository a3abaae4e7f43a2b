//! Layers onto each other.
//!
//! Source: the OCI image specification, `layer.md`. A layer's whiteouts concern what is below
//! it alone, so they come before its entries, wherever they stand in it. The topmost entry of a
//! directory says what its owner, mode and times are.

use crate::Error;
use crate::import::archive::split;
use crate::layer::{Step, Steps, What};
use elea_formats::tree::{DirId, LeafId, Meta, Node, Tree, components};

/// What a directory has that an archive has entries in and no entry for.
fn implied() -> Meta {
    Meta {
        mode: 0o755,
        ..Meta::default()
    }
}

/// Does to a tree what a layer says.
pub(crate) fn apply(tree: &mut Tree, steps: &Steps) -> Result<(), Error> {
    if steps.hide() {
        for step in steps.iter() {
            hide(tree, &step);
        }
    }
    for step in steps.iter() {
        add(tree, &step)?;
    }
    Ok(())
}

/// Does to a tree what a layer says, one entry after the other, as composefs-rs does
/// (`crates/composefs-oci/src/image.rs`, `process_entry`).
pub(crate) fn apply_in_order(tree: &mut Tree, steps: &Steps) -> Result<(), Error> {
    for step in steps.iter() {
        let folder = match step.what {
            What::Opaque => &step.path[..],
            _ => split(&step.path).0,
        };
        if tree.directory(folder).is_none() {
            return Err(refuse(
                &step.path,
                "stands in a directory that no entry before it makes",
            ));
        }
        hide(tree, &step);
        add(tree, &step)?;
    }
    Ok(())
}

/// Takes away what a whiteout hides.
fn hide(tree: &mut Tree, step: &Step) {
    let (folder, name) = split(&step.path);
    match step.what {
        What::Whiteout => {
            if let Some(folder) = tree.directory(folder) {
                tree.remove(folder, name);
            }
        }
        What::Opaque => {
            if let Some(folder) = tree.directory(&step.path) {
                tree.clear(folder);
            }
        }
        _ => {}
    }
}

/// Puts an entry in its place.
fn add(tree: &mut Tree, step: &Step) -> Result<(), Error> {
    match &step.what {
        What::Directory(meta) if step.path.is_empty() => tree.set_meta(DirId::ROOT, meta),
        What::Directory(meta) => {
            let (folder, name) = parent(tree, &step.path)?;
            if let Some(Node::Directory(there)) = tree.child(folder, name) {
                tree.set_meta(there, meta);
            } else {
                tree.add_directory(folder, name, meta);
            }
        }
        What::Leaf(leaf) => {
            let (folder, name) = parent(tree, &step.path)?;
            tree.put_leaf(folder, name, leaf);
        }
        What::Link(target) => {
            let id = linked(tree, target).ok_or_else(|| {
                let target = target.escape_ascii();
                refuse(
                    &step.path,
                    &format!("is a hard link to `{target}`, which is no file before it"),
                )
            })?;
            let (folder, name) = parent(tree, &step.path)?;
            tree.insert(folder, name, Node::Leaf(id));
        }
        What::Whiteout | What::Opaque => {}
    }
    Ok(())
}

/// The leaf at a path.
fn linked(tree: &Tree, path: &[u8]) -> Option<LeafId> {
    match tree.get(path)? {
        Node::Leaf(id) => Some(id),
        Node::Directory(_) => None,
    }
}

/// The directory that a path's last name stands in, made if need be.
fn parent<'p>(tree: &mut Tree, path: &'p [u8]) -> Result<(DirId, &'p [u8]), Error> {
    let (folder, name) = split(path);
    let mut here = DirId::ROOT;
    for part in components(folder) {
        here = match tree.child(here, part) {
            Some(Node::Directory(child)) => child,
            None => tree.add_directory(here, part, &implied()),
            Some(Node::Leaf(_)) => {
                let part = part.escape_ascii();
                return Err(refuse(
                    path,
                    &format!("goes through `{part}`, which is a link or a file"),
                ));
            }
        }
    }
    Ok((here, name))
}

fn refuse(path: &[u8], reason: &str) -> Error {
    Error::Entry {
        entry: path.escape_ascii().to_string(),
        reason: reason.to_owned(),
    }
}
