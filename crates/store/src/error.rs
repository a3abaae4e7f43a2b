//! Why the store could not do what was asked.

use elea_sys::PathError;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error(transparent)]
    Path(#[from] PathError),
}
