//! Tables that may be larger than memory: records of one width, and runs of bytes.
//!
//! Each begins as an ordinary vector. What comes after the first MiB is asked of a
//! [`Room`], whose owner may have it in a file, so that the kernel can take the memory back.

use std::fmt;
use std::sync::Arc;

/// Where large tables are kept.
pub trait Room: fmt::Debug + Send + Sync {
    /// So many bytes, all zero; none if there is no room, and then they are taken from memory.
    fn slab(&self, size: usize) -> Option<Box<dyn Slab>>;
}

/// Bytes that a room gave.
pub trait Slab: fmt::Debug + Send + Sync {
    /// To read.
    fn bytes(&self) -> &[u8];
    /// To change.
    fn bytes_mut(&mut self) -> &mut [u8];
}

impl Slab for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }
}

/// Memory.
#[derive(Debug)]
struct Memory;

impl Room for Memory {
    fn slab(&self, _: usize) -> Option<Box<dyn Slab>> {
        None
    }
}

/// A room that has none: tables stay in memory.
pub fn memory() -> Arc<dyn Room> {
    Arc::new(Memory)
}

/// Bytes of one slab, and what a table has in a vector before it asks for any.
const CHUNK: usize = 1 << 20;

fn slab(room: &dyn Room, size: usize) -> Box<dyn Slab> {
    room.slab(size).unwrap_or_else(|| Box::new(vec![0; size]))
}

/// The same bytes in slabs of their own.
fn copies(room: &dyn Room, old: &[Box<dyn Slab>]) -> Vec<Box<dyn Slab>> {
    let mut all = Vec::with_capacity(old.len());
    for old in old {
        let mut new = slab(room, old.bytes().len());
        new.bytes_mut().copy_from_slice(old.bytes());
        all.push(new);
    }
    all
}

/// Records of one width, by number.
#[derive(Debug)]
pub struct Table {
    room: Arc<dyn Room>,
    width: usize,
    /// As a power of two: how many records a chunk has. A division for each look would be the most of it.
    shift: u32,
    length: usize,
    first: Vec<u8>,
    rest: Vec<Box<dyn Slab>>,
}

impl Table {
    /// A table without records; each will have so many bytes.
    pub fn new(room: &Arc<dyn Room>, width: usize) -> Self {
        Self {
            room: Arc::clone(room),
            width,
            shift: (CHUNK / width).max(1).ilog2(),
            length: 0,
            first: Vec::new(),
            rest: Vec::new(),
        }
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The chunk of a record, and where it begins there.
    fn place(&self, index: usize) -> (usize, usize) {
        let in_chunk = (1 << self.shift) - 1;
        (index >> self.shift, (index & in_chunk) * self.width)
    }

    /// A record.
    pub fn get(&self, index: usize) -> &[u8] {
        debug_assert!(index < self.length, "record {index} of {}", self.length);
        let (chunk, at) = self.place(index);
        let bytes = match chunk.checked_sub(1) {
            None => &self.first,
            Some(chunk) => self.rest[chunk].bytes(),
        };
        &bytes[at..at + self.width]
    }

    /// A record, to be changed.
    pub fn get_mut(&mut self, index: usize) -> &mut [u8] {
        let (chunk, at) = self.place(index);
        let bytes = match chunk.checked_sub(1) {
            None => &mut self.first,
            Some(chunk) => self.rest[chunk].bytes_mut(),
        };
        &mut bytes[at..at + self.width]
    }

    /// Adds a record; its number.
    pub fn push(&mut self, record: &[u8]) -> usize {
        let index = self.length;
        self.length += 1;
        match self.place(index).0.checked_sub(1) {
            None => self.first.extend_from_slice(record),
            Some(chunk) => {
                if chunk == self.rest.len() {
                    let size = self.width << self.shift;
                    self.rest.push(slab(&*self.room, size));
                }
                self.get_mut(index).copy_from_slice(record);
            }
        }
        index
    }

    /// Adds so many records of zeros.
    pub fn grow(&mut self, count: usize) {
        let zeros = vec![0; self.width];
        for _ in 0..count {
            self.push(&zeros);
        }
    }

    /// A number of 32 bits: the whole record.
    pub fn u32(&self, index: usize) -> u32 {
        read_u32(self.get(index), 0)
    }
}

impl Clone for Table {
    fn clone(&self) -> Self {
        Self {
            room: Arc::clone(&self.room),
            first: self.first.clone(),
            rest: copies(&*self.room, &self.rest),
            ..*self
        }
    }
}

/// The little-endian number of 32 bits at a place.
pub fn read_u32(bytes: &[u8], at: usize) -> u32 {
    let mut out = [0; 4];
    out.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(out)
}

/// The little-endian number of 64 bits at a place.
pub fn read_u64(bytes: &[u8], at: usize) -> u64 {
    let mut out = [0; 8];
    out.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(out)
}

/// Where a run of bytes stands among others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(pub(crate) u64);

impl Place {
    /// Of no bytes, which take no room.
    const EMPTY: Self = Self(u64::MAX);
}

/// Runs of bytes, each with its length before it.
#[derive(Debug)]
pub struct Bytes {
    room: Arc<dyn Room>,
    chunks: Vec<Box<dyn Slab>>,
    /// Bytes used of the last chunk.
    used: usize,
}

impl Bytes {
    /// The first chunk is small, since most trees are.
    const FIRST: usize = 4 << 10;

    /// None yet.
    pub fn new(room: &Arc<dyn Room>) -> Self {
        Self {
            room: Arc::clone(room),
            chunks: Vec::new(),
            used: 0,
        }
    }

    /// Adds a run of less than 4 GiB.
    pub fn push(&mut self, bytes: &[u8]) -> Place {
        if bytes.is_empty() {
            return Place::EMPTY;
        }
        let needed = 4 + bytes.len();
        let free = self
            .chunks
            .last()
            .map_or(0, |c| c.bytes().len() - self.used);
        if free < needed {
            let next = match self.chunks.len() {
                0..=8 => Self::FIRST << self.chunks.len(),
                _ => CHUNK,
            };
            let size = next.max(needed);
            let new = if size < CHUNK {
                Box::new(vec![0; size])
            } else {
                slab(&*self.room, size)
            };
            self.chunks.push(new);
            self.used = 0;
        }
        let chunk = self.chunks.len() - 1;
        let at = self.used;
        let into = &mut self.chunks[chunk].bytes_mut()[at..at + needed];
        // What is put into a tree comes from files and archives, whose parts are bounded.
        let length = u32::try_from(bytes.len()).expect("a part of a tree has less than 4 GiB");
        into[..4].copy_from_slice(&length.to_le_bytes());
        into[4..].copy_from_slice(bytes);
        self.used += needed;
        Place((chunk as u64) << 32 | at as u64)
    }

    /// The run at a place.
    pub fn get(&self, place: Place) -> &[u8] {
        if place == Place::EMPTY {
            return &[];
        }
        let chunk = self.chunks[(place.0 >> 32) as usize].bytes();
        let at = (place.0 & 0xffff_ffff) as usize;
        let length = read_u32(chunk, at) as usize;
        &chunk[at + 4..at + 4 + length]
    }

    /// The run at a place, to be changed.
    pub fn get_mut(&mut self, place: Place) -> &mut [u8] {
        if place == Place::EMPTY {
            return &mut [];
        }
        let chunk = self.chunks[(place.0 >> 32) as usize].bytes_mut();
        let at = (place.0 & 0xffff_ffff) as usize;
        let length = read_u32(chunk, at) as usize;
        &mut chunk[at + 4..at + 4 + length]
    }

    /// The runs that are not empty, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.chunks.iter().flat_map(|chunk| {
            let mut rest = chunk.bytes();
            // Behind the last run of a chunk are zeros, or too few bytes for a length.
            std::iter::from_fn(move || {
                let length = rest.first_chunk().copied().map_or(0, u32::from_le_bytes);
                let (run, behind) = rest.get(4..)?.split_at_checked(length as usize)?;
                rest = behind;
                (length > 0).then_some(run)
            })
        })
    }
}

impl Clone for Bytes {
    fn clone(&self) -> Self {
        Self {
            room: Arc::clone(&self.room),
            chunks: copies(&*self.room, &self.chunks),
            used: self.used,
        }
    }
}

/// Finds the numbers of records by what is in them: a hash table with open addressing.
///
/// It keeps half of each hash, so that it grows without a look at the records: these may be in a file, and looked at
/// in the order of their hashes each would be read from there.
#[derive(Debug, Clone)]
pub struct Index {
    /// A number plus two, and the upper half of its hash (32 bits each); 0 is free, 1 was removed. As many as a
    /// power of two.
    slots: Table,
    /// Slots that are not free.
    taken: usize,
}

impl Index {
    const FIRST: usize = 16;
    const REMOVED: u32 = 1;

    /// An index with nothing in it.
    pub fn new(room: &Arc<dyn Room>) -> Self {
        let mut slots = Table::new(room, 8);
        slots.grow(Self::FIRST);
        Self { slots, taken: 0 }
    }

    /// The slots that a hash may be in, in the order of search.
    fn path(&self, mark: u32) -> impl Iterator<Item = usize> + use<> {
        let mask = self.slots.len() - 1;
        (0..=mask).map(move |step| (mark as usize).wrapping_add(step) & mask)
    }

    /// What is kept of a hash.
    fn mark(hash: u64) -> u32 {
        u32::try_from(hash >> 32).unwrap_or_default()
    }

    /// The number and the mark in a slot.
    fn slot(&self, slot: usize) -> (u32, u32) {
        let record = self.slots.get(slot);
        (read_u32(record, 0), read_u32(record, 4))
    }

    /// The slot and number of the record of this hash that is the one.
    fn search(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<(usize, u32)> {
        let wanted = Self::mark(hash);
        for slot in self.path(wanted) {
            let (number, mark) = match self.slot(slot) {
                (0, _) => return None,
                (Self::REMOVED, _) => continue,
                (number, mark) => (number - 2, mark),
            };
            if mark == wanted && is(number) {
                return Some((slot, number));
            }
        }
        None
    }

    /// The record of this hash that is the one.
    pub fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        self.search(hash, is).map(|(_, number)| number)
    }

    /// Forgets a record.
    pub fn remove(&mut self, hash: u64, is: impl Fn(u32) -> bool) {
        if let Some((slot, _)) = self.search(hash, is) {
            self.slots.get_mut(slot)[..4].copy_from_slice(&Self::REMOVED.to_le_bytes());
        }
    }

    /// Adds a record that is not there.
    pub fn add(&mut self, hash: u64, number: u32) {
        if (self.taken + 1) * 4 > self.slots.len() * 3 {
            let mut slots = Table::new(&self.slots.room, 8);
            slots.grow(self.slots.len() * 2);
            let old = std::mem::replace(&mut self.slots, slots);
            self.taken = 0;
            for slot in 0..old.len() {
                let record = old.get(slot);
                if let Some(number) = read_u32(record, 0).checked_sub(2) {
                    self.put(read_u32(record, 4), number);
                }
            }
        }
        self.put(Self::mark(hash), number);
    }

    fn put(&mut self, mark: u32, number: u32) {
        let free = self.path(mark).find(|slot| self.slot(*slot).0 == 0);
        // Never more than three quarters are taken.
        if let Some(slot) = free {
            let record = self.slots.get_mut(slot);
            record[..4].copy_from_slice(&(number + 2).to_le_bytes());
            record[4..].copy_from_slice(&mark.to_le_bytes());
            self.taken += 1;
        }
    }
}

/// Values by keys of one width that are spread evenly, as digests are.
#[derive(Debug, Clone)]
pub struct Map {
    key: usize,
    /// A key, then its value.
    records: Table,
    index: Index,
}

impl Map {
    /// A map with nothing in it; keys have so many bytes (eight at least), and values so many.
    pub fn new(room: &Arc<dyn Room>, key: usize, value: usize) -> Self {
        Self {
            key,
            records: Table::new(room, key + value),
            index: Index::new(room),
        }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn number(&self, key: &[u8]) -> Option<usize> {
        let is = |number: u32| self.records.get(number as usize)[..self.key] == *key;
        let number = self.index.find(read_u64(key, 0), is)?;
        Some(number as usize)
    }

    /// Whether a key is there.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.number(key).is_some()
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let number = self.number(key)?;
        Some(&self.records.get(number)[self.key..])
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: &[u8]) -> Option<&mut [u8]> {
        let number = self.number(key)?;
        Some(&mut self.records.get_mut(number)[self.key..])
    }

    /// The same, and zeros if the key was not there.
    pub fn entry(&mut self, key: &[u8]) -> &mut [u8] {
        let number = self.number(key).unwrap_or_else(|| {
            let value = self.records.width - self.key;
            let number = self.records.push(&[key, &vec![0; value]].concat());
            // No store has four thousand million objects.
            let short = u32::try_from(number).expect("fewer than 2^32 keys");
            self.index.add(read_u64(key, 0), short);
            number
        });
        &mut self.records.get_mut(number)[self.key..]
    }

    /// All keys with their values, in the order in which the keys came.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let records = (0..self.records.len()).map(|number| self.records.get(number));
        records.map(|record| record.split_at(self.key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Counts what is asked of it.
    #[derive(Debug, Default)]
    struct Counted(AtomicUsize);

    impl Room for Counted {
        fn slab(&self, size: usize) -> Option<Box<dyn Slab>> {
            self.0.fetch_add(size, Ordering::Relaxed);
            Some(Box::new(vec![0; size]))
        }
    }

    #[test]
    fn records_are_found_in_every_chunk() {
        let counted = Arc::new(Counted::default());
        let room: Arc<dyn Room> = counted.clone();
        let mut table = Table::new(&room, 12);
        let record = |i: usize| [(i as u64).to_le_bytes().as_slice(), &[7; 4]].concat();
        let count = 3 * CHUNK / 12;
        for i in 0..count {
            assert_eq!(table.push(&record(i)), i);
        }
        assert!(counted.0.load(Ordering::Relaxed) >= 2 * CHUNK - 24);
        let copy = table.clone();
        table.get_mut(count / 2).fill(0);
        for i in (0..count).step_by(997).chain([count / 2, count - 1]) {
            assert_eq!(copy.get(i), record(i));
        }
        assert_eq!(table.get(count / 2), [0; 12]);
    }

    #[test]
    fn runs_of_bytes_have_any_length() {
        let mut bytes = Bytes::new(&memory());
        let run = |i: usize| vec![u8::try_from(i % 251).unwrap(); i * 7 % 5000];
        let mut places: Vec<Place> = (0..2000).map(|i| bytes.push(&run(i))).collect();
        places.push(bytes.push(&vec![9; 3 * CHUNK]));
        for (i, place) in places[..2000].iter().enumerate() {
            assert_eq!(bytes.get(*place), run(i));
        }
        assert_eq!(bytes.clone().get(places[2000]).len(), 3 * CHUNK);
        bytes.get_mut(places[1000])[3] = 255;
        assert_eq!(bytes.get(places[1000])[3], 255);
        let lengths: Vec<usize> = bytes.iter().map(<[u8]>::len).collect();
        let pushed = (0..2000).map(|i| run(i).len()).chain([3 * CHUNK]);
        assert_eq!(
            lengths,
            pushed.filter(|length| *length > 0).collect::<Vec<_>>()
        );
    }

    #[test]
    fn an_index_finds_what_is_in_it() {
        let mut index = Index::new(&memory());
        // Bad hashes must cost time alone.
        let hash = |n: u32| u64::from(n / 3) << 32;
        for n in 0..5000 {
            index.add(hash(n), n);
        }
        for n in (0..5000).step_by(2) {
            index.remove(hash(n), |other| other == n);
        }
        for n in 0..5001 {
            let found = index.find(hash(n), |other| other == n);
            assert_eq!(found, (n < 5000 && n % 2 == 1).then_some(n));
        }
    }

    #[test]
    fn a_map_has_each_key_once() {
        let mut map = Map::new(&memory(), 8, 2);
        let key = |n: u64| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes();
        for n in (0..3000).chain(1000..2000) {
            map.entry(&key(n))[0] += 1;
        }
        assert_eq!(map.len(), 3000);
        for n in 0..3000 {
            let times = if (1000..2000).contains(&n) { 2 } else { 1 };
            assert_eq!(map.get(&key(n)), Some(&[times, 0][..]), "{n}");
        }
        assert!(!map.contains(&key(3000)));
        let keys: Vec<&[u8]> = map.iter().map(|(key, _)| key).collect();
        assert_eq!(keys[2999], key(2999));
    }
}
