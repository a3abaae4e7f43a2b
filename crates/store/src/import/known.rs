//! Files whose contents are known from an earlier import, so that nothing of them is read again.
//!
//! A cache, in `cache/files` of the store: it may be deleted at any time, and one that is damaged
//! counts as empty. `docs/formats/file-cache.md` describes it and says why a hit is safe.

use crate::{Store, room};
use elea_formats::digest::{Algorithm, Digest};
use elea_formats::table::{Index, Table};
use rustix::fs::Stat;
use sha2::Digest as _;
use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, BufReader, BufWriter, Read as _, Write as _};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tempfile::NamedTempFile;

/// Says what the file is, its version, and how long its digests are.
const fn magic(algorithm: Algorithm) -> &'static [u8; 16] {
    match algorithm {
        Algorithm::Sha256 => b"elea files 1\n\0\0\0",
        Algorithm::Sha512 => b"elea files 1\n512",
    }
}
/// Bytes of what tells a file's state.
const KEY: usize = 48;
/// Bytes of one entry: that and a digest.
const fn entry(algorithm: Algorithm) -> usize {
    KEY + algorithm.bytes()
}
/// Bytes of the digest at the end.
const SUM: usize = 32;
/// How many entries are kept: 160 MB, with SHA-512 224 MB.
const LIMIT: usize = 2_000_000;
/// Seconds that a change must be old. The kernel writes back what was changed through a mapping
/// after 35 s (`dirty_expire_centisecs` and one more round), and notes the next change only then.
const SETTLED: i64 = 60;
/// File systems that write times with nanoseconds and note every change of a settled file
/// (`linux/magic.h`). tmpfs does not note changes through a mapping.
const NOTING: [u64; 4] = [
    0xef53,      // ext4
    0x9123_683e, // btrfs
    0x5846_5342, // xfs
    0xf2f5_2010, // f2fs
];

/// What tells one state of one file from all others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    filesystem: u64,
    inode: u64,
    size: u64,
    changed: (i64, u32),
    modified: (i64, u32),
}

/// The identity of a file system that notes every change of a file; none for others.
pub(super) fn filesystem(file: impl AsFd) -> Option<u64> {
    let kind = rustix::fs::fstatfs(&file).ok()?.f_type;
    if !NOTING.contains(&(kind.cast_unsigned() & 0xffff_ffff)) {
        return None;
    }
    // Of its UUID, where it has one: device numbers are given anew at each boot.
    let id = rustix::fs::fstatvfs(&file).ok()?.f_fsid;
    (id != 0).then_some(id)
}

/// The cache while it is used.
pub(super) struct Known {
    algorithm: Algorithm,
    /// Seconds since 1970 when the import began.
    now: i64,
    /// Oldest first, as in the file.
    old: Table,
    index: Index,
    hasher: RandomState,
    /// Whether it was of use this time.
    used: Vec<AtomicBool>,
    new: Mutex<Table>,
}

impl Known {
    /// What a store knows; nothing if its cache is absent or damaged.
    pub(super) fn load(store: &Store, now: SystemTime) -> Self {
        let room = room::in_folder(&store.path().join("tmp"));
        let algorithm = store.algorithm();
        let table = || Table::new(&room, entry(algorithm));
        let mut known = Self {
            algorithm,
            now: now
                .duration_since(UNIX_EPOCH)
                .map_or(0, |time| i64::try_from(time.as_secs()).unwrap_or(0)),
            old: table(),
            index: Index::new(&room),
            hasher: RandomState::new(),
            used: Vec::new(),
            new: Mutex::new(table()),
        };
        // One that is damaged is of no use.
        if read(&store.path().join("cache/files"), algorithm, &mut known.old).is_err() {
            known.old = table();
        }
        for number in 0..known.old.len() {
            let hash = known.hash(&known.old.get(number)[..KEY]);
            // At most LIMIT are read.
            let narrow = u32::try_from(number).unwrap_or(u32::MAX);
            known.index.add(hash, narrow);
        }
        known.used.resize_with(known.old.len(), AtomicBool::default);
        known
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    /// The number of a key's entry.
    fn place(&self, key: &[u8]) -> Option<usize> {
        let is = |number: u32| &self.old.get(number as usize)[..KEY] == key;
        self.index
            .find(self.hash(key), is)
            .map(|number| number as usize)
    }

    /// The key of a regular file, if its state is one that can be known.
    pub(super) fn key(&self, filesystem: Option<u64>, status: &Stat) -> Option<Key> {
        let nanoseconds = |ns| u32::try_from(ns).ok();
        let key = Key {
            filesystem: filesystem?,
            inode: status.st_ino,
            size: status.st_size.cast_unsigned(),
            changed: (status.st_ctime, nanoseconds(status.st_ctime_nsec)?),
            modified: (status.st_mtime, nanoseconds(status.st_mtime_nsec)?),
        };
        // Whole seconds are written by programs that make file systems, again and again the same.
        let by_kernel = key.changed.1 != 0;
        (by_kernel && key.changed.0 < self.now.saturating_sub(SETTLED)).then_some(key)
    }

    /// The content of a file in this state.
    pub(super) fn find(&self, key: &Key) -> Option<Digest> {
        let place = self.place(&key.encode())?;
        self.used[place].store(true, Ordering::Relaxed);
        self.algorithm.digest(&self.old.get(place)[KEY..])
    }

    /// Says what the content of a file in this state is.
    pub(super) fn learn(&self, key: Key, digest: Digest) {
        if let Ok(mut new) = self.new.lock() {
            new.push(&[&key.encode()[..], digest.as_bytes()].concat());
        }
    }

    /// Writes the cache if there is something new, as it will be from the next sync of the store on: its entries
    /// are believed without a look at the objects' contents. One that cannot be written is no failure of the import:
    /// the next one reads more.
    pub(super) fn save(mut self, store: &Store) {
        let new = std::mem::replace(
            self.new.get_mut().unwrap_or_else(PoisonError::into_inner),
            Table::new(&elea_formats::table::memory(), entry(self.algorithm)),
        );
        if new.is_empty() {
            return;
        }
        // What is new stands for what was of use and is not any more.
        let mut replaced = vec![false; self.old.len()];
        for number in 0..new.len() {
            if let Some(place) = self.place(&new.get(number)[..KEY]) {
                replaced[place] = true;
            }
        }
        let kept = |wanted: bool| {
            let (used, replaced) = (&self.used, &replaced);
            (0..self.old.len()).filter(move |number| {
                used[*number].load(Ordering::Relaxed) == wanted && !replaced[*number]
            })
        };
        let old = kept(false).chain(kept(true)).map(|n| self.old.get(n));
        let entries = || old.clone().chain((0..new.len()).map(|n| new.get(n)));
        let count = entries().count();
        let folder = store.path().join("cache");
        let kept = entries().skip(count.saturating_sub(LIMIT));
        if let Ok(file) = write(&folder, self.algorithm, kept) {
            store.behind.name_after(file, folder.join("files"));
        }
    }
}

/// Reads the entries of a cache; an error if it is not as it was written.
fn read(path: &Path, algorithm: Algorithm, into: &mut Table) -> io::Result<()> {
    let width = entry(algorithm);
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let entries = size
        .checked_sub((magic(algorithm).len() + SUM) as u64)
        .filter(|rest| rest % width as u64 == 0 && *rest <= (LIMIT * width) as u64)
        .ok_or(io::ErrorKind::InvalidData)?
        / width as u64;
    let mut file = BufReader::with_capacity(1 << 18, file);
    let mut hasher = sha2::Sha256::new();
    let mut head = [0; 16];
    file.read_exact(&mut head)?;
    hasher.update(head);
    let mut entry = vec![0; width];
    for _ in 0..entries {
        file.read_exact(&mut entry)?;
        hasher.update(&entry);
        into.push(&entry);
    }
    let mut sum = [0; SUM];
    file.read_exact(&mut sum)?;
    if head != *magic(algorithm) || hasher.finalize()[..] != sum {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(())
}

/// A file with these entries, without its name.
fn write<'e>(
    folder: &Path,
    algorithm: Algorithm,
    entries: impl Iterator<Item = &'e [u8]>,
) -> io::Result<NamedTempFile> {
    fs::create_dir_all(folder)?;
    let file = tempfile::Builder::new()
        .prefix(".new-")
        .tempfile_in(folder)?;
    let mut hasher = sha2::Sha256::new();
    let mut out = BufWriter::with_capacity(1 << 18, file.as_file());
    for part in std::iter::once(&magic(algorithm)[..]).chain(entries) {
        hasher.update(part);
        out.write_all(part)?;
    }
    out.write_all(&hasher.finalize())?;
    out.flush()?;
    drop(out);
    Ok(file)
}

impl Key {
    /// As the cache has it.
    fn encode(&self) -> [u8; KEY] {
        let mut bytes = [0; KEY];
        let long = [
            self.filesystem,
            self.inode,
            self.size,
            self.changed.0.cast_unsigned(),
            self.modified.0.cast_unsigned(),
        ];
        let (first, second) = bytes.split_at_mut(40);
        for (into, value) in first.chunks_mut(8).zip(long) {
            into.copy_from_slice(&value.to_le_bytes());
        }
        for (into, value) in second.chunks_mut(4).zip([self.changed.1, self.modified.1]) {
            into.copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests;
