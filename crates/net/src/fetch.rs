//! Blobs, streamed to disk and resumed.
//!
//! A blob that was cut short stays in the folder of partial blobs under its digest. What is
//! there is hashed again before it is continued, so neither a power cut nor another process
//! can make it count for more than it is.

use crate::NetError;
use crate::http::Failed;
use crate::registry::Registry;
use elea_formats::digest::Sha256;
use elea_formats::oci::Descriptor;
use elea_sys::progress::Progress;
use elea_sys::{At as _, PathError};
use rustix::fs::FlockOperation;
use sha2::Digest as _;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write};
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How much of the part on disk is read at once, in bytes.
const PIECE: usize = 128 << 10;
/// An attempt that brings at least this many bytes starts the count of attempts anew.
const ENOUGH: u64 = 256 << 10;

/// The place of a blob in the folder of partial blobs, locked for all others.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
    file: File,
}

/// A complete blob.
#[derive(Debug)]
pub(crate) struct Blob {
    pub(crate) place: Place,
    /// Bytes that came over the network for it now.
    pub(crate) received: u64,
}

/// The place of a blob that is in the store. Whoever waits for it waits until this is dropped, and then looks there:
/// what the store writes down of a layer has its name only after a sync.
#[derive(Debug)]
pub(crate) struct Spent(Place);

impl Blob {
    /// The content, from its start.
    pub(crate) fn reader(&self) -> Result<&File, PathError> {
        (&self.place.file).rewind().at("read", &self.place.path)?;
        Ok(&self.place.file)
    }
}

impl Drop for Spent {
    fn drop(&mut self) {
        // An empty one that stays is gone with the next pull.
        let _ = fs::remove_file(&self.0.path);
    }
}

/// What is known of the part that is on disk.
struct Part<'p> {
    path: &'p Path,
    file: &'p File,
    hasher: sha2::Sha256,
    length: u64,
    /// Bytes that came over the network, those of failed attempts too.
    received: u64,
}

impl Place {
    /// Waits until nobody else has the blob in hands: then it may be in the store. `waits` is called again and
    /// again until then.
    pub(crate) fn lock(
        folder: &Path,
        blob: &Sha256,
        progress: &dyn Progress,
        waits: &dyn Fn() -> Result<(), NetError>,
    ) -> Result<Self, NetError> {
        let path = folder.join(blob.to_string());
        loop {
            let file = OpenOptions::new()
                .create(true)
                .read(true)
                .write(true)
                .truncate(false)
                .open(&path)
                .at("open", &path)?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // Another process may have finished and removed it in between.
                Ok(()) if is_at(&file, &path) => return Ok(Self { path, file }),
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    if progress.cancelled() {
                        return Err(NetError::Cancelled);
                    }
                    waits()?;
                    std::thread::sleep(Duration::from_millis(100));
                }
                locked => locked.at("lock", &path)?,
            }
        }
    }

    /// Gives its room back, once the blob is in the store.
    pub(crate) fn spend(self) -> Result<Spent, PathError> {
        self.file.set_len(0).at("empty", &self.path)?;
        Ok(Spent(self))
    }

    /// Fetches the blob, continuing what is there, and checks its digest.
    pub(crate) fn fetch(
        self,
        registry: &Registry,
        descriptor: &Descriptor,
        progress: &dyn Progress,
    ) -> Result<Blob, NetError> {
        let received = self.complete(registry, descriptor, progress)?;
        Ok(Blob {
            place: self,
            received,
        })
    }

    /// The same; bytes that came.
    fn complete(
        &self,
        registry: &Registry,
        descriptor: &Descriptor,
        progress: &dyn Progress,
    ) -> Result<u64, NetError> {
        let path = &self.path;
        let mut part = self.part(descriptor, progress)?;
        let mut attempt = 0;
        let mut damaged = false;
        loop {
            let before = part.length;
            let place = registry.place();
            if before < descriptor.size {
                attempt += 1;
                if let Err(failed) = proceed(registry, descriptor, &mut part, progress) {
                    if part.length.saturating_sub(before) >= ENOUGH {
                        attempt = 1;
                    }
                    registry.pause(place, attempt, failed, progress)?;
                    continue;
                }
            }
            let actual = Sha256::new(part.hasher.clone().finalize().into());
            if actual == descriptor.digest {
                return Ok(part.received);
            }
            // The part that was there before may be what is wrong: once more from the start.
            part.restart()?;
            let error = NetError::Digest {
                what: format!("blob sha256:{}", descriptor.digest),
                expected: descriptor.digest,
                actual,
            };
            if (damaged || before == 0) && !registry.leave(place, &error, progress) {
                fs::remove_file(path).at("remove", path)?;
                return Err(error);
            }
            damaged = true;
        }
    }

    /// What is there, hashed.
    fn part(&self, descriptor: &Descriptor, progress: &dyn Progress) -> Result<Part<'_>, NetError> {
        let path = &self.path;
        let mut part = Part {
            path,
            file: &self.file,
            hasher: sha2::Sha256::new(),
            length: 0,
            received: 0,
        };
        let there = part.file.metadata().at("read", path)?.len();
        if there > descriptor.size {
            part.restart()?;
            return Ok(part);
        }
        let mut piece = vec![0; PIECE];
        loop {
            if progress.cancelled() {
                return Err(NetError::Cancelled);
            }
            let count = part.file.read(&mut piece).at("read", path)?;
            if count == 0 {
                break;
            }
            part.hasher.update(&piece[..count]);
            part.length += count as u64;
        }
        progress.advance(part.length);
        Ok(part)
    }
}

/// Fetches a part of a blob, and goes on after a failure where it ended. Gives how many bytes came, and whether
/// it is all of them: not where the registry gives no parts. The content is not checked here.
pub(crate) fn part(
    registry: &Registry,
    descriptor: &Descriptor,
    range: Range<u64>,
    to: &mut impl Write,
    progress: &dyn Progress,
) -> Result<(u64, bool), NetError> {
    let what = format!("a part of blob sha256:{}", descriptor.digest);
    let mut left = range.clone();
    let mut attempt = 0;
    while !left.is_empty() {
        attempt += 1;
        let (place, before) = (registry.place(), left.start);
        match proceed_part(registry, descriptor, &mut left, &what, to, progress) {
            Ok(true) => {}
            Ok(false) => return Ok((left.start - range.start, false)),
            Err(failed) => {
                if left.start - before >= ENOUGH {
                    attempt = 1;
                }
                registry.pause(place, attempt, failed, progress)?;
            }
        }
    }
    Ok((range.end.saturating_sub(range.start), true))
}

/// One attempt to get the rest of a part; false if the registry gives none.
fn proceed_part(
    registry: &Registry,
    descriptor: &Descriptor,
    left: &mut Range<u64>,
    what: &str,
    to: &mut impl Write,
    progress: &dyn Progress,
) -> Result<bool, Failed> {
    let Some(response) = registry.part(descriptor, left, progress)? else {
        return Ok(false);
    };
    let mut stream = registry.http().stream(response, what)?;
    while let Some(piece) = stream.next(progress)? {
        let count = piece.len() as u64;
        let limit = left.end - left.start;
        if count > limit {
            return Err(Failed::from(NetError::TooLarge {
                what: what.to_owned(),
                limit,
            }));
        }
        to.write_all(&piece).at("write", what)?;
        left.start += count;
        progress.advance(count);
    }
    if !left.is_empty() {
        return Err(Failed::from(NetError::Truncated {
            what: what.to_owned(),
            got: left.start,
            size: left.end,
        }));
    }
    Ok(true)
}

/// Whether `path` still names this file.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(named)) => (ours.dev(), ours.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

impl Part<'_> {
    fn restart(&mut self) -> Result<(), PathError> {
        self.file.set_len(0).at("truncate", self.path)?;
        self.file.rewind().at("truncate", self.path)?;
        self.hasher = sha2::Sha256::new();
        self.length = 0;
        Ok(())
    }
}

/// One attempt to get the rest.
fn proceed(
    registry: &Registry,
    descriptor: &Descriptor,
    part: &mut Part<'_>,
    progress: &dyn Progress,
) -> Result<(), Failed> {
    let (response, start) = registry.blob(descriptor, part.length, progress)?;
    if start != part.length {
        part.restart()?;
    }
    let what = format!("blob sha256:{}", descriptor.digest);
    let mut stream = registry.http().stream(response, &what)?;
    // After an error, the part that came is kept.
    while let Some(piece) = stream.next(progress)? {
        let count = piece.len() as u64;
        part.received += count;
        if part.length + count > descriptor.size {
            part.restart()?;
            return Err(Failed::from(NetError::TooLarge {
                what,
                limit: descriptor.size,
            }));
        }
        part.file.write_all(&piece).at("write", part.path)?;
        part.hasher.update(&piece);
        part.length += count;
        progress.advance(count);
    }
    if part.length < descriptor.size {
        return Err(Failed::from(NetError::Truncated {
            what,
            got: part.length,
            size: descriptor.size,
        }));
    }
    Ok(())
}
