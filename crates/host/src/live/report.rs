//! What `elea apply` did, for people and scripts.

use super::plan::Plan;
use super::specialise::Beside;
use super::stale::Stale;
use elea_formats::digest::Digest;
use serde::Serialize;

/// The value of `schema` of [`Applied`].
pub const APPLY_SCHEMA: &str = "elea.apply/1";
/// The value of `schema` of [`Ended`].
pub const END_SCHEMA: &str = "elea.apply-end/1";

/// How far a configuration is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// Live what can be, and the next boots.
    #[default]
    Live,
    /// Live alone: gone at the next boot.
    Test,
    /// The next boots alone.
    Boot,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Effect {
    /// It runs already, and boots next.
    Nothing,
    /// It boots next, on trial; nothing that runs was touched.
    Staged,
    /// It runs, and boots next.
    Live,
    /// It runs until the next boot.
    Tested,
    /// It runs until it is confirmed, or taken back.
    Waiting {
        /// How many seconds there are to confirm it.
        seconds: u64,
    },
    /// What ran before runs again.
    Reverted {
        /// Why.
        why: String,
        /// What could not be taken back.
        missed: Vec<String>,
    },
}

/// What was done, or would be.
#[derive(Debug, Clone, Serialize)]
pub struct Applied {
    /// [`APPLY_SCHEMA`].
    pub schema: &'static str,
    /// The image.
    pub image: Digest,
    /// The generation that it is.
    pub number: u64,
    /// Its title.
    pub title: String,
    /// How far it was to be taken.
    pub how: How,
    /// Whether it was only asked what would be done.
    pub dry_run: bool,
    /// The change of what runs; none where nothing runs, or where it runs already.
    pub plan: Option<Plan>,
    /// Entries of `/etc` that this machine and the configuration changed: the machine's are kept.
    pub conflicts: Vec<String>,
    /// Staged generations whose place it takes.
    pub replaces: Vec<u64>,
    /// What stands beside it in the boot menu, to be picked by hand.
    pub specialisations: Vec<Beside>,
    /// Processes that go on with files of the `/usr` that was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stale: Vec<Stale>,
    /// What came of it.
    #[serde(flatten)]
    pub effect: Effect,
}

/// How a switch ended that waited or was cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// [`END_SCHEMA`].
    pub schema: &'static str,
    /// The generation that was switched to; none if there was nothing to end.
    pub number: Option<u64>,
    /// How it ended.
    #[serde(flatten)]
    pub effect: Effect,
}
