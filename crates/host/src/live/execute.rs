//! Carries out the steps of a plan, and gets back from wherever it is cut off.
//!
//! Until the end the new `/etc` and `/usr` are only those of the running system: what the next boots use is
//! changed by one operation ([`Machine::keep`]), the commit point. So a power cut at any moment
//! boots all of the old or all of the new; a failing step, a failed check and a crash lead back by
//! the steps of [`undo`], and a crash on the way back goes on from where it was.

use super::journal::{Entry, Journal, JournalError, SCHEMA, State, Switch};
use super::{Step, undo};
use elea_sys::disk::Disk;
use serde::Serialize;

/// Which of the two configurations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Which {
    /// What ran before.
    Old,
    /// What is switched to.
    New,
}

/// What is acted on: the real machine, or a model of it. Every operation may be repeated.
pub trait Machine {
    /// Does one step; [`Step::Usr`] and [`Step::Files`] make `/usr` and `/etc` of the running system those of `which`. Returns
    /// when the job has ended.
    fn step(&mut self, step: &Step, which: Which) -> Result<(), String>;
    /// Whether all is well after the last step; what is not, if not.
    fn check(&mut self) -> Result<(), String>;
    /// Makes the new `/etc` that of the next boots: durable, and by one operation.
    fn keep(&mut self) -> Result<(), String>;
    /// Whether that was done.
    fn is_kept(&self) -> Result<bool, String>;
}

/// How a switch ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// There was nothing to do.
    Nothing,
    /// The new configuration runs and stays.
    Kept,
    /// The new configuration runs until it is reverted, unless somebody confirms it.
    Waiting,
    /// The old configuration runs.
    Reverted {
        /// Why.
        why: String,
        /// Steps of the way back that failed, in words; empty if all is as it was.
        missed: Vec<String>,
    },
}

/// Why a switch did not come to an end. [`recover`] goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Another switch has not ended.
    #[error("another `elea apply` has not ended; confirm or revert it first")]
    Busy,
    /// There is nothing to confirm or revert.
    #[error("no `elea apply` waits to be confirmed; it may have been reverted already")]
    NotWaiting,
    /// `/etc` or `/usr` could not be changed back, or made to stay.
    #[error(
        "cannot switch /etc and /usr: {0}; a reboot gives the configuration that was last kept"
    )]
    Files(String),
}

/// What a crash in the middle of a switch leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// All of the old.
    Revert,
    /// All of the new.
    Resume,
}

/// Carries out a plan's steps. With `switch.confirm` the end is [`Outcome::Waiting`], and
/// [`confirm`] or [`revert`] follow.
pub fn execute(
    steps: &[Step],
    switch: &Switch,
    disk: &dyn Disk,
    machine: &mut dyn Machine,
) -> Result<Outcome, ExecuteError> {
    if !Journal::load(disk, &switch.boot)?.state().is_over() {
        return Err(ExecuteError::Busy);
    }
    if steps.is_empty() {
        return Ok(Outcome::Nothing);
    }
    let begin = Entry::Begin {
        schema: SCHEMA.to_owned(),
        switch: switch.clone(),
        steps: steps.to_vec(),
    };
    let journal = Journal::begin(disk, begin)?;
    forward(journal, steps, 0, switch.confirm, machine)
}

fn forward(
    mut journal: Journal<'_>,
    steps: &[Step],
    from: usize,
    wait: bool,
    machine: &mut dyn Machine,
) -> Result<Outcome, ExecuteError> {
    for (at, step) in steps.iter().enumerate().skip(from) {
        journal.add(Entry::Doing { step: at })?;
        if let Err(why) = machine.step(step, Which::New) {
            let why = format!("{}: {why}", words(step));
            return back(journal, &steps[..=at], why, machine);
        }
        journal.add(Entry::Done { step: at })?;
    }
    if let Err(why) = machine.check() {
        return back(journal, steps, why, machine);
    }
    if wait {
        journal.add(Entry::Waiting)?;
        return Ok(Outcome::Waiting);
    }
    keep(journal, steps, machine)
}

fn keep(
    mut journal: Journal<'_>,
    steps: &[Step],
    machine: &mut dyn Machine,
) -> Result<Outcome, ExecuteError> {
    if let Err(why) = machine.keep() {
        if machine.is_kept().map_err(ExecuteError::Files)? {
            journal.add(Entry::Kept)?;
            return Ok(Outcome::Kept);
        }
        return back(journal, steps, why, machine);
    }
    journal.add(Entry::Kept)?;
    Ok(Outcome::Kept)
}

fn back(
    mut journal: Journal<'_>,
    begun: &[Step],
    why: String,
    machine: &mut dyn Machine,
) -> Result<Outcome, ExecuteError> {
    let steps = undo(begun);
    let entry = Entry::Back {
        why: why.clone(),
        steps: steps.clone(),
    };
    journal.add(entry)?;
    go_back(journal, &steps, 0, why, machine)
}

fn go_back(
    mut journal: Journal<'_>,
    steps: &[Step],
    from: usize,
    why: String,
    machine: &mut dyn Machine,
) -> Result<Outcome, ExecuteError> {
    let mut missed = Vec::new();
    for (at, step) in steps.iter().enumerate().skip(from) {
        match machine.step(step, Which::Old) {
            Ok(()) => journal.add(Entry::Done { step: at })?,
            // Without its files nothing else can be as it was.
            Err(why) if step.is_tree() => return Err(ExecuteError::Files(why)),
            Err(why) => {
                missed.push(format!("{}: {why}", words(step)));
                journal.add(Entry::Missed { step: at, why })?;
            }
        }
    }
    journal.add(Entry::Reverted)?;
    Ok(Outcome::Reverted { why, missed })
}

/// Ends a switch that was cut off, if there is one. In another boot than its own there is nothing
/// left of its steps: the boot used what was kept.
pub fn recover(
    policy: Policy,
    boot: &str,
    disk: &dyn Disk,
    machine: &mut dyn Machine,
) -> Result<Outcome, ExecuteError> {
    let mut journal = Journal::load(disk, boot)?;
    let state = journal.state();
    if state.is_over() {
        return Ok(Outcome::Nothing);
    }
    if machine.is_kept().map_err(ExecuteError::Files)? {
        journal.add(Entry::Kept)?;
        return Ok(Outcome::Kept);
    }
    let why = "it was cut off".to_owned();
    match state {
        State::Forward { boot: its, .. } | State::Back { boot: its, .. } if its != boot => {
            journal.add(Entry::Reverted)?;
            let missed = Vec::new();
            Ok(Outcome::Reverted { why, missed })
        }
        State::Forward { waits: true, .. } => Ok(Outcome::Waiting),
        State::Forward { steps, done, .. } if policy == Policy::Resume => {
            let wait = journal.switch().is_some_and(|switch| switch.confirm);
            forward(journal, &steps, done, wait, machine)
        }
        State::Forward { steps, begun, .. } => {
            back(journal, &steps[..begun.min(steps.len())], why, machine)
        }
        State::Back { steps, done, .. } => go_back(journal, &steps, done, why, machine),
        State::None | State::Kept | State::Reverted => Ok(Outcome::Nothing),
    }
}

/// Lets a switch that waits stay. One of another boot does not run any more, and cannot.
pub fn confirm(
    boot: &str,
    disk: &dyn Disk,
    machine: &mut dyn Machine,
) -> Result<Outcome, ExecuteError> {
    let journal = Journal::load(disk, boot)?;
    match journal.state() {
        State::Forward {
            waits: true,
            steps,
            boot: its,
            ..
        } if its == boot => keep(journal, &steps, machine),
        _ => Err(ExecuteError::NotWaiting),
    }
}

/// Takes back a switch that was not confirmed in time, or that was cut off. What has ended stays.
///
/// Whoever calls this, [`execute`], [`confirm`] or [`recover`] holds the machine's lock for changes: a
/// timer that comes while steps are still being done waits for their end.
pub fn revert(
    why: &str,
    boot: &str,
    disk: &dyn Disk,
    machine: &mut dyn Machine,
) -> Result<Outcome, ExecuteError> {
    let journal = Journal::load(disk, boot)?;
    match journal.state() {
        State::Forward {
            waits: true,
            steps,
            boot: its,
            ..
        } if its == boot && !machine.is_kept().map_err(ExecuteError::Files)? => {
            back(journal, &steps, why.to_owned(), machine)
        }
        _ => recover(Policy::Revert, boot, disk, machine),
    }
}

/// A step for people.
pub(super) fn words(step: &Step) -> String {
    match step {
        Step::Unit { unit, verb } => format!("{} {unit}", format!("{verb:?}").to_lowercase()),
        Step::SwapOff { what } => format!("swapoff {what}"),
        Step::Usr { .. } => "switch /usr".into(),
        Step::Files => "switch /etc".into(),
        Step::DaemonReload => "daemon-reload".into(),
        Step::DaemonReexec => "daemon-reexec".into(),
        Step::Helper { helper } => format!("{helper:?}").to_lowercase(),
    }
}
