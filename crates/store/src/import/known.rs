//! Files whose contents are known from an earlier import, so that nothing of them is read again.
//!
//! A cache, in `cache/files` of the store: it may be deleted at any time, and one that is damaged
//! counts as empty. `docs/formats/file-cache.md` describes it and says why a hit is safe.

use elea_formats::digest::Digest;
use rustix::fs::Stat;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Says what the file is, and its version.
const MAGIC: [u8; 16] = *b"elea files 1\n\0\0\0";
/// Bytes of one entry.
const ENTRY: usize = 80;
/// Bytes of the digest at the end.
const SUM: usize = 32;
/// How many entries are kept: 40 MB.
const LIMIT: usize = 500_000;
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

/// The contents that are known.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Seconds since 1970 when the import began.
    now: i64,
    /// Oldest first, and whether it was of use this time.
    old: Vec<(Key, Digest, AtomicBool)>,
    places: HashMap<Key, usize>,
    new: Mutex<Vec<(Key, Digest)>>,
}

impl Known {
    /// What a store knows; nothing if its cache is absent or damaged.
    pub(super) fn load(store: &Path, now: SystemTime) -> Self {
        let bytes = read(&store.join("cache/files")).unwrap_or_default();
        let old: Vec<_> = parse(&bytes)
            .map(|(key, digest)| (key, digest, AtomicBool::new(false)))
            .collect();
        let places = old.iter().enumerate().map(|(i, entry)| (entry.0, i));
        Self {
            now: now
                .duration_since(UNIX_EPOCH)
                .map_or(0, |time| i64::try_from(time.as_secs()).unwrap_or(0)),
            places: places.collect(),
            old,
            new: Mutex::default(),
        }
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
        let (_, digest, used) = &self.old[*self.places.get(key)?];
        used.store(true, Ordering::Relaxed);
        Some(*digest)
    }

    /// Says what the content of a file in this state is.
    pub(super) fn learn(&self, key: Key, digest: Digest) {
        if let Ok(mut new) = self.new.lock() {
            new.push((key, digest));
        }
    }

    /// Writes the cache if there is something new. One that cannot be written is no failure of
    /// the import: the next one reads more.
    pub(super) fn save(self, store: &Path) {
        let mut new = self.new.into_inner().unwrap_or_default();
        if new.is_empty() {
            return;
        }
        let replaced: HashMap<_, _> = new.iter().copied().collect();
        let mut entries: Vec<(Key, Digest)> = Vec::with_capacity(self.old.len() + new.len());
        for wanted in [false, true] {
            let old = self.old.iter().filter(|(key, _, used)| {
                used.load(Ordering::Relaxed) == wanted && !replaced.contains_key(key)
            });
            entries.extend(old.map(|(key, digest, _)| (*key, *digest)));
        }
        entries.append(&mut new);
        let from = entries.len().saturating_sub(LIMIT);
        let folder = store.join("cache");
        let _ = write(&folder, &encode(&entries[from..]));
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let limit = MAGIC.len() + LIMIT * ENTRY + SUM;
    let mut bytes = Vec::new();
    File::open(path)?
        .take(limit as u64 + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        bytes.clear();
    }
    Ok(bytes)
}

/// Whole or not at all. Not durable: what a power cut leaves of it does not match its digest.
fn write(folder: &Path, bytes: &[u8]) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
        .tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.persist(folder.join("files"))?;
    Ok(())
}

fn encode(entries: &[(Key, Digest)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MAGIC.len() + entries.len() * ENTRY + SUM);
    bytes.extend(MAGIC);
    for (key, digest) in entries {
        bytes.extend(key.filesystem.to_le_bytes());
        bytes.extend(key.inode.to_le_bytes());
        bytes.extend(key.size.to_le_bytes());
        bytes.extend(key.changed.0.to_le_bytes());
        bytes.extend(key.modified.0.to_le_bytes());
        bytes.extend(key.changed.1.to_le_bytes());
        bytes.extend(key.modified.1.to_le_bytes());
        bytes.extend(digest.as_bytes());
    }
    let sum = Digest::sha256(&bytes);
    bytes.extend(sum.as_bytes());
    bytes
}

/// The entries; none if anything is not as it was written.
fn parse(bytes: &[u8]) -> impl Iterator<Item = (Key, Digest)> {
    let body = bytes
        .split_last_chunk::<SUM>()
        .filter(|(body, sum)| Digest::sha256(body).as_bytes() == *sum)
        .and_then(|(body, _)| body.strip_prefix(&MAGIC))
        .unwrap_or_default();
    body.as_chunks::<ENTRY>().0.iter().map(entry)
}

fn entry(bytes: &[u8; ENTRY]) -> (Key, Digest) {
    let long = |at: usize| {
        let mut number = [0; 8];
        number.copy_from_slice(&bytes[at..at + 8]);
        number
    };
    let short = |at: usize| {
        let mut number = [0; 4];
        number.copy_from_slice(&bytes[at..at + 4]);
        u32::from_le_bytes(number)
    };
    let mut digest = [0; 32];
    digest.copy_from_slice(&bytes[48..]);
    let key = Key {
        filesystem: u64::from_le_bytes(long(0)),
        inode: u64::from_le_bytes(long(8)),
        size: u64::from_le_bytes(long(16)),
        changed: (i64::from_le_bytes(long(24)), short(40)),
        modified: (i64::from_le_bytes(long(32)), short(44)),
    };
    (key, Digest::new(digest))
}

#[cfg(test)]
mod tests;
