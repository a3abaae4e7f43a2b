//! The entries of a layer, encoded as in its record: a layer may have millions, and they may be in a file.

use super::{Step, What, record};
use elea_formats::digest::{Algorithm, Digest};
use elea_formats::table::{Bytes, Place, Room};
use std::sync::Arc;

/// What a layer does, in the order of its entries.
#[derive(Debug, Clone)]
pub(crate) struct Steps {
    algorithm: Algorithm,
    runs: Bytes,
    count: usize,
    hides: bool,
}

impl Steps {
    /// No entries yet; large ones will be in this room. Their objects are named by this algorithm.
    pub(crate) fn new(room: &Arc<dyn Room>, algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            runs: Bytes::new(room),
            count: 0,
            hides: false,
        }
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Whether anything of lower layers is hidden.
    pub(crate) fn hide(&self) -> bool {
        self.hides
    }

    /// Adds an entry; its place is for [`Steps::set_object`].
    pub(crate) fn push(&mut self, step: &Step) -> Place {
        self.count += 1;
        self.hides |= matches!(step.what, What::Whiteout | What::Opaque);
        self.runs.push(&record::encode(step))
    }

    /// Says which object an entry has, whose object was not known when it was added.
    pub(crate) fn set_object(&mut self, place: Place, digest: &Digest, size: u64) {
        record::set_object(self.runs.get_mut(place), digest, size);
    }

    /// The entries.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Step> {
        let steps = self.runs.iter();
        let decode = |run| record::decode(run, self.algorithm);
        steps.map(move |run| decode(run).expect("what was encoded can be decoded"))
    }

    /// The entries as they stand in a layer's record.
    pub(super) fn encoded(&self) -> impl Iterator<Item = &[u8]> {
        self.runs.iter()
    }
}
