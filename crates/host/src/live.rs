//! How a running system becomes another configuration of itself: `elea apply`, `elea confirm`.
//!
//! [`apply()`] is the verb: it takes an image of the store for the next generation.
//! [`plan_units`] compares the [`Units`] of two configurations, knows from [`Live`] what runs, and
//! says what is stopped, reloaded, restarted and started, in which order and why; [`plan()`] has the
//! files, accounts and helpers beside them. [`execute()`] carries a plan out on a [`Machine`], with a
//! [`Journal`] from which [`recover()`] and [`revert()`] find the way back. The rules are those of NixOS's `switch-to-configuration`, with its
//! faults mended; `docs/live.md` has them as a table.

mod decide;
mod effects;
mod execute;
mod files;
mod generation;
mod images;
mod journal;
mod manager;
mod mounts;
mod namespaces;
mod order;
mod overlay;
mod plan;
mod prepare;
mod protect;
mod report;
pub(crate) mod specialise;
mod stale;
mod state;
mod system;
mod target;
mod units;
mod usr;
mod verbs;

pub use decide::{Error, UnitAction, Verb, plan_units};
pub use effects::Helper;
pub use execute::{
    ExecuteError, Machine, Outcome, Policy, Which, confirm, execute, recover, revert,
};
pub use files::{Entry, FOLDERS, Files, LoadError};
pub use journal::{
    BEFORE, Entry as Record, JOURNAL, Journal, JournalError, SCHEMA as JOURNAL_SCHEMA, State,
    Switch,
};
pub use plan::{
    Account, Boot, Differences, Over, Plan, Reason, SCHEMA, Side, Step, Usr, plan, undo,
};
pub use protect::Need;
pub use report::{APPLY_SCHEMA, Applied, END_SCHEMA, Effect, Ended, How};
pub use specialise::{Beside, named};
pub use stale::Stale;
pub use state::{Active, Live, PROPERTIES};
pub use system::{Etc, REVERT_TIMER, System, revert_timer};
pub use units::{BadUnit, Definition, Found, Units};

pub use verbs::{Options, apply, close, confirm_last, settle, take_back};

pub(crate) use generation::etc_layers;
pub(crate) use overlay::of_init as shown;
pub(crate) use usr::of_init as shown_usr;
pub(crate) use verbs::{open_images, warning};

#[cfg(test)]
mod tests;
