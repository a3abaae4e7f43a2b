//! The local edits of `/etc`: found, compared, and carried from one release to the next.
//!
//! `/etc` is an overlay: the image's `/etc` below, the generation's own folder (the *upper*)
//! above. An edit is an entry of the upper that differs from what the image has; a copy that
//! the overlay made without a change is none. An upper never serves over another image: on
//! the first boot of a generation the edits of the last run one are **carried**, entry by
//! entry and aspect by aspect (content, mode, owner, attributes), into a new upper.
//!
//! [`edits()`] and [`plan()`] only read; [`apply()`] only writes the new upper. [`carry`] is both.

mod apply;
mod compare;
mod edits;
mod entry;
mod late;
mod local;
mod owner;
mod places;
mod plan;

pub use apply::apply;
pub use compare::{Difference, differences, differences_at};
pub use edits::{Change, Edit, edits, text};
pub use late::{Seen, late, seen};
pub use local::{Found, Local, Owned, locals};
pub use places::Places;
pub use plan::{Plan, Report, plan};

use elea_sys::PathError;
use std::path::Path;

/// The two layers of one generation's `/etc`.
#[derive(Debug, Clone, Copy)]
pub struct Sides<'a> {
    /// The overlay's upper folder: what the machine changed.
    pub upper: &'a Path,
    /// `/etc` of the image below it, mounted.
    pub lower: &'a Path,
}

/// Why `/etc` could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] PathError),
    /// More entries or deeper folders than any `/etc` has.
    #[error("{path}: more than {limit}; remove what does not belong below /etc")]
    TooMuch {
        /// Where the limit was met.
        path: String,
        /// "256 folders deep", "1000000 edits".
        limit: &'static str,
    },
}

/// Carries the edits of `from` to a new image: fills the empty folder `new_upper` so that over
/// `new_lower` it gives the new release's `/etc` with the machine's edits.
///
/// Nothing is synced here: the caller does it once, before the folder gets its name.
pub fn carry(from: &Sides<'_>, new_lower: &Path, new_upper: &Path) -> Result<Report, Error> {
    let plan = plan(from, new_lower)?;
    apply(&plan, from, new_lower, new_upper)?;
    Ok(plan.report)
}
