//! What the store has, by path and by size: where a content that is looked for is likely to be.

use elea_formats::digest::{Algorithm, Digest};
use elea_formats::table::{Map, Room, Table, read_u32, read_u64};
use std::hash::{BuildHasher as _, RandomState};
use std::iter::successors;
use std::sync::Arc;

/// Where things stand in a record: the hash of a path, a size, the numbers plus one of the record before it with
/// the same path and with the same size, and the digest of an object.
const SIZE: usize = 8;
const SAME_PATH: usize = 16;
const SAME_SIZE: usize = 20;
const DIGEST: usize = 24;
/// As many objects at one path are looked through for one that is there already: a record twice costs less than
/// a long look.
const NEWEST: usize = 16;

/// Objects with the paths that layers have them at. A store may have millions: they may be in a file.
#[derive(Debug)]
pub(super) struct Here {
    algorithm: Algorithm,
    records: Table,
    /// The number plus one of the newest record, by the hashes of paths and sizes.
    by_path: Map,
    by_size: Map,
    /// How the digests of all objects begin.
    starts: Map,
    hasher: RandomState,
}

impl Here {
    pub(super) fn new(room: &Arc<dyn Room>, algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            records: Table::new(room, DIGEST + algorithm.bytes()),
            by_path: Map::new(room, 8, 4),
            by_size: Map::new(room, 8, 4),
            starts: Map::new(room, 8, 0),
            hasher: RandomState::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether an object is among them. (That another one begins as it does costs a fetch, and nothing more.)
    pub(super) fn has(&self, object: &Digest) -> bool {
        self.starts.contains(&object.start().to_le_bytes())
    }

    /// Adds an object, and the path that a layer has it at.
    pub(super) fn add(&mut self, path: Option<&[u8]>, object: &Digest, size: u64) {
        let path = path.map(|path| self.hasher.hash_one(path));
        // Most of what a layer has, the one before it had too.
        let is_there = |path| {
            let mut newest = self.at(path, Some(size)).take(NEWEST);
            newest.any(|there| there == *object)
        };
        if path.is_some_and(is_there) {
            return;
        }
        let start = object.start().to_le_bytes();
        let is_new = !self.starts.contains(&start);
        self.starts.entry(&start);
        let number = self.records.len();
        let mut record = vec![0; DIGEST + self.algorithm.bytes()];
        record[SIZE..SAME_PATH].copy_from_slice(&size.to_le_bytes());
        record[DIGEST..].copy_from_slice(object.as_bytes());
        // At most 2^32 records: what is more is not found.
        let Ok(named) = u32::try_from(number + 1) else {
            return;
        };
        if let Some(path) = path {
            let path = path.to_le_bytes();
            record[..SIZE].copy_from_slice(&path);
            swap(self.by_path.entry(&path), &mut record[SAME_PATH..], named);
        }
        if is_new {
            let size = self.hasher.hash_one(size).to_le_bytes();
            swap(self.by_size.entry(&size), &mut record[SAME_SIZE..], named);
        }
        self.records.push(&record);
    }

    /// Objects of this size, or of any, that are at a path in layers, the newest first.
    pub(super) fn at_path<'h>(
        &'h self,
        path: &[u8],
        size: Option<u64>,
    ) -> impl Iterator<Item = Digest> + use<'h> {
        self.at(self.hasher.hash_one(path), size)
    }

    fn at(&self, path: u64, size: Option<u64>) -> impl Iterator<Item = Digest> {
        self.chain(self.by_path.get(&path.to_le_bytes()), SAME_PATH, size)
    }

    /// All objects of this size.
    pub(super) fn of_size(&self, size: u64) -> impl Iterator<Item = Digest> {
        let hash = self.hasher.hash_one(size).to_le_bytes();
        self.chain(self.by_size.get(&hash), SAME_SIZE, Some(size))
    }

    fn chain(
        &self,
        first: Option<&[u8]>,
        next: usize,
        size: Option<u64>,
    ) -> impl Iterator<Item = Digest> {
        let record = move |number: u32| {
            let number = usize::try_from(number.checked_sub(1)?).ok()?;
            Some(self.records.get(number))
        };
        let first = first.and_then(|first| record(read_u32(first, 0)));
        let all = successors(first, move |before| record(read_u32(before, next)));
        all.filter(move |record| size.is_none_or(|size| read_u64(record, SIZE) == size))
            .filter_map(|record| self.algorithm.digest(&record[DIGEST..]))
    }
}

/// Puts the newest number in, and the one before it into the new record.
fn swap(newest: &mut [u8], record: &mut [u8], named: u32) {
    record[..4].copy_from_slice(newest);
    newest.copy_from_slice(&named.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use elea_formats::table::memory;
    use elea_formats::verity::measure;

    #[test]
    fn objects_are_found_by_path_and_by_size() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let mut here = Here::new(&memory(), algorithm);
            assert!(here.is_empty());
            let [old, new, other, alone] =
                ["old", "new", "other", "alone"].map(|text| measure(algorithm, text.as_bytes()));
            here.add(Some(b"a"), &old, 7);
            here.add(Some(b"a"), &new, 7);
            here.add(Some(b"a"), &other, 8);
            // Again, and at another path.
            here.add(Some(b"a"), &new, 7);
            here.add(Some(b"b"), &new, 7);
            here.add(None, &alone, 7);
            let at = |path: &[u8], size| here.at_path(path, Some(size)).collect::<Vec<_>>();
            assert_eq!(at(b"a", 7), [new, old]);
            assert_eq!(at(b"a", 8), [other]);
            let any = here.at_path(b"a", None).collect::<Vec<_>>();
            assert_eq!(any, [other, new, old]);
            assert_eq!(at(b"b", 7), [new]);
            assert!(at(b"c", 7).is_empty() && at(b"b", 8).is_empty());
            // Each once.
            let of = |size| here.of_size(size).collect::<Vec<_>>();
            assert_eq!(of(7), [alone, new, old]);
            assert_eq!(of(8), [other]);
            assert!(of(9).is_empty());
            assert!(here.has(&alone) && here.has(&old) && !here.is_empty());
            assert!(!here.has(&measure(algorithm, b"nobody")));
        }
    }
}
