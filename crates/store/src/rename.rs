//! A tree, and an image, by another algorithm than the store's.

use crate::fsck::{PIECE, measure};
use crate::store::in_parallel;
use crate::{Error, Store};
use elea_formats::digest::{Algorithm, Digest};
use elea_formats::erofs::{self, Version};
use elea_formats::tree::Tree;
use elea_sys::At as _;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

impl Store {
    /// The digest that a tree has as an image whose objects are named by this algorithm. Where it is not the
    /// store's, every object is read; none is written.
    pub fn digest_by(
        &self,
        algorithm: Algorithm,
        tree: &Tree,
        version: Version,
    ) -> Result<Digest, Error> {
        if algorithm == tree.algorithm() {
            return Ok(erofs::digest(tree, version));
        }
        let objects: BTreeSet<Digest> = tree
            .leaves()
            .filter_map(|id| Some(tree.object(id)?.0))
            .collect();
        let names: BTreeMap<Digest, Digest> = in_parallel(|| {
            let buffer = || vec![0; PIECE];
            let name = |buffer: &mut Vec<u8>, object: Digest| {
                let file = self.open_object(&object)?;
                let (name, _) =
                    measure(&file, algorithm, buffer).at("read", self.object_path(&object))?;
                Ok((object, name))
            };
            objects
                .into_par_iter()
                .map_init(buffer, name)
                .collect::<Result<_, Error>>()
        })?;
        let renamed = tree
            .clone()
            .rename_objects(algorithm, |object| names[object]);
        Ok(erofs::digest(&renamed, version))
    }
}
