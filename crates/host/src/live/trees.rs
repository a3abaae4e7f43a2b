//! The trees of the images that a plan is about, each read once.

use crate::error::Error;
use elea_formats::digest::Digest;
use elea_formats::tree::{Node, Tree, walk_both};
use elea_store::{Change, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::thread;

/// Some images of a store.
#[derive(Debug)]
pub(super) struct Trees {
    store: Store,
    read: BTreeMap<Digest, Tree>,
}

impl Trees {
    /// Reads them, all at once.
    pub(super) fn load(store: Store, images: &[Digest]) -> Result<Self, Error> {
        let images: BTreeSet<Digest> = images.iter().copied().collect();
        let read = thread::scope(|scope| {
            let start = |image| {
                (
                    image,
                    scope.spawn({
                        let store = &store;
                        move || store.tree(&image)
                    }),
                )
            };
            let started: Vec<_> = images.into_iter().map(start).collect();
            let ended = started.into_iter().map(|(image, read)| {
                let tree = read
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                Ok((image, tree?))
            });
            ended.collect::<Result<_, Error>>()
        })?;
        Ok(Self { store, read })
    }

    /// The store that they are in.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// The tree of one.
    pub(super) fn of(&self, image: &Digest) -> Result<&Tree, Error> {
        self.read.get(image).ok_or_else(|| {
            let name = image.to_string();
            elea_store::Error::NoImage { name }.into()
        })
    }

    /// What differs between two.
    pub(super) fn diff(&self, old: &Digest, new: &Digest) -> Result<Vec<Change>, Error> {
        if old == new {
            return Ok(Vec::new());
        }
        Ok(elea_store::diff(self.of(old)?, self.of(new)?))
    }

    /// Bytes of the objects that only the new one has, its own file among them.
    pub(super) fn new_bytes(&self, old: &Digest, new: &Digest) -> Result<u64, Error> {
        if old == new {
            return Ok(0);
        }
        let (a, b) = (self.of(old)?, self.of(new)?);
        // Most objects stand where they stood, so few are looked for.
        let mut only = BTreeMap::new();
        let object = |tree: &Tree, node| match node {
            Some(Node::Leaf(id)) => tree.object(id),
            _ => None,
        };
        walk_both(a, b, |_, [old, new]| {
            let found = object(b, new);
            only.extend(found.filter(|_| object(a, old) != found));
        });
        for (digest, _) in a.leaves().filter_map(|id| a.object(id)) {
            only.remove(&digest);
        }
        only.insert(*new, self.store.object_size(new).unwrap_or_default());
        Ok(only.into_values().sum())
    }
}
