//! Objects, and which of several holders hold each: 48 bytes an object, however many hold it.

use super::Sum;
use elea_formats::digest::Digest;
use std::collections::HashMap;

/// Objects that are there, and the set of each.
#[derive(Debug)]
pub(super) struct Sets {
    /// By the first byte of their digests, sorted.
    objects: Vec<Vec<Object>>,
    /// The sets that came up: each is another one and one more holder. The first is the empty one.
    known: Vec<Known>,
    /// The places of the sets in `known`, by the smaller set and the holder.
    with: HashMap<(u32, u32), u32>,
    /// What each holder holds.
    held: Vec<Sum>,
    missing: u64,
}

#[derive(Debug)]
struct Object {
    digest: Digest,
    size: u64,
    set: u32,
}

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

impl Default for Sets {
    fn default() -> Self {
        let nobody = Known {
            smaller: 0,
            holder: u32::MAX,
        };
        Self {
            objects: std::iter::repeat_with(Vec::new).take(256).collect(),
            known: vec![nobody],
            with: HashMap::new(),
            held: Vec::new(),
            missing: 0,
        }
    }
}

impl Sets {
    /// Adds objects with their sizes in bytes, held by nobody. All that begin with one byte come at once.
    pub(super) fn add(&mut self, mut found: Vec<(Digest, u64)>) {
        found.sort_unstable();
        let Some((first, _)) = found.first() else {
            return;
        };
        let place = usize::from(first.as_bytes()[0]);
        self.objects[place] = found
            .into_iter()
            .map(|(digest, size)| Object {
                digest,
                size,
                set: 0,
            })
            .collect();
    }

    /// Says that a holder holds an object. Holders come one after the other, in their order; the same
    /// object may come again.
    pub(super) fn hold(&mut self, holder: usize, digest: &Digest) {
        if self.held.len() <= holder {
            self.held.resize(holder + 1, Sum::default());
        }
        let objects = &mut self.objects[usize::from(digest.as_bytes()[0])];
        let Ok(at) = objects.binary_search_by_key(digest, |object| object.digest) else {
            self.missing += 1;
            return;
        };
        let object = &mut objects[at];
        // Neither a store of 4,294,967,295 images nor one of as many objects can be.
        let number = u32::try_from(holder).unwrap_or(u32::MAX);
        if self.known[object.set as usize].holder == number && object.set != 0 {
            return;
        }
        let known = &mut self.known;
        let smaller = object.set;
        object.set = *self.with.entry((smaller, number)).or_insert_with(|| {
            known.push(Known {
                smaller,
                holder: number,
            });
            u32::try_from(known.len() - 1).unwrap_or(u32::MAX)
        });
        self.held[holder].add(Sum {
            count: 1,
            bytes: object.size,
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
        for object in self.objects.iter().flatten() {
            sums[object.set as usize].add(Sum {
                count: 1,
                bytes: object.size,
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
        let digest = |seed: u8| Digest::new([seed; 32]);
        let mut sets = Sets::default();
        for seed in 1..=5 {
            sets.add(vec![(digest(seed), u64::from(seed))]);
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
