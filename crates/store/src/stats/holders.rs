//! Objects, and which of several holders hold each: 52 bytes an object (with SHA-512 84), however many hold it, and they may be in
//! a file.

use super::Sum;
use elea_formats::digest::{Algorithm, Digest};
use elea_formats::table::{Map, Room, read_u32, read_u64};
use std::collections::HashMap;
use std::sync::Arc;

/// Objects that are there, and the set of each.
#[derive(Debug)]
pub(super) struct Sets {
    /// Of each object its size in bytes, and the place of its set in `known` (32 bits).
    objects: Map,
    /// The sets that came up: each is another one and one more holder. The first is the empty one.
    known: Vec<Known>,
    /// The places of the sets in `known`, by the smaller set and the holder.
    with: HashMap<(u32, u32), u32>,
    /// What each holder holds.
    held: Vec<Sum>,
    missing: u64,
}

/// Where an object's set is in its value.
const SET: usize = 8;

#[derive(Debug, Clone, Copy)]
struct Known {
    smaller: u32,
    holder: u32,
}

/// What a set of holders holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Set {
    /// The holders, in their order.
    pub(super) holders: Vec<usize>,
    /// The objects.
    pub(super) objects: Sum,
}

impl Sets {
    /// No objects yet.
    pub(super) fn new(room: &Arc<dyn Room>, algorithm: Algorithm) -> Self {
        let nobody = Known {
            smaller: 0,
            holder: u32::MAX,
        };
        Self {
            objects: Map::new(room, algorithm.bytes(), SET + 4),
            known: vec![nobody],
            with: HashMap::new(),
            held: Vec::new(),
            missing: 0,
        }
    }

    /// Adds an object of so many bytes, held by nobody.
    pub(super) fn add(&mut self, digest: &Digest, size: u64) {
        self.objects.entry(digest.as_bytes())[..SET].copy_from_slice(&size.to_le_bytes());
    }

    /// Says that a holder holds an object. Holders come one after the other, in their order; the same
    /// object may come again.
    pub(super) fn hold(&mut self, holder: usize, digest: &Digest) {
        if self.held.len() <= holder {
            self.held.resize(holder + 1, Sum::default());
        }
        let Some(object) = self.objects.get_mut(digest.as_bytes()) else {
            self.missing += 1;
            return;
        };
        let (size, smaller) = (read_u64(object, 0), read_u32(object, SET));
        // Neither a store of 4,294,967,295 images nor one of as many objects can be.
        let number = u32::try_from(holder).unwrap_or(u32::MAX);
        if self.known[smaller as usize].holder == number && smaller != 0 {
            return;
        }
        let known = &mut self.known;
        let set = *self.with.entry((smaller, number)).or_insert_with(|| {
            known.push(Known {
                smaller,
                holder: number,
            });
            u32::try_from(known.len() - 1).unwrap_or(u32::MAX)
        });
        object[SET..].copy_from_slice(&set.to_le_bytes());
        self.held[holder].add(Sum {
            count: 1,
            bytes: size,
        });
    }

    /// What a holder holds so far.
    pub(super) fn held_by(&self, holder: usize) -> Sum {
        self.held.get(holder).copied().unwrap_or_default()
    }

    /// How many objects were said to be held and are not there.
    pub(super) fn missing(&self) -> u64 {
        self.missing
    }

    /// What each set holds that has anything.
    pub(super) fn sums(&self) -> Vec<Set> {
        let mut sums = vec![Sum::default(); self.known.len()];
        for (_, object) in self.objects.iter() {
            sums[read_u32(object, SET) as usize].add(Sum {
                count: 1,
                bytes: read_u64(object, 0),
            });
        }
        sums.into_iter()
            .enumerate()
            .filter(|(_, objects)| objects.count > 0)
            .map(|(place, objects)| Set {
                holders: self.holders(place),
                objects,
            })
            .collect()
    }

    fn holders(&self, mut place: usize) -> Vec<usize> {
        let mut holders = Vec::new();
        while place != 0 {
            holders.push(self.known[place].holder as usize);
            place = self.known[place].smaller as usize;
        }
        holders.reverse();
        holders
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_the_same_holders_are_one_set() {
        let digest = |seed: u8| Algorithm::Sha256.digest(&[seed; 32]).unwrap();
        let mut sets = Sets::new(&elea_formats::table::memory(), Algorithm::Sha256);
        for seed in 1..=5 {
            sets.add(&digest(seed), u64::from(seed));
        }
        for (holder, seeds) in [(0, &[1, 2, 3, 1][..]), (1, &[2, 3, 9]), (2, &[1, 2, 3])] {
            for seed in seeds {
                sets.hold(holder, &digest(*seed));
            }
        }
        assert_eq!(sets.missing(), 1);
        assert_eq!(sets.held_by(0), Sum { count: 3, bytes: 6 });
        assert_eq!(sets.held_by(1), Sum { count: 2, bytes: 5 });
        let sum = |holders: &[usize], count, bytes| Set {
            holders: holders.to_vec(),
            objects: Sum { count, bytes },
        };
        assert_eq!(
            sets.sums(),
            [sum(&[], 2, 9), sum(&[0, 2], 1, 1), sum(&[0, 1, 2], 2, 5)]
        );
    }
}
