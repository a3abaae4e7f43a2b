//! What can go wrong around a test.

use elea_sys::PathError;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong around a test.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file.
    #[error(transparent)]
    File(#[from] PathError),
    /// A program cannot be started.
    #[error("cannot run {program}: {source}")]
    Start {
        /// Its name.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A program ended with an error.
    #[error("`{command}` ended with {status}:\n{output}")]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// The end of what it said.
        output: String,
    },
    /// Something took too long.
    #[error("{what} did not come within {seconds} s; the last lines were:\n{tail}")]
    Late {
        /// What was waited for.
        what: String,
        /// The limit.
        seconds: u64,
        /// The end of the console or log.
        tail: String,
    },
    /// The machine or server ended while it was needed.
    #[error("{who} ended while waiting for {what}; the last lines were:\n{tail}")]
    Gone {
        /// Who.
        who: String,
        /// What was waited for.
        what: String,
        /// The end of the console or log.
        tail: String,
    },
    /// Something is not as the test needs it.
    #[error("{0}")]
    Other(String),
}

impl Error {
    /// Something that is not as the test needs it.
    pub fn other(text: impl Into<String>) -> Self {
        Self::Other(text.into())
    }
}
