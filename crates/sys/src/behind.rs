//! What is written goes to the disk while more is being made.

use crate::durable::sync_filesystem;
use crate::{At as _, PathError};
use rustix::io::Errno;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use tempfile::NamedTempFile;

/// So many bytes are worth a sync of their own: enough that it costs little, little enough that the disk is
/// never long without work.
const STEP: u64 = 16 << 20;

/// Writes behind: a file system is synced by a thread of its own whenever much was written to it, so that the sync
/// that counts has little left to do.
///
/// The kernel tells an error of writing back once. One that a sync behind is told is kept, and is what every
/// later [`Behind::sync`] gives. When the last owner lets go of it, what still waits for a name gets it.
#[derive(Debug)]
pub struct Behind {
    path: PathBuf,
    /// Bytes since the last sync behind began.
    written: AtomicU64,
    running: Mutex<Option<JoinHandle<Result<(), PathError>>>>,
    waiting: Mutex<Vec<Unnamed>>,
    /// Names that files wait for.
    names: Arc<Mutex<HashSet<PathBuf>>>,
    /// The number of the error that a sync behind was told, or zero.
    failed: AtomicI32,
}

/// A file that gets its name once all that was written before it is durable.
#[derive(Debug)]
struct Unnamed {
    file: NamedTempFile,
    at: PathBuf,
}

impl Behind {
    /// For the file system that holds a path.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            written: AtomicU64::new(0),
            running: Mutex::new(None),
            waiting: Mutex::default(),
            names: Arc::default(),
            failed: AtomicI32::new(0),
        }
    }

    /// Says that so many bytes were written. Never waits.
    pub fn wrote(&self, bytes: u64) {
        if self.written.fetch_add(bytes, Ordering::Relaxed) + bytes < STEP {
            return;
        }
        let Ok(mut running) = self.running.try_lock() else {
            return;
        };
        if running.as_ref().is_some_and(|sync| !sync.is_finished()) {
            return;
        }
        self.take(running.take());
        self.written.store(0, Ordering::Relaxed);
        let (path, waiting, names) = (self.path.clone(), self.waiting(), self.names.clone());
        let sync = move || settle(&path, waiting, &names);
        // Without a thread all is left for the sync that counts.
        *running = std::thread::Builder::new()
            .name("sync".into())
            .spawn(sync)
            .ok();
    }

    /// Gives a file this name once all that was written before is durable: at the next sync, behind or not. It has to
    /// be one that can be made again: where the name cannot be given, it is gone.
    pub fn name_after(&self, file: NamedTempFile, at: PathBuf) {
        lock(&self.names).insert(at.clone());
        lock(&self.waiting).push(Unnamed { file, at });
    }

    /// Whether a file waits for this name.
    pub fn will_name(&self, at: &Path) -> bool {
        lock(&self.names).contains(at)
    }

    fn waiting(&self) -> Vec<Unnamed> {
        std::mem::take(&mut *lock(&self.waiting))
    }

    /// Makes all that was written before durable, and gives names to what waits for them.
    pub fn sync(&self) -> Result<(), PathError> {
        let running = lock(&self.running).take();
        self.take(running);
        self.written.store(0, Ordering::Relaxed);
        settle(&self.path, self.waiting(), &self.names)?;
        match self.failed.load(Ordering::Relaxed) {
            0 => Ok(()),
            number => {
                Err(io::Error::from_raw_os_error(number)).at("sync the file system of", &self.path)
            }
        }
    }

    /// Waits for a sync behind, and remembers how it ended.
    fn take(&self, sync: Option<JoinHandle<Result<(), PathError>>>) {
        let Some(ended) = sync.map(JoinHandle::join) else {
            return;
        };
        let number = match ended {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.source.raw_os_error(),
            Err(_) => None,
        };
        let number = number.unwrap_or(Errno::IO.raw_os_error());
        self.failed.store(number, Ordering::Relaxed);
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        if !lock(&self.names).is_empty() {
            // They are worth keeping, but nobody is left to be told.
            let _ = self.sync();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A sync, and the names after it.
fn settle(
    path: &Path,
    waiting: Vec<Unnamed>,
    names: &Mutex<HashSet<PathBuf>>,
) -> Result<(), PathError> {
    let ended = sync_filesystem(path);
    for Unnamed { file, at } in waiting {
        if ended.is_ok() {
            // What waits can be made again: without its name it is gone, and nothing else is lost.
            let _ = file.persist(&at);
        }
        lock(names).remove(&at);
    }
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unnamed(folder: &Path, content: &str) -> NamedTempFile {
        let file = NamedTempFile::new_in(folder).unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    #[test]
    fn a_file_gets_its_name_at_the_next_sync_and_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let [first, second, last, gone] = ["1", "2", "3", "4"].map(|name| dir.path().join(name));
        let behind = Behind::new(dir.path());
        behind.name_after(unnamed(dir.path(), "first"), first.clone());
        assert!(behind.will_name(&first) && !first.exists());
        behind.sync().unwrap();
        assert!(!behind.will_name(&first) && first.exists());
        // Much is written: the next sync comes by itself.
        behind.name_after(unnamed(dir.path(), "second"), second.clone());
        behind.wrote(STEP - 1);
        assert!(behind.running.lock().unwrap().is_none());
        behind.wrote(1);
        while behind.will_name(&second) {
            std::thread::yield_now();
        }
        assert_eq!(std::fs::read(&second).unwrap(), b"second");
        let taken = unnamed(dir.path(), "taken away");
        std::fs::remove_file(taken.path()).unwrap();
        behind.name_after(taken, gone.clone());
        behind.name_after(unnamed(dir.path(), "last"), last.clone());
        drop(behind);
        assert!(last.exists() && !gone.exists());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_name_that_cannot_be_given_is_no_failure() {
        let dir = tempfile::tempdir().unwrap();
        let behind = Behind::new(dir.path());
        // A folder with something in it is no name for a file.
        let taken = dir.path().join("taken");
        std::fs::create_dir_all(taken.join("full")).unwrap();
        behind.name_after(unnamed(dir.path(), "x"), taken.clone());
        behind.sync().unwrap();
        assert!(taken.is_dir() && !behind.will_name(&taken));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
