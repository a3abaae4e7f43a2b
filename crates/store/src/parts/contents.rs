//! Contents that are here, found by their SHA-256.
//!
//! Objects are named by fs-verity digests, and tables of layers name contents by SHA-256. No index is kept:
//! objects of a wanted size are read and hashed. That costs less than fetching them, needs no upkeep, and finds
//! what came by any road.

use super::{broken, unpack};
use crate::import::archive::large;
use crate::import::packed::Hashing;
use crate::import::{self, WHOLE};
use crate::store::{in_parallel, list};
use crate::{Error, Store};
use elea_formats::chunked::table::File;
use elea_formats::digest::{Digest, Sha256};
use elea_formats::tree::Content;
use rayon::prelude::*;
use std::collections::{HashMap, HashSet};
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the store has, as far as somebody asked for it.
#[derive(Debug)]
pub struct Contents {
    store: Store,
    empty: bool,
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Found {
    /// Objects that nobody has hashed yet, by their size.
    unread: HashMap<u64, Vec<Digest>>,
    /// Objects by the SHA-256 of their content.
    objects: HashMap<Sha256, Digest>,
    /// Contents that are too small for objects.
    small: HashMap<Sha256, Vec<u8>>,
}

impl Store {
    /// Looks what there is: the sizes of objects, and the small contents that layers brought. An object that
    /// a check found damaged is not there.
    pub fn contents(&self) -> Result<Contents, Error> {
        let mut found = Found::default();
        let sizes = |folder: &PathBuf| {
            let paths = list(folder)?.into_iter();
            let sizes = paths.filter_map(|path| {
                let object = self.object_name(folder, &path)?;
                Some((self.object_size(&object)?, object))
            });
            Ok(sizes.collect())
        };
        let folders = list(&self.path().join("objects"))?;
        let sizes: Vec<Vec<_>> =
            in_parallel(|| folders.par_iter().map(sizes).collect::<Result<_, Error>>())?;
        for (size, object) in sizes.into_iter().flatten() {
            if !self.suspects(&object) {
                found.unread.entry(size).or_default().push(object);
            }
        }
        for layer in self.known_layers()? {
            for bytes in layer.small() {
                found.small.entry(Sha256::of(&bytes)).or_insert(bytes);
            }
        }
        Ok(Contents {
            store: self.clone(),
            empty: found.unread.is_empty(),
            found: Mutex::new(found),
        })
    }
}

impl Contents {
    /// Whether the store has no objects at all.
    pub fn is_empty(&self) -> bool {
        self.empty
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The files whose contents are not here, each content once, in their order. Objects of their sizes are
    /// read and hashed, on every core.
    pub fn missing<'f>(&self, files: &'f [File]) -> Result<Vec<&'f File>, Error> {
        let mut found = self.found();
        let sizes: HashSet<u64> = files.iter().map(|file| file.size).collect();
        let candidates: Vec<Digest> = sizes
            .iter()
            .filter_map(|size| found.unread.remove(size))
            .flatten()
            .collect();
        let hash = |object: &Digest| {
            let mut content = Hashing::new(self.store.open_object(object).ok()?);
            io::copy(&mut content, &mut io::sink()).ok()?;
            Some((content.finish().0, *object))
        };
        let hashed: Vec<_> = in_parallel(|| Ok(candidates.par_iter().filter_map(hash).collect()))?;
        found.objects.extend(hashed);
        let mut seen = HashSet::new();
        let missing = files.iter().filter(|file| {
            let here =
                found.objects.contains_key(&file.digest) || found.small.contains_key(&file.digest);
            !here && seen.insert(file.digest)
        });
        Ok(missing.collect())
    }

    /// Takes in the content of a file, as it is packed in the layer. It must have the size and the SHA-256 that
    /// the table says; large ones need room on the disk.
    pub fn add(&self, file: &File, packed: impl Read) -> Result<(), Error> {
        let wrong = || {
            let name: String = file.name.chars().take(200).collect();
            broken(format!(
                "the content of `{name}` is not what its table says"
            ))
        };
        let mut content = Hashing::new(unpack(packed, file.size.saturating_add(1))?);
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
