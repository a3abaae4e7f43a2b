//! Errors as a person sees them, and the exit code that scripts see.

use crate::text;
use elea_host::install;
use elea_net::NetError;
use elea_store::trust::Refusal;
use elea_sys::PathError;
use std::error::Error;
use std::io;
use std::path::Path;

/// Exit codes: the contract of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    /// Done.
    Done = 0,
    /// Failed; nothing was changed unless the message says so.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// The config does not.
    Config = 3,
    /// Something failed halfway, and what was done was taken back.
    Reverted = 4,
    /// A signature, digest or version was refused, or damage was found.
    Verification = 5,
    /// Done, and `--exit-reboot` asked to be told that a reboot is needed.
    Reboot = 100,
}

/// What a command says when it could not do its work.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    text: String,
    next: Option<String>,
}

/// A command's result.
pub(crate) type Outcome<T = Code> = Result<T, Failure>;

impl Failure {
    /// A failure with its own words.
    pub(crate) fn new(code: Code, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
            next: None,
        }
    }

    /// What to do next.
    pub(crate) fn hint(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// What was not made because of it.
    pub(crate) fn about(mut self, file: &Path) -> Self {
        self.text = format!("{} was not written: {}", file.display(), self.text);
        self
    }

    /// The whole message. Work that was interrupted says so, whatever library ended it.
    pub(crate) fn message(&self, interrupted: bool) -> String {
        if interrupted {
            // A program that got the same signal is no news; what a library says of stopping is.
            return match self.text.as_str() {
                text if text.starts_with("stopped") => format!("elea: {text}"),
                text if text == "cancelled" || text.contains("SIGINT") => "elea: stopped".into(),
                text => format!("elea: stopped: {text}"),
            };
        }
        match &self.next {
            Some(next) => format!("elea: {}\n  → {next}", self.text),
            None => format!("elea: {}", self.text),
        }
    }
}

/// Any library error: its message, and the causes that the message does not hold already.
impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut code = code_of(&error);
        let mut full = is_full(&error);
        let mut cause = error.source();
        while let Some(inner) = cause {
            let words = inner.to_string();
            if !text.contains(&words) {
                text = format!("{text}: {words}");
            }
            code = code.or_else(|| code_of(inner));
            full |= is_full(inner);
            cause = inner.source();
        }
        let failure = Self::new(code.unwrap_or(Code::Failed), text::plain(&text));
        if full && !failure.text.contains(GC) {
            return failure.hint(format!(
                "make room there; in a store `{GC}` frees what nothing names"
            ));
        }
        failure
    }
}

/// What frees room in a store.
const GC: &str = "elea store gc";

/// Whether it is an error of a full file system.
fn is_full(error: &(dyn Error + 'static)) -> bool {
    let kind = if let Some(e) = error.downcast_ref::<io::Error>() {
        e.kind()
    } else if let Some(e) = error.downcast_ref::<PathError>() {
        e.kind()
    } else {
        return false;
    };
    kind == io::ErrorKind::StorageFull
}

/// The exit code that an error of a library asks for, if it is not the common one. Libraries wrap
/// each other's errors, and a transparent wrapper is no cause of its own.
fn code_of(error: &(dyn Error + 'static)) -> Option<Code> {
    let store = |e: &elea_store::Error| {
        matches!(
            e,
            elea_store::Error::Damaged { .. } | elea_store::Error::Blob { .. }
        )
    };
    let verification = if let Some(e) = error.downcast_ref::<NetError>() {
        e.is_verification()
    } else if let Some(e) = error.downcast_ref::<elea_store::Error>() {
        store(e)
    } else if let Some(e) = error.downcast_ref::<elea_host::Error>() {
        e.is_verification() || matches!(e, elea_host::Error::Store(e) if store(e))
    } else if let Some(e) = error.downcast_ref::<install::Error>() {
        matches!(e, install::Error::Store(e) if store(e))
    } else {
        error.is::<Refusal>()
    };
    verification.then_some(Code::Verification)
}
