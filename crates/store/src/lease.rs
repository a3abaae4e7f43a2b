//! Leases: what a running operation uses and nothing names yet.
//!
//! A lease is a file in `leases/` that its process keeps locked; it lists what was added, or
//! found present, while it lived. A process that dies loses its lock, and the lease is void.

use crate::store::list;
use crate::{Error, Store};
use elea_formats::digest::Digest;
use elea_sys::At as _;
use rustix::fs::FlockOperation;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// While it lives, nothing that is added through its store (or a clone of it) after it was taken is
/// collected, whether or not it was there before.
#[derive(Debug)]
pub struct Lease {
    store: Store,
    file: Arc<File>,
    path: PathBuf,
}

static COUNTER: AtomicU64 = AtomicU64::new(0);

impl Store {
    /// Keeps what is added from now on until dropped; `who` is for `elea store leases`.
    pub fn lease(&self, who: &str) -> Result<Lease, Error> {
        let writer = self.writer()?;
        let process = std::process::id();
        let (file, path) = loop {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path = self.path().join(format!("leases/{process}-{number}"));
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
        // No collection runs between the two, since the writer lives.
        rustix::fs::flock(&file, FlockOperation::LockExclusive).at("lock", &path)?;
        let who: String = who.chars().filter(|c| !c.is_control()).collect();
        (&file)
            .write_all(format!("{who}, process {process}\n").as_bytes())
            .at("write", &path)?;
        let file = Arc::new(file);
        if let Ok(mut leases) = self.leases.lock() {
            leases.push(Arc::clone(&file));
        }
        writer.finish()?;
        Ok(Lease {
            store: self.clone(),
            file,
            path,
        })
    }

    /// Who holds leases, as they called themselves.
    pub fn leases(&self) -> Result<Vec<String>, Error> {
        Ok(live(self)?.into_iter().map(|held| held.who).collect())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Ok(mut leases) = self.store.leases.lock() {
            leases.retain(|file| !Arc::ptr_eq(file, &self.file));
        }
        let _ = fs::remove_file(&self.path);
    }
}

/// Writes down that things are used, in every lease that lives in this process.
pub(crate) fn record(store: &Store, kind: &str, used: &[Digest]) -> Result<(), Error> {
    let leases = match store.leases.lock() {
        Ok(leases) => leases.clone(),
        Err(_) => Vec::new(),
    };
    if leases.is_empty() || used.is_empty() {
        return Ok(());
    }
    let mut text = String::with_capacity(used.len() * 72);
    for digest in used {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{kind} {digest}");
    }
    let folder = store.path().join("leases");
    for file in leases {
        (&*file)
            .write_all(text.as_bytes())
            .at("write a lease in", &folder)?;
    }
    Ok(())
}

/// A lease of a living process.
#[derive(Debug)]
pub(crate) struct Held {
    /// What its process calls itself.
    pub(crate) who: String,
    /// What must stay.
    pub(crate) objects: Vec<Digest>,
    /// The images that must stay with all that they name.
    pub(crate) images: Vec<Digest>,
    /// The layers that must stay with all that they name.
    pub(crate) layers: Vec<Digest>,
}

/// The leases of living processes. Those of dead ones are told by [`void`].
pub(crate) fn live(store: &Store) -> Result<Vec<Held>, Error> {
    let mut all = Vec::new();
    for path in list(&store.path().join("leases"))? {
        let Ok(mut file) = File::open(&path) else {
            continue;
        };
        if is_void(&file) {
            continue;
        }
        let mut text = String::new();
        file.read_to_string(&mut text).at("read", &path)?;
        let mut lines = text.lines();
        let mut held = Held {
            who: lines.next().unwrap_or_default().to_owned(),
            objects: Vec::new(),
            images: Vec::new(),
            layers: Vec::new(),
        };
        for line in lines {
            match line.split_once(' ') {
                Some(("object", hex)) => held.objects.extend(hex.parse::<Digest>().ok()),
                Some(("layer", hex)) => held.layers.extend(hex.parse::<Digest>().ok()),
                Some(("image", hex)) => held.images.extend(hex.parse::<Digest>().ok()),
                _ => {}
            }
        }
        all.push(held);
    }
    Ok(all)
}

/// The files of leases whose processes are gone.
pub(crate) fn void(store: &Store) -> Result<Vec<PathBuf>, Error> {
    let paths = list(&store.path().join("leases"))?;
    Ok(paths
        .into_iter()
        .filter(|path| File::open(path).is_ok_and(|file| is_void(&file)))
        .collect())
}

/// A lock on a lease file that can be had means that its process is gone.
fn is_void(file: &File) -> bool {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockShared).is_ok()
}
