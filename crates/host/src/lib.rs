//! One machine: its generations, how they boot, are judged, kept and removed.
//!
//! Where to start: [`view`] reads what the disks say, [`plan`] makes changes from it without
//! touching anything, [`apply`] carries them out. [`machine`] finds the disks, and
//! the rest are the verbs. `docs/state-machine.md` has every arrow and invariant.

pub mod apply;
pub mod entries;
pub mod fsck;
pub mod install;
pub mod plan;
pub mod view;
