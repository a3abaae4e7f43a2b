//! How a machine stands, for a person and for scripts: `elea status`.

mod drift;
mod loader;
mod read;
mod text;

pub use drift::Drift;
pub use loader::{Coverage, LoaderStatus};
pub use read::status;
pub use text::text;

use crate::generations::Line;
use elea_formats::booted::{Etc, Verity};
use elea_formats::digest::Digest;
use serde::Serialize;

/// The value of `schema`.
pub const SCHEMA: &str = "elea.status/1";

/// How a machine stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// What runs; none for a system that only lies on a disk.
    pub running: Option<Running>,
    /// The generation that boots next, if nobody chooses another.
    pub next: Option<u64>,
    /// Every generation, oldest first.
    pub generations: Vec<Line>,
    /// What is not offered again because it failed.
    pub refused: Vec<Refused>,
    /// The machine's edits of `/etc`.
    pub etc: Option<EtcStatus>,
    /// What is other than the image has it: `/usr`, the package database, units.
    pub drift: Option<Drift>,
    /// The boot loader, and which failures of a boot it covers.
    pub loader: LoaderStatus,
    /// What others set that changes what boots: `LoaderEntryOneShot = windows.conf`.
    pub foreign: Vec<String>,
    /// Space on the root and on the boot partition.
    pub space: Vec<Space>,
    /// Sealing of the objects at a first boot, while it lasts.
    pub sealing: Option<Sealing>,
    /// What upgrades follow.
    pub follows: Option<String>,
    /// The last look for an upgrade.
    pub last_check: Option<LastCheck>,
    /// What a person should know: the initrd's warnings, damage, invariants that do not hold.
    pub warnings: Vec<String>,
}

/// What runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Running {
    /// The generation.
    pub number: u64,
    /// Title of its release.
    pub title: Option<String>,
    /// Version of its release.
    pub version: Option<String>,
    /// Its image.
    pub image: Digest,
    /// When this boot began, RFC 3339 in UTC.
    pub since: Option<String>,
    /// The verdict on this boot.
    pub verdict: VerdictNow,
    /// Whether reads of the system are checked.
    pub verity: Verity,
    /// What was done about its `/etc` at this boot.
    pub etc: Etc,
    /// The generation that was applied since, whose `/etc` shows, if there is one.
    pub applied: Option<u64>,
    /// The `/usr` that was mounted over the booted one since, if there is one.
    pub usr: Option<Usr>,
    /// The watchdog that runs.
    pub watchdog: Option<String>,
    /// Whether the rescue entry booted it.
    pub rescue: bool,
    /// The kernel's id of this boot.
    pub boot_id: String,
}

/// A `/usr` that is not the booted one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Usr {
    /// Its image.
    pub image: Digest,
    /// The generation that has this image, if one still does.
    pub generation: Option<u64>,
}

/// The verdict on the boot that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum VerdictNow {
    /// The health gate has not decided yet.
    Waiting,
    /// Healthy, and good: booted without counting.
    Committed,
    /// Healthy, but not by a firmware boot of its entry.
    Healthy,
    /// Not healthy.
    Unhealthy {
        /// The first thing that was wrong.
        reason: String,
    },
}

/// An identity that is not offered again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The failed generation.
    pub number: u64,
    /// Its version.
    pub version: Option<String>,
    /// Why it failed.
    pub reason: String,
}

/// The machine's edits of `/etc`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EtcStatus {
    /// How many entries a person changed.
    pub edits: usize,
    /// Changed on this machine and by the release: the machine's was kept.
    pub conflicts: Vec<String>,
    /// Accounts that clashed.
    pub clashes: Vec<String>,
    /// The failed generation whose edits can be looked at, if it has any of its own.
    pub offered: Option<u64>,
}

/// Room on a file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Space {
    /// `root` or `boot`.
    pub place: &'static str,
    /// Its size in bytes.
    pub size: u64,
    /// Bytes that may still be written.
    pub free: u64,
}

/// Sealing at a first boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sealing {
    /// Objects that are sealed.
    pub done: u64,
    /// All objects.
    pub total: u64,
}

/// The last look for an upgrade; kept in `/elea/state/last-check.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct LastCheck {
    /// `elea.last-check/1`.
    pub schema: String,
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// Where.
    pub reference: String,
    /// What was there: "2.0", or none if it is what runs.
    pub offered: Option<String>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}
