//! What an image brings to a disk: what boots of it, the loader, its objects.

use super::bootable::{Bootable, Known, lacks};
use super::error::Error;
use crate::apply::{self, Payloads};
use crate::machine::ALGORITHM;
use elea_formats::digest::{Digest, Sha256};
use elea_formats::generation::Payload;
use elea_store::{ImageFile, Store};
use elea_sys::progress::Progress;
use std::collections::BTreeMap;

/// The largest boot loader, in bytes.
const MAX_LOADER: u64 = 16 << 20;

/// What is installed.
#[derive(Debug, Clone)]
pub struct Contents {
    /// What boots of the image.
    pub boots: Bootable,
    /// The boot loader.
    pub loader: Vec<u8>,
    /// The OCI layers that it was assembled from and that the store has whole: the next
    /// upgrade need not fetch them again.
    pub layers: Vec<Sha256>,
    /// Every object of the image, its own file included, and of the layers, with its size in bytes.
    pub objects: BTreeMap<Digest, u64>,
    /// Its specialisations with their names, if they are installed along.
    pub beside: Vec<(String, Self)>,
}

impl Contents {
    /// Reads what the store has of an image, as [`Bootable::load`] does.
    pub fn load(store: &Store, image: &Digest) -> Result<Self, Error> {
        store.require(ALGORITHM)?;
        Self::of(store, &store.open_image(image)?, Known::default())
    }

    fn of(store: &Store, file: &ImageFile, known: Known<'_>) -> Result<Self, Error> {
        let boots = Bootable::of(store, file, known)?;
        let image = file.digest();
        let mut objects = store.objects_in(image, &file.tree()?);
        let mut layers = Vec::new();
        for blob in store.layers_of(image)? {
            if let Some(layer) = store.layer(&blob)? {
                objects.extend(layer.objects());
                layers.push(blob);
            }
        }
        let path = &boots.release.loader;
        let loader = file.read(path, MAX_LOADER)?;
        Ok(Self {
            loader: loader.ok_or_else(|| Error::Missing(path.clone()))?,
            objects,
            layers,
            boots,
            beside: Vec::new(),
        })
    }

    /// The same with the specialisations that the image names. Those that the store has not are left out, and said to be.
    pub fn load_all(store: &Store, image: &Digest, progress: &dyn Progress) -> Result<Self, Error> {
        let mut contents = Self::load(store, image)?;
        for (name, image) in contents.boots.release.specialisations.clone() {
            if store.image(&image).is_err() {
                progress.note(&format!(
                    "the specialisation {name} is left out: its image {image} is not in the store"
                ));
                continue;
            }
            // Most have the same kernel.
            let known = Known {
                parts: contents.boots.parts(),
                generation: None,
            };
            let one = Self::of(store, &store.open_image(&image)?, known)?;
            contents.beside.push((name, one));
        }
        Ok(contents)
    }

    /// These, and those beside it.
    pub(super) fn all(&self) -> impl Iterator<Item = &Self> {
        let beside = self.beside.iter().map(|(_, contents)| contents);
        std::iter::once(self).chain(beside)
    }

    /// Every object of all of it, each once.
    pub(super) fn all_objects(&self) -> BTreeMap<Digest, u64> {
        let all = self.all().flat_map(|contents| &contents.objects);
        all.map(|(digest, size)| (*digest, *size)).collect()
    }

    /// Bytes of the kernels and initrds of all of it, each once.
    pub(super) fn all_payloads(&self) -> u64 {
        let all = self.all().flat_map(|contents| contents.boots.payloads());
        let sizes: BTreeMap<Sha256, u64> = all.map(|p| (p.sha256, p.size)).collect();
        sizes.values().sum()
    }
}

impl Payloads for Contents {
    fn payload(&self, payload: &Payload) -> Result<Vec<u8>, apply::Error> {
        let found = self.all().find_map(|contents| contents.boots.find(payload));
        found.unwrap_or_else(|| Err(lacks(payload)))
    }
}
