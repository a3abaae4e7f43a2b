//! Input and output errors that say which path and what was tried.

use std::io;
use std::path::{Path, PathBuf};

/// An I/O error with the path that it happened on and what was being done.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct PathError {
    /// What was tried, as a verb: "read", "create", "rename".
    pub action: &'static str,
    /// Where.
    pub path: PathBuf,
    /// Why it failed.
    #[source]
    pub source: io::Error,
}

impl PathError {
    /// The kind of the underlying error.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

/// Adds the path and the action to an I/O result.
pub trait At<T> {
    /// `file.read(..).at("read", path)?`
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, PathError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, PathError> {
        self.map_err(|e| PathError {
            action,
            path: path.as_ref().to_owned(),
            source: e.into(),
        })
    }
}
