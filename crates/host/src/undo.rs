//! What takes back the last change that a person made: `elea undo`.
//!
//! The log says what it was, and an undo is a change like any other: it stands in the log itself, and undoing it is doing
//! the first change again.

use crate::view::{State, View};
use elea_formats::oplog::{Event, Record};
use std::collections::BTreeSet;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undo {
    /// Take back what is staged.
    Unstage,
    /// Boot this good generation next.
    Back(u64),
    /// Switch the running system to this generation's image.
    Switch(u64),
    /// Keep a generation from being collected, or no longer.
    Pin(u64, bool),
}

/// Why nothing can be undone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The log knows of no change.
    #[error("the log has no change that could be undone; `elea log` shows it")]
    Nothing,
    /// It was taken back before it was tried, and nothing of it is left.
    #[error(
        "generation {0} was taken back, and cannot be staged again by itself; `elea upgrade` or `elea apply` does"
    )]
    TakenBack(u64),
    /// It undid itself.
    #[error(
        "generation {0} failed, and the machine went back by itself; `elea log show {0}` tells why"
    )]
    Failed(u64),
    /// What was there before is gone.
    #[error(
        "the generation before {0} is not there any more; `elea generations` lists what can be gone back to"
    )]
    Gone(u64),
}

impl From<Why> for crate::Error {
    fn from(why: Why) -> Self {
        Self::Undo(why)
    }
}

/// Finds the last change of a person in the log, and what takes it back. `booted` is the generation that runs, `shown` the
/// one whose `/etc` shows.
pub fn plan(view: &View, booted: Option<u64>, shown: Option<u64>) -> Result<Undo, Why> {
    let mut taken_back = BTreeSet::new();
    for (at, record) in view.log.iter().enumerate().rev() {
        let earlier = &view.log[..at];
        match &record.event {
            Event::Pinned { number } => return Ok(Undo::Pin(*number, false)),
            Event::Unpinned { number } => return Ok(Undo::Pin(*number, true)),
            // Specialisations come and go with what they stand beside.
            Event::Armed { number } | Event::Unstaged { number }
                if view.stands_beside(*number).is_some() => {}
            Event::Unstaged { number } => return Err(Why::TakenBack(*number)),
            // A switch that was taken back is none.
            Event::Reverted { number, .. } => {
                taken_back.insert(*number);
            }
            Event::Applied { number, .. } if taken_back.contains(number) => {}
            Event::Applied { number, from, .. } if shown == Some(*number) && booted != shown => {
                return match view.manifest(*from) {
                    Some(_) => Ok(Undo::Switch(*from)),
                    None => Err(Why::Gone(*number)),
                };
            }
            Event::Armed { number } if taken_back.contains(number) => {}
            Event::Armed { number } => return armed(view, earlier, *number, booted),
            _ => {}
        }
    }
    Err(Why::Nothing)
}

/// Takes back a generation that was made bootable.
fn armed(view: &View, earlier: &[Record], number: u64, booted: Option<u64>) -> Result<Undo, Why> {
    let others = || {
        earlier
            .iter()
            .rev()
            .filter_map(|record| match &record.event {
                Event::Committed { number: other } | Event::Armed { number: other } => {
                    view.stands_beside(*other).is_none().then_some(*other)
                }
                _ => None,
            })
    };
    if !others().any(|other| other != number) {
        // The one that was installed.
        return Err(Why::Nothing);
    }
    match view.state(number, booted) {
        State::Staged => Ok(Undo::Unstage),
        State::Failed => Err(Why::Failed(number)),
        _ => others()
            .find(|other| *other != number && view.state(*other, booted) == State::Good)
            .map(Undo::Back)
            .ok_or(Why::Gone(number)),
    }
}
