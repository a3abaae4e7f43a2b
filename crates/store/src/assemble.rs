//! Layers onto each other.
//!
//! Source: the OCI image specification, `layer.md`. A layer's whiteouts concern what is below
//! it alone, so they come before its entries, wherever they stand in it. The topmost entry of a
//! directory says what its owner, mode and times are.

use crate::Error;
use crate::import::archive::split;
use crate::layer::{Step, What};
use elea_formats::tree::{Directory, LeafId, Meta, Node, Tree, components};

/// A directory that an archive has entries in and no entry for.
fn implied() -> Directory {
    Directory {
        meta: Meta {
            mode: 0o755,
            ..Meta::default()
        },
        ..Directory::default()
    }
}

/// A tree with a root and nothing in it.
pub(crate) fn empty() -> Tree {
    Tree {
        root: implied(),
        leaves: Vec::new(),
    }
}

/// Does to a tree what a layer says.
pub(crate) fn apply(tree: &mut Tree, steps: &[Step]) -> Result<(), Error> {
    for step in steps {
        hide(tree, step);
    }
    for step in steps {
        add(tree, step)?;
    }
    Ok(())
}

/// Does to a tree what a layer says, one entry after the other, as composefs-rs does
/// (`crates/composefs-oci/src/image.rs`, `process_entry`).
pub(crate) fn apply_in_order(tree: &mut Tree, steps: &[Step]) -> Result<(), Error> {
    for step in steps {
        let folder = match step.what {
            What::Opaque => &step.path[..],
            _ => split(&step.path).0,
        };
        if tree.directory_mut(folder).is_none() {
            return Err(refuse(
                &step.path,
                "stands in a directory that no entry before it makes",
            ));
        }
        hide(tree, step);
        add(tree, step)?;
    }
    Ok(())
}

/// Takes away what a whiteout hides.
fn hide(tree: &mut Tree, step: &Step) {
    let (folder, name) = split(&step.path);
    match step.what {
        What::Whiteout => {
            if let Some(folder) = tree.directory_mut(folder) {
                folder.entries.remove(name);
            }
        }
        What::Opaque => {
            if let Some(folder) = tree.directory_mut(&step.path) {
                folder.entries.clear();
            }
        }
        _ => {}
    }
}

/// Puts an entry in its place.
fn add(tree: &mut Tree, step: &Step) -> Result<(), Error> {
    match &step.what {
        What::Directory(meta) if step.path.is_empty() => tree.root.meta = meta.clone(),
        What::Directory(meta) => {
            let (folder, name) = parent(&mut tree.root, &step.path)?;
            if let Some(Node::Directory(there)) = folder.entries.get_mut(name) {
                there.meta.clone_from(meta);
            } else {
                let new = Directory {
                    meta: meta.clone(),
                    ..Directory::default()
                };
                folder.entries.insert(name.to_vec(), Node::Directory(new));
            }
        }
        What::Leaf(leaf) => {
            let id = LeafId(tree.leaves.len());
            let (folder, name) = parent(&mut tree.root, &step.path)?;
            folder.entries.insert(name.to_vec(), Node::Leaf(id));
            tree.leaves.push(leaf.clone());
        }
        What::Link(target) => {
            let id = linked(tree, target).ok_or_else(|| {
                let target = target.escape_ascii();
                refuse(
                    &step.path,
                    &format!("is a hard link to `{target}`, which is no file before it"),
                )
            })?;
            let (folder, name) = parent(&mut tree.root, &step.path)?;
            folder.entries.insert(name.to_vec(), Node::Leaf(id));
        }
        What::Whiteout | What::Opaque => {}
    }
    Ok(())
}

/// The leaf at a path.
fn linked(tree: &Tree, path: &[u8]) -> Option<LeafId> {
    match tree.get(path)? {
        elea_formats::tree::Entry::Leaf(id, _) => Some(id),
        elea_formats::tree::Entry::Directory(_) => None,
    }
}

/// The directory that a path's last name stands in, made if need be.
fn parent<'t, 'p>(
    root: &'t mut Directory,
    path: &'p [u8],
) -> Result<(&'t mut Directory, &'p [u8]), Error> {
    let (folder, name) = split(path);
    let mut here = root;
    for part in components(folder) {
        let next = here
            .entries
            .entry(part.to_vec())
            .or_insert_with(|| Node::Directory(implied()));
        match next {
            Node::Directory(child) => here = child,
            Node::Leaf(_) => {
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
