//! Layers into the store: what it knows is left alone, the rest comes several at a time.

use crate::chunked;
use crate::fetch::{Place, Spent};
use crate::partial;
use crate::source::Source;
use crate::{NetError, Options};
use elea_formats::digest::{Digest, Sha256};
use elea_formats::oci::Descriptor;
use elea_store::Store;
use elea_store::layer::Layer;
use elea_store::parts::Contents;
use elea_sys::At as _;
use elea_sys::progress::{Progress, Unit};
use sha2::Digest as _;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a layer's bytes become on disk, as a multiple: Debian's packages unpack to about three times
/// their gzip size.
const UNPACKED: u64 = 3;

/// As many blobs that were used are kept open at once.
const MAX_HELD: usize = 64;

/// A layer, and the SHA-256 of the tar file that must come out of it.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) layer: Descriptor,
    pub(crate) diff_id: Sha256,
    /// What the store has written down of it; whether its objects are there was not looked at.
    pub(crate) recorded: Option<Layer>,
}

impl Wanted {
    /// What the store has written down of it, perhaps since it was asked.
    fn recorded_by_now(&self, store: &Store) -> Result<Option<Layer>, NetError> {
        if self.recorded.is_some() {
            return Ok(self.recorded.clone());
        }
        let recorded = store.recorded_layer(&self.layer.digest)?;
        Ok(recorded.filter(|layer| layer.diff_id == self.diff_id))
    }
}

/// What [`bring`] did.
#[derive(Debug)]
pub(crate) struct Brought {
    /// In the order in which they were wanted.
    pub(crate) layers: Vec<Layer>,
    /// Bytes that came over the network.
    pub(crate) received: u64,
    /// How many layers came.
    pub(crate) fetched: usize,
    /// How many the store knew.
    pub(crate) reused: usize,
    /// To be kept until the store was synced: another pull may wait for one of them.
    pub(crate) held: Vec<Spent>,
}

/// Whether the store has an image and everything that it names.
pub(crate) fn is_whole(store: &Store, image: &Digest) -> bool {
    store.image(image).is_ok()
        && store
            .objects_of(image)
            .is_ok_and(|objects| objects.keys().all(|object| store.has_object(object)))
}

/// Brings all layers into the store, `options.parallel` at a time.
pub(crate) fn bring(
    source: &Source,
    what: &str,
    wanted: &[Wanted],
    store: &Store,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Brought, NetError> {
    let mut have: BTreeMap<Sha256, Layer> = BTreeMap::new();
    let mut queue: VecDeque<&Wanted> = VecDeque::new();
    let recorded = wanted.iter().map(|one| one.recorded_by_now(store));
    let recorded = recorded.collect::<Result<_, NetError>>()?;
    for (one, known) in wanted.iter().zip(store.whole_layers(recorded)?) {
        let digest = one.layer.digest;
        if have.contains_key(&digest) || queue.iter().any(|q| q.layer.digest == digest) {
            continue;
        }
        match known {
            Some(layer) => {
                have.insert(digest, layer);
            }
            None => queue.push_back(one),
        }
    }
    let reused = have.len();
    let fetched = queue.len();
    let size = queue
        .iter()
        .fold(0_u64, |sum, one| sum.saturating_add(one.layer.size));
    check_space(store.path(), size.saturating_mul(UNPACKED))?;
    let folder = partial::folder(store)?;
    let in_parts = |one: &&Wanted| chunked::has_table(&one.layer);
    let contents = match source {
        Source::Registry(_) if queue.iter().any(in_parts) => Some(store.contents(have.values())?),
        _ => None,
    };
    let work = Work {
        source,
        what,
        store,
        folder: &folder,
        contents,
        listener: Listener {
            inner: progress,
            stop: AtomicBool::new(false),
        },
        queue: Mutex::new(queue),
        done: Mutex::new(Done {
            layers: have,
            received: 0,
            error: None,
        }),
        held: Mutex::default(),
    };
    if fetched > 0 {
        progress.start("fetching", Some(size), Unit::Bytes);
        let workers = options.parallel.clamp(1, 16).min(fetched);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| work.run());
            }
        });
        progress.finish();
    }
    let done = into_inner(work.done);
    let held = into_inner(work.held);
    if let Some(error) = done.error {
        if !held.is_empty() {
            // Another pull may wait for one of them; what is wrong is said already.
            let _ = store.sync();
        }
        return Err(error.in_store(store.path()));
    }
    let layers: Option<Vec<_>> = wanted
        .iter()
        .map(|one| done.layers.get(&one.layer.digest).cloned())
        .collect();
    Ok(Brought {
        // A layer without an error is there, unless a worker was stopped.
        layers: layers.ok_or(NetError::Cancelled)?,
        received: done.received,
        fetched,
        reused,
        held,
    })
}

/// Refuses what the file system has no room for, before anything is fetched.
fn check_space(path: &Path, needed: u64) -> Result<(), NetError> {
    let stat = rustix::fs::statvfs(path).at("ask for the free space of", path)?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free < needed {
        return Err(NetError::Space {
            path: path.to_owned(),
            needed,
            free,
        });
    }
    Ok(())
}

/// What the workers share.
struct Work<'a> {
    source: &'a Source,
    what: &'a str,
    store: &'a Store,
    folder: &'a Path,
    /// What the store has, if layers come in parts.
    contents: Option<Contents>,
    listener: Listener<'a>,
    queue: Mutex<VecDeque<&'a Wanted>>,
    done: Mutex<Done>,
    held: Mutex<Vec<Spent>>,
}

struct Done {
    layers: BTreeMap<Sha256, Layer>,
    received: u64,
    /// The first one; those that follow from stopping are not kept.
    error: Option<NetError>,
}

impl Work<'_> {
    fn run(&self) {
        loop {
            let next = lock(&self.queue).pop_front();
            let Some(wanted) = next else { return };
            if self.listener.stop.load(Ordering::SeqCst) {
                return;
            }
            match self.bring_one(wanted) {
                Ok((layer, received)) => {
                    let mut done = lock(&self.done);
                    done.layers.insert(wanted.layer.digest, layer);
                    done.received += received;
                }
                Err(error) => {
                    // In this order: a worker that is stopped by this error must find it there.
                    lock(&self.done).error.get_or_insert(error);
                    self.listener.stop.store(true, Ordering::SeqCst);
                    return;
                }
            }
        }
    }

    /// Fetches a layer, checks it, and gives it to the store.
    fn bring_one(&self, wanted: &Wanted) -> Result<(Layer, u64), NetError> {
        let descriptor = &wanted.layer;
        let (layer, received) = match self.source {
            Source::Registry(registry) => {
                let mut received = 0;
                if let Some(contents) = &self.contents {
                    let mut parts = chunked::Parts {
                        registry,
                        store: self.store,
                        contents,
                        folder: self.folder,
                        listener: &self.listener,
                        received: 0,
                    };
                    let layer = parts.bring(wanted)?;
                    received = parts.received;
                    if let Some(layer) = layer {
                        return Ok((layer, received));
                    }
                }
                let waits = || self.release();
                let place = Place::lock(self.folder, &descriptor.digest, &self.listener, &waits)?;
                // Another pull may have brought it meanwhile.
                if let Some(recorded) = wanted.recorded_by_now(self.store)? {
                    let whole = self.store.whole_layers(vec![Some(recorded)])?;
                    if let Some(layer) = whole.into_iter().flatten().next() {
                        drop(place.spend()?);
                        return Ok((layer, received));
                    }
                }
                let blob = place.fetch(registry, descriptor, &self.listener)?;
                // Several are unpacked at once under one bar, which counts what comes.
                let layer = self.import(descriptor, blob.reader()?, &Quiet(&self.listener))?;
                received += blob.received;
                self.hold(blob.place.spend()?)?;
                (layer, received)
            }
            Source::Layout(layout) => {
                self.check(descriptor, layout.blob(&descriptor.digest, 0)?)?;
                let content = layout.blob(&descriptor.digest, 0)?;
                (self.import(descriptor, content, &Quiet(&self.listener))?, 0)
            }
            Source::Archive(archive) => {
                self.check(descriptor, archive.blob(&descriptor.digest, 0)?)?;
                let content = archive.blob(&descriptor.digest, 0)?;
                (self.import(descriptor, content, &Quiet(&self.listener))?, 0)
            }
        };
        if layer.diff_id != wanted.diff_id {
            return Err(NetError::DiffId {
                what: self.what.to_owned(),
                blob: descriptor.digest,
                expected: wanted.diff_id,
                actual: layer.diff_id,
            });
        }
        Ok((layer, received))
    }

    /// Keeps a blob that was used.
    fn hold(&self, spent: Spent) -> Result<(), NetError> {
        let count = {
            let mut held = lock(&self.held);
            held.push(spent);
            held.len()
        };
        if count < MAX_HELD {
            return Ok(());
        }
        self.release()
    }

    /// Lets go of blobs that were used, once what they became is in the store for others too. Whoever waits for
    /// another pull has to: that may wait for this one.
    fn release(&self) -> Result<(), NetError> {
        let held = std::mem::take(&mut *lock(&self.held));
        if !held.is_empty() {
            self.store.sync()?;
        }
        Ok(())
    }

    /// Compares the digest of a local blob. The store does so too, but damaged bytes may fail to unpack
    /// first, and what is wrong then is the digest.
    fn check(&self, descriptor: &Descriptor, mut content: impl Read) -> Result<(), NetError> {
        let mut hasher = sha2::Sha256::new();
        let mut piece = vec![0; 128 << 10];
        loop {
            if self.listener.cancelled() {
                return Err(NetError::Cancelled);
            }
            let count = match content.read(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.at("read a layer of", self.what)?,
            };
            if count == 0 {
                break;
            }
            hasher.update(&piece[..count]);
            self.listener.advance(count as u64);
        }
        let actual = Sha256::new(hasher.finalize().into());
        if actual == descriptor.digest {
            return Ok(());
        }
        Err(NetError::Digest {
            what: format!("layer sha256:{} of {}", descriptor.digest, self.what),
            expected: descriptor.digest,
            actual,
        })
    }

    /// Unpacks a layer into the store, which compares its digest.
    fn import(
        &self,
        descriptor: &Descriptor,
        content: impl Read,
        progress: &dyn Progress,
    ) -> Result<Layer, NetError> {
        Ok(self.store.import_layer(
            &descriptor.digest,
            &descriptor.media_type,
            content,
            progress,
        )?)
    }
}

fn into_inner<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The caller's listener, and a stop for all workers once one has failed.
pub(crate) struct Listener<'a> {
    inner: &'a dyn Progress,
    stop: AtomicBool,
}

impl Progress for Listener<'_> {
    fn start(&self, _: &str, _: Option<u64>, _: Unit) {}
    fn advance(&self, amount: u64) {
        self.inner.advance(amount);
    }
    fn finish(&self) {}
    fn note(&self, text: &str) {
        self.inner.note(text);
    }
    fn cancelled(&self) -> bool {
        self.stop.load(Ordering::SeqCst) || self.inner.cancelled()
    }
}

/// Counts nothing.
pub(crate) struct Quiet<'a>(pub(crate) &'a Listener<'a>);

impl Progress for Quiet<'_> {
    fn start(&self, _: &str, _: Option<u64>, _: Unit) {}
    fn advance(&self, _: u64) {}
    fn finish(&self) {}
    fn note(&self, text: &str) {
        self.0.note(text);
    }
    fn cancelled(&self) -> bool {
        self.0.cancelled()
    }
}
