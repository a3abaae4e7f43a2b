//! An image's file, of which parts are read as they are asked for.

use super::MAX_IMAGE;
use crate::diff::{Change, diff};
use crate::{Backing, Error, Store};
use elea_formats::digest::Digest;
use elea_formats::erofs::{self, Both, LookError};
use elea_formats::table::Slab;
use elea_formats::tree::{Content, Tree};
use std::collections::BTreeMap;
use std::path::Path;

/// The bytes of an image of a store: they are what its name says.
#[derive(Debug)]
pub struct ImageFile {
    store: Store,
    digest: Digest,
    bytes: Box<dyn Slab>,
}

/// How one image becomes another.
#[derive(Debug, Clone, Default)]
pub struct Compared {
    /// The paths that differ, as [`diff`] tells them.
    pub changes: Vec<Change>,
    /// The objects that only the new one has, with their sizes in bytes; its own file is one.
    pub objects: BTreeMap<Digest, u64>,
}

impl Store {
    /// Reads an image's file, and compares it with its name.
    pub fn open_image(&self, digest: &Digest) -> Result<ImageFile, Error> {
        if !self.names_image(digest) {
            return Err(Error::NoImage {
                name: digest.to_string(),
            });
        }
        Ok(ImageFile {
            store: self.clone(),
            digest: *digest,
            bytes: self.read_into_room(digest, MAX_IMAGE, &*self.room())?,
        })
    }

    /// What differs between two images, as [`diff`] tells it.
    pub fn diff(&self, old: &Digest, new: &Digest) -> Result<Vec<Change>, Error> {
        let compared = self.open_image(old)?.compare(&self.open_image(new)?)?;
        Ok(compared.changes)
    }
}

impl ImageFile {
    /// The image's name.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// All of it.
    pub fn tree(&self) -> Result<Tree, Error> {
        let tree = self.store.empty_tree();
        erofs::read_into(self.bytes.bytes(), tree).map_err(|e| self.bad(e))
    }

    /// What a regular file holds; none if there is none. Symbolic links are followed inside the image.
    pub fn content(&self, path: &str) -> Result<Option<Content>, Error> {
        let algorithm = self.store.algorithm();
        let found = erofs::file(self.bytes.bytes(), path.as_bytes(), algorithm);
        found.map_err(|e| match e {
            LookError::Read(e) => self.bad(e),
            LookError::Links(e) => e.into(),
        })
    }

    /// The bytes of a regular file of at most `limit` bytes, checked; none if there is none.
    pub fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        let content = self.content(path)?;
        let content = content.as_ref().map(Content::as_ref);
        self.store.bytes_of(content, path, limit)
    }

    /// Mounts it, as [`Store::mount_by`] does.
    pub fn mount(&self, target: &Path, backing: Backing) -> Result<(), Error> {
        self.store.mount_read(&self.digest, target, backing)
    }

    /// How it becomes a newer one. What both have alike is looked at and not read.
    pub fn compare(&self, new: &Self) -> Result<Compared, Error> {
        if self.digest == new.digest {
            return Ok(Compared::default());
        }
        let both = self.read_both(new, None)?;
        let [a, b] = &both.trees;
        let objects = |tree: &'_ Tree| {
            let objects = tree.leaves().filter_map(|id| tree.object(id));
            objects.collect::<BTreeMap<_, _>>()
        };
        let mut only = objects(b);
        let old = objects(a);
        only.retain(|digest, _| !old.contains_key(digest));
        let mut named: BTreeMap<u64, Digest> = only.keys().map(|d| (d.start(), *d)).collect();
        for start in &both.same {
            if let Some(digest) = named.remove(start) {
                only.remove(&digest);
            }
        }
        let size = self.store.object_size(&new.digest).unwrap_or_default();
        only.insert(new.digest, size);
        Ok(Compared {
            changes: diff(a, b),
            objects: only,
        })
    }

    /// The same of a folder in the root alone: at least the paths of it that differ.
    pub fn changes_in(&self, folder: &str, new: &Self) -> Result<Vec<Change>, Error> {
        if self.digest == new.digest {
            return Ok(Vec::new());
        }
        let both = self.read_both(new, Some(folder.as_bytes()))?;
        let [a, b] = &both.trees;
        Ok(diff(a, b))
    }

    fn read_both(&self, new: &Self, only: Option<&[u8]>) -> Result<Both, Error> {
        let images = [self.bytes.bytes(), new.bytes.bytes()];
        let trees = [self.store.empty_tree(), self.store.empty_tree()];
        erofs::read_both(images, trees, only).map_err(|(side, e)| match side {
            0 => self.bad(e),
            _ => new.bad(e),
        })
    }

    fn bad(&self, source: erofs::ReadError) -> Error {
        let digest = self.digest;
        Error::Image { digest, source }
    }
}
