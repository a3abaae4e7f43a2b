//! A tree whose objects are named by another hash.

use crate::store::in_parallel;
use crate::{Error, Store};
use elea_formats::digest::Digest;
use elea_formats::tree::{Content, Tree};
use elea_formats::verity::{Algorithm, Hasher};
use elea_sys::At as _;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

impl Store {
    /// The same tree with its objects named by their fs-verity digests of another algorithm. Every object is
    /// read; none is written.
    pub fn rename_objects<A: Algorithm>(&self, tree: Tree) -> Result<Tree<A>, Error> {
        let objects: BTreeSet<Digest> = tree
            .leaves()
            .filter_map(|id| match tree.content(id) {
                Content::Object { digest, .. } => Some(digest),
                _ => None,
            })
            .collect();
        let names: BTreeMap<Digest, A> = in_parallel(|| {
            objects
                .into_par_iter()
                .map(|object| Ok((object, self.measure(&object)?)))
                .collect::<Result<_, Error>>()
        })?;
        Ok(tree.rename_objects(|object| names[&object]))
    }

    fn measure<A: Algorithm>(&self, object: &Digest) -> Result<A, Error> {
        let mut file = self.open_object(object)?;
        let mut hasher = Hasher::<A>::default();
        let mut piece = vec![0; 1 << 18];
        loop {
            match file.read(&mut piece) {
                Ok(0) => return Ok(hasher.finish().digest),
                Ok(length) => hasher.update(&piece[..length]),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => Err(e).at("read", self.object_path(object))?,
            }
        }
    }
}
