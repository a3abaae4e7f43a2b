//! Contents that are here, found by their SHA-256.
//!
//! Objects are named by fs-verity digests, and tables of layers name contents by SHA-256. No index of those is kept:
//! what another layer has at the same path is read and hashed, and for what is not found so, objects of the wanted
//! size. That costs less than fetching them, needs no upkeep, and finds what came by any road.

use super::here::Here;
use super::{broken, unpack};
use crate::import::archive::large;
use crate::import::packed::{Hashing, Watched};
use crate::import::{self, WHOLE};
use crate::layer::Layer;
use crate::store::{in_parallel, list};
use crate::{Error, Store};
use elea_formats::chunked::cut::{Cutter, MOST};
use elea_formats::chunked::table::File;
use elea_formats::digest::{Digest, Sha256};
use elea_formats::tree::Content;
use elea_sys::progress::Progress;
use rayon::prelude::*;
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// As many older files are looked at for chunks.
const OLDER: usize = 2;

/// Where a chunk is that the store has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    object: Digest,
    /// Bytes before it.
    offset: u64,
}

/// What the store has, as far as somebody asked for it.
#[derive(Debug)]
pub struct Contents {
    store: Store,
    here: Here,
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Found {
    /// Objects that were hashed.
    read: HashSet<Digest>,
    /// Objects by the SHA-256 of their content.
    objects: HashMap<Sha256, Digest>,
    /// Contents that are too small for objects.
    small: HashMap<Sha256, Vec<u8>>,
}

impl Store {
    /// Looks what there is: what layers brought, of which some are at hand, and the sizes of other objects.
    pub fn contents<'l>(
        &self,
        at_hand: impl IntoIterator<Item = &'l Layer>,
    ) -> Result<Contents, Error> {
        let mut here = Here::new(&self.room(), self.algorithm());
        let mut found = Found::default();
        let mut take = |layer: &Layer| {
            for (path, object, size) in layer.files() {
                here.add(Some(&path), &object, size);
            }
            for bytes in layer.small() {
                found.small.entry(Sha256::of(&bytes)).or_insert(bytes);
            }
        };
        let mut taken = HashSet::new();
        for layer in at_hand {
            taken.insert(layer.blob);
            take(layer);
        }
        for blob in self.layer_names()?.filter(|blob| !taken.contains(blob)) {
            let layer = self.recorded_layer(&blob).ok().flatten();
            layer.iter().for_each(&mut take);
        }
        let folders = list(&self.path().join("objects"))?;
        let others = |folder: &PathBuf| {
            let names = list(folder)?.into_iter();
            let objects = names.filter_map(|path| self.object_name(folder, &path));
            let others = objects.filter(|object| !here.has(object));
            let sizes = others.filter_map(|object| Some((object, self.object_size(&object)?)));
            Ok(sizes.collect::<Vec<_>>())
        };
        let others: Vec<_> =
            in_parallel(|| folders.par_iter().map(others).collect::<Result<_, Error>>())?;
        for (object, size) in others.into_iter().flatten() {
            here.add(None, &object, size);
        }
        Ok(Contents {
            store: self.clone(),
            here,
            found: Mutex::new(found),
        })
    }
}

impl Contents {
    /// Whether the store has no objects at all.
    pub fn is_empty(&self) -> bool {
        self.here.is_empty()
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The files whose contents are not here, each content once, in their order. What may be one of them is
    /// read and hashed, on every core, until the person who waits has enough.
    pub fn missing<'f>(
        &self,
        files: &'f [File],
        progress: &dyn Progress,
    ) -> Result<Vec<&'f File>, Error> {
        let mut found = self.found();
        let mut missing = found.missing(files.iter());
        let same_path = |file: &File| self.here.at_path(file.name.as_bytes(), Some(file.size));
        let at_paths = missing.iter().copied().flat_map(same_path);
        found.read(&self.store, at_paths, progress)?;
        missing = found.missing(missing);
        let sizes: HashSet<u64> = missing.iter().map(|file| file.size).collect();
        let same_size = |size: &u64| self.here.of_size(*size);
        found.read(&self.store, sizes.iter().flat_map(same_size), progress)?;
        Ok(found.missing(missing))
    }

    /// Of each chunk of a file that is missing: where an older file at its path has it.
    ///
    /// That one is cut as tables' files are that Elea wrote; with others nothing is found.
    pub fn chunks(&self, file: &File, progress: &dyn Progress) -> Result<Vec<Option<Held>>, Error> {
        let wanted: HashSet<Sha256> = file.chunks.iter().map(|chunk| chunk.digest).collect();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let mut held = HashMap::new();
        let older = self.here.at_path(file.name.as_bytes(), None);
        for object in older.take(OLDER) {
            // One that a check found damaged is not there; an older one may be.
            if self.store.suspects(&object) {
                continue;
            }
            let Ok(content) = self.store.open_object(&object) else {
                continue;
            };
            let content = Watched {
                from: content,
                progress,
            };
            cut(content, |offset, chunk| {
                let digest = Sha256::of(chunk);
                if wanted.contains(&digest) {
                    held.entry(digest).or_insert(Held { object, offset });
                }
            });
        }
        listen(progress)?;
        let chunks = file.chunks.iter();
        Ok(chunks
            .map(|chunk| held.get(&chunk.digest).copied())
            .collect())
    }

    /// Takes in the content of a file, as it is packed in the layer. It must have the size and the SHA-256 that
    /// the table says; large ones need room on the disk.
    pub fn add(&self, file: &File, packed: impl Read) -> Result<(), Error> {
        self.take_in(file, unpack(packed, file.size.saturating_add(1))?)
    }

    /// The same of a file whose chunks are here, or else packed as `packed` gives them, in their order.
    pub fn add_chunks<R: Read>(
        &self,
        file: &File,
        held: &[Option<Held>],
        packed: impl Fn(usize) -> io::Result<R>,
    ) -> Result<(), Error> {
        let mut number = 0;
        let chunks = std::iter::from_fn(|| {
            let (chunk, held) = (file.chunks.get(number)?, held.get(number)?);
            let open = || -> io::Result<Box<dyn Read + '_>> {
                let Some(held) = held else {
                    let content = unpack(packed(number)?, chunk.size);
                    return Ok(Box::new(content.map_err(io::Error::other)?));
                };
                let object = self.store.open_object(&held.object);
                let mut object = object.map_err(io::Error::other)?;
                object.seek(SeekFrom::Start(held.offset))?;
                Ok(Box::new(object.take(chunk.size)))
            };
            let opened = open();
            number += 1;
            Some(opened)
        });
        self.take_in(
            file,
            Chain {
                now: None,
                rest: chunks,
            },
        )
    }

    fn take_in(&self, file: &File, content: impl Read) -> Result<(), Error> {
        let wrong = || {
            let name: String = file.name.chars().take(200).collect();
            broken(format!(
                "the content of `{name}` is not what its table says"
            ))
        };
        let mut content = Hashing::new(content);
        let writer = self.store.writer()?;
        let added = if file.size > WHOLE {
            let stream = match large(&writer, file.size, &mut content) {
                Err(Error::Archive { .. }) => return Err(wrong()),
                stream => stream?,
            };
            // Nothing has its name yet.
            if content.finish().0 != file.digest {
                return Err(wrong());
            }
            let (digest, size) = stream.finish()?;
            Content::Object { digest, size }
        } else {
            let mut bytes = Vec::with_capacity(usize::try_from(file.size).unwrap_or(0));
            let read = content.read_to_end(&mut bytes);
            let same = content.finish().0 == file.digest;
            if read.is_err() || !same || bytes.len() as u64 != file.size {
                return Err(wrong());
            }
            import::content(&writer, &bytes)?
        };
        let mut found = self.found();
        match added {
            Content::Object { digest, .. } => {
                found.objects.insert(file.digest, digest);
            }
            Content::Inline(bytes) => {
                found.small.insert(file.digest, bytes);
            }
            _ => {}
        }
        Ok(())
    }

    /// A content that is here.
    pub(super) fn open(&self, digest: &Sha256, size: u64) -> Option<Box<dyn Read>> {
        let found = self.found();
        if let Some(bytes) = found.small.get(digest) {
            return Some(Box::new(io::Cursor::new(bytes.clone())));
        }
        let object = found.objects.get(digest)?;
        let file = self.store.open_object(object).ok()?;
        Some(Box::new(file.take(size)))
    }
}

impl Found {
    /// The files whose contents were not found, each content once.
    fn missing<'f>(&self, files: impl IntoIterator<Item = &'f File>) -> Vec<&'f File> {
        let mut seen = HashSet::new();
        let missing = files.into_iter().filter(|file| {
            let here =
                self.objects.contains_key(&file.digest) || self.small.contains_key(&file.digest);
            !here && seen.insert(file.digest)
        });
        missing.collect()
    }

    /// Reads and hashes objects that were not read yet. One that a check found damaged is not there.
    fn read(
        &mut self,
        store: &Store,
        objects: impl Iterator<Item = Digest>,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let may_be = |object: &Digest| self.read.insert(*object) && !store.suspects(object);
        let objects: Vec<Digest> = objects.filter(may_be).collect();
        let hash = |object: &Digest| {
            let from = store.open_object(object).ok()?;
            let mut content = Hashing::new(Watched { from, progress });
            io::copy(&mut content, &mut io::sink()).ok()?;
            Some((content.finish().0, *object))
        };
        let hashed: Vec<_> = in_parallel(|| Ok(objects.par_iter().filter_map(hash).collect()))?;
        self.objects.extend(hashed);
        listen(progress)
    }
}

/// Ends what the person who waits has enough of.
fn listen(progress: &dyn Progress) -> Result<(), Error> {
    if progress.cancelled() {
        return Err(Error::Cancelled);
    }
    Ok(())
}

/// Cuts a content into chunks, each with the bytes before it, as far as it can be read.
fn cut(mut content: impl Read, mut take: impl FnMut(u64, &[u8])) {
    let mut offset = 0;
    let mut chunk = |bytes: &[u8]| {
        take(offset, bytes);
        offset += bytes.len() as u64;
        Ok::<(), Infallible>(())
    };
    let mut cutter = Cutter::default();
    let mut piece = vec![0; MOST];
    while let Ok(length @ 1..) = content.read(&mut piece) {
        let Ok(()) = cutter.push(&piece[..length], &mut chunk);
    }
    let Ok(()) = cutter.finish(chunk);
}

/// Readers one after the other.
struct Chain<'r, I> {
    now: Option<Box<dyn Read + 'r>>,
    rest: I,
}

impl<'r, I: Iterator<Item = io::Result<Box<dyn Read + 'r>>>> Read for Chain<'r, I> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(now) = &mut self.now {
                match now.read(into)? {
                    0 if !into.is_empty() => self.now = None,
                    length => return Ok(length),
                }
            }
            match self.rest.next() {
                Some(next) => self.now = Some(next?),
                None => return Ok(0),
            }
        }
    }
}
