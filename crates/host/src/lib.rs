//! One machine: its generations, how they boot, are judged, kept and removed.
//!
//! Where to start: [`view`] reads what the disks say, [`plan`] makes changes from it without
//! touching anything, [`apply`] carries them out. [`machine`] finds the disks, and
//! the rest are the verbs. `docs/state-machine.md` has every arrow and invariant.

pub mod apply;
pub mod arguments;
pub mod boots;
mod bus;
pub mod candidate;
pub mod choose;
pub mod diff;
pub mod emergency;
mod ended;
pub mod entries;
mod error;
pub mod esp;
pub mod etc;
pub mod firmware;
pub mod fsck;
pub mod generations;
pub mod health;
pub mod home;
pub mod install;
pub mod live;
pub mod loader;
pub mod log;
pub mod machine;
pub mod plan;
pub mod postmortem;
pub mod setup;
pub mod state;
pub mod status;
mod systemd;
pub mod tidy;
pub mod undo;
pub mod upgrade;
mod verdict;
pub mod view;
pub mod vm;

pub use error::Error;
pub use machine::{ALGORITHM, Machine};
pub use systemd::reboot;
