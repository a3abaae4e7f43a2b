//! Leases: what a running operation uses and nothing names yet.
//!
//! A lease is a file in `leases/` that its process keeps locked. What an operation uses is written to it *before*
//! the operation looks whether it is there, and under the store's shared lock; a collection takes away under the
//! exclusive one, after it has read what leases say by then. So either the operation finds that something is
//! gone, or the collection finds that it is used, and nobody waits for longer than such a step takes. A process that
//! dies loses its lock, and the lease is void.

use crate::store::list;
use crate::{Error, Store};
use elea_formats::digest::{Digest, Sha256};
use elea_sys::{At as _, PathError};
use rustix::fs::FlockOperation;
use std::collections::{BTreeSet, HashMap};
use std::fmt::{Display, Write as _};
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// While it lives, nothing that is added through its store (or a clone of it) after it was taken is
/// collected, whether or not it was there before.
#[derive(Debug)]
pub struct Lease {
    store: Store,
    own: Own,
}

static COUNTER: AtomicU64 = AtomicU64::new(0);

impl Store {
    /// Keeps what is added from now on until dropped; `who` is for `elea store leases`.
    pub fn lease(&self, who: &str) -> Result<Lease, Error> {
        self.make_folders()?;
        let own = Own::new(self, who)?;
        if let Ok(mut leases) = self.leases.lock() {
            leases.push(Arc::clone(&own.file));
        }
        Ok(Lease {
            store: self.clone(),
            own,
        })
    }

    /// Who holds leases, as they called themselves.
    pub fn leases(&self) -> Result<Vec<String>, Error> {
        let held = Reader::default().news(self)?;
        Ok(held.into_iter().map(|held| held.who).collect())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Ok(mut leases) = self.store.leases.lock() {
            leases.retain(|file| !Arc::ptr_eq(file, &self.own.file));
        }
    }
}

/// The file of a lease, locked; gone when dropped.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) file: Arc<File>,
    path: PathBuf,
}

impl Own {
    pub(crate) fn new(store: &Store, who: &str) -> Result<Self, Error> {
        // No collection takes it for a dead one's before it is locked.
        let _lock = store.lock(FlockOperation::LockShared)?;
        let process = std::process::id();
        let (file, path) = loop {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path = store.path().join(format!("leases/{process}-{number}"));
            let opened = OpenOptions::new()
                .create_new(true)
                .read(true)
                .append(true)
                .open(&path);
            match opened {
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                opened => break (opened.at("create", &path)?, path),
            }
        };
        let own = Self {
            file: Arc::new(file),
            path,
        };
        let path = &own.path;
        rustix::fs::flock(&own.file, FlockOperation::LockExclusive).at("lock", path)?;
        let who: String = who.chars().filter(|c| !c.is_control()).collect();
        (&*own.file)
            .write_all(format!("{who}, process {process}\n").as_bytes())
            .at("write", path)?;
        Ok(own)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Writes down that things are used, in leases of this process. The caller holds the store's lock.
pub(crate) fn record(
    store: &Store,
    leases: &[Arc<File>],
    kind: &str,
    used: &[impl Display],
) -> Result<(), PathError> {
    if leases.is_empty() || used.is_empty() {
        return Ok(());
    }
    let mut text = String::with_capacity(used.len() * 136);
    for digest in used {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{kind} {digest}");
    }
    let folder = store.path().join("leases");
    for file in leases {
        (&**file)
            .write_all(text.as_bytes())
            .at("write a lease in", &folder)?;
    }
    Ok(())
}

/// What a lease of a living process says.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// What its process calls itself; empty if that was read before.
    pub(crate) who: String,
    /// What must stay.
    pub(crate) objects: Vec<Digest>,
    /// The images that must stay with all that they name.
    pub(crate) images: Vec<Digest>,
    /// The layers that must stay with all that they name.
    pub(crate) layers: Vec<Sha256>,
}

/// Reads leases, each time what is new in them.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// How far each was read, in bytes. An open file keeps its inode from being another lease.
    known: HashMap<PathBuf, (File, u64)>,
}

impl Reader {
    /// What the leases of living processes say that was not read before. Those of dead ones are told by [`void`].
    pub(crate) fn news(&mut self, store: &Store) -> Result<Vec<Held>, Error> {
        let mut all = Vec::new();
        for path in list(&store.path().join("leases"))? {
            let Ok(mut file) = File::open(&path) else {
                continue;
            };
            if is_void(&file) {
                continue;
            }
            let inode = |file: &File| file.metadata().map(|status| status.ino());
            let from = match self.known.get(&path) {
                Some((known, read)) if inode(known).ok() == inode(&file).ok() => *read,
                _ => 0,
            };
            let mut text = String::new();
            file.seek(SeekFrom::Start(from)).at("read", &path)?;
            file.read_to_string(&mut text).at("read", &path)?;
            // A line that is being written is read the next time.
            text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
            all.push(parse(&text, from == 0));
            self.known.insert(path, (file, from + text.len() as u64));
        }
        Ok(all)
    }
}

fn parse(text: &str, from_start: bool) -> Held {
    let mut lines = text.lines();
    let mut held = Held::default();
    if from_start {
        lines.next().unwrap_or_default().clone_into(&mut held.who);
    }
    for line in lines {
        match line.split_once(' ') {
            Some(("object", hex)) => held.objects.extend(hex.parse::<Digest>().ok()),
            Some(("layer", hex)) => held.layers.extend(hex.parse::<Sha256>().ok()),
            Some(("image", hex)) => held.images.extend(hex.parse::<Digest>().ok()),
            _ => {}
        }
    }
    held
}

/// The files of leases whose processes are gone.
pub(crate) fn void(store: &Store) -> Result<Vec<PathBuf>, Error> {
    let paths = list(&store.path().join("leases"))?;
    Ok(paths
        .into_iter()
        .filter(|path| File::open(path).is_ok_and(|file| is_void(&file)))
        .collect())
}

/// The processes that have a lease file, by what they call themselves in names of files.
pub(crate) fn processes(store: &Store) -> Result<BTreeSet<u32>, Error> {
    let paths = list(&store.path().join("leases"))?;
    Ok(paths.iter().filter_map(|path| process(path)).collect())
}

/// The process whose number a file's name begins with.
pub(crate) fn process(path: &Path) -> Option<u32> {
    let (process, _) = path.file_name()?.to_str()?.split_once('-')?;
    process.parse().ok()
}

/// A lock on a lease file that can be had means that its process is gone.
fn is_void(file: &File) -> bool {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockShared).is_ok()
}
