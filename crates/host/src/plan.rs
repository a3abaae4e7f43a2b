//! What a change will do, made from a [`View`](crate::view::View) alone: shown by `--dry-run`, carried out by
//! [`crate::apply`], and tested with power cuts between all its steps.

mod collect;
mod commit;
mod repair;
mod specialise;
mod stage;

pub use collect::{Keep, collect, keep};
pub use commit::{commit, condemn, failed, healthy, unhealthy};
pub use repair::repair;
pub use specialise::specialise;
pub use stage::{note, pin, reserve, retry, rollback, stage, unstage};

use crate::entries::Entries;
use elea_formats::generation::{Generation, Payload};
use elea_formats::oplog::Event;
use serde::{Serialize, Serializer};

/// The value of `schema`.
pub const SCHEMA: &str = "elea.plan/1";

/// One step of a change. Each may be carried out again after a power cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// Write a generation's manifest.
    Manifest {
        /// The manifest.
        generation: Box<Generation>,
    },
    /// Put a kernel or initrd on `$BOOT`, unless it is there and whole.
    Payload {
        /// The file.
        payload: Payload,
    },
    /// Add a record to the log.
    Record {
        /// What happened.
        event: Event,
    },
    /// Make the boot entries these: the commit point.
    Entries {
        /// All entries.
        #[serde(serialize_with = "names")]
        entries: Entries,
    },
    /// Forget the boots of a generation that had no verdict.
    ClearTries {
        /// The generation.
        number: u64,
    },
    /// Keep a generation, or no longer.
    Pin {
        /// The generation.
        number: u64,
        /// Whether it is kept.
        pinned: bool,
    },
    /// Remove a generation's folder; of a failed one, manifest and evidence stay.
    Remove {
        /// The generation.
        number: u64,
        /// Whether manifest and evidence stay.
        keep_evidence: bool,
    },
    /// Remove a payload that no entry names, or a leftover of one.
    RemovePayload {
        /// Its path on `$BOOT`.
        path: String,
    },
    /// Remove a leftover in the folder of generations.
    RemoveLeftover {
        /// Its path below `/elea`.
        path: String,
    },
}

/// A change, in the order of its steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// What it is, for people.
    pub what: String,
    /// The generation that it makes, if it makes one.
    pub number: Option<u64>,
    /// What is done, in order.
    pub steps: Vec<Step>,
}

/// A change that is not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The same image, kernel and arguments failed before.
    #[error(
        "this image failed as generation {number} ({reason}) and is not tried again by itself; `elea log show {number}` shows what happened, `elea retry {number}` tries it again"
    )]
    FailedBefore {
        /// The failed generation.
        number: u64,
        /// Why it failed.
        reason: String,
    },
    /// No such generation, or nothing is left of it.
    #[error("there is no generation {number}; `elea generations` lists them")]
    Unknown {
        /// The number.
        number: u64,
    },
    /// It cannot be gone back to.
    #[error(
        "generation {number} is {state:?} and cannot be booted; `elea generations` shows which are good"
    )]
    NotGood {
        /// The number.
        number: u64,
        /// How it stands.
        state: crate::view::State,
    },
    /// It has not failed.
    #[error("generation {number} is {state:?}: there is nothing to try again")]
    NotFailed {
        /// The number.
        number: u64,
        /// How it stands.
        state: crate::view::State,
    },
    /// There is only what runs.
    #[error("there is no other good generation to go back to; `elea generations` lists them")]
    NothingOlder,
    /// It runs already, and is what boots next.
    #[error("generation {number} runs now and boots next; there is nothing to do")]
    RunsAlready {
        /// The number.
        number: u64,
    },
}

impl Plan {
    fn new(what: impl Into<String>, steps: Vec<Step>) -> Self {
        Self {
            schema: SCHEMA,
            what: what.into(),
            number: None,
            steps,
        }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The payloads that it puts on `$BOOT`.
    pub fn payloads(&self) -> impl Iterator<Item = &Payload> {
        self.steps.iter().filter_map(|step| match step {
            Step::Payload { payload } => Some(payload),
            _ => None,
        })
    }
}

fn record(event: Event) -> Step {
    Step::Record { event }
}

fn names<S: Serializer>(entries: &Entries, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(entries.files().keys())
}
