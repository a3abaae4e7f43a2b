//! One writer at a time, across processes.

use crate::{At as _, PathError};
use rustix::fs::FlockOperation;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

/// An exclusive lock on a file, held until dropped; the holder's name is written in the file.
#[derive(Debug)]
pub struct Lock {
    _file: Locked,
}

/// A file that this process has locked: until dropped, though a child that has not started its program yet has a copy of
/// the descriptor, which would hold the lock for another moment.
#[derive(Debug)]
pub struct Locked(File);

impl Locked {
    /// Takes over a file that is locked by `flock(2)`.
    pub fn new(file: File) -> Self {
        Self(file)
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // That it fails is no harm: the descriptor is closed in a moment.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

/// Why a lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it; the text says who ("elea upgrade, process 812").
    #[error("{} is held by {holder}", path.display())]
    Held {
        /// The lock file.
        path: std::path::PathBuf,
        /// What the holder wrote of itself.
        holder: String,
    },
    /// The lock file could not be opened or locked.
    #[error(transparent)]
    Path(#[from] PathError),
}

impl Lock {
    /// Takes the lock at once or says who holds it. `who` is what others will be told of this process.
    pub fn try_take(path: &Path, who: &str) -> Result<Self, LockError> {
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(path)
            .at("open the lock", path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let holder = if holder.trim().is_empty() {
                    "another process".into()
                } else {
                    holder.trim().into()
                };
                return Err(LockError::Held {
                    path: path.to_owned(),
                    holder,
                });
            }
            Err(e) => return Err(Err::<(), _>(e).at("lock", path).unwrap_err().into()),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .at("write", path)?;
        file.write_all(format!("{who}, process {}\n", std::process::id()).as_bytes())
            .at("write", path)?;
        let file = Locked::new(file);
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_learns_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::try_take(&path, "elea upgrade").unwrap();
        let error = Lock::try_take(&path, "elea gc").unwrap_err().to_string();
        assert!(error.contains("elea upgrade, process"), "{error}");
        drop(held);
        Lock::try_take(&path, "elea gc").unwrap();
    }

    #[test]
    fn a_copy_of_the_descriptor_holds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let file = File::create(&path).unwrap();
        rustix::fs::flock(&file, FlockOperation::LockExclusive).unwrap();
        let copy = file.try_clone().unwrap();
        let held = Locked::new(file);
        Lock::try_take(&path, "elea gc").unwrap_err();
        drop(held);
        Lock::try_take(&path, "elea gc").unwrap();
        drop(copy);
    }
}
