//! What boots next by a person's choice: rollback, retry, pin, and taking back what is staged.

use crate::apply::NoPayloads;
use crate::error::Error;
use crate::live::specialise;
use crate::machine::{Machine, now};
use crate::plan::{self, Plan, Step};
use crate::view::View;
use elea_formats::digest::Digest;
use elea_formats::generation::Generation;
use serde::Serialize;
use std::time::Duration;

/// The value of `schema`.
pub const SCHEMA: &str = "elea.change/1";

/// How a change is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Only says what would be done.
    pub dry_run: bool,
    /// How long to wait while another command is at work.
    pub wait: Duration,
}

/// What was done, or would be.
#[derive(Debug, Clone, Serialize)]
pub struct Changed {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// What it is, for people: "go back to generation 2 (Hello 1.0) as generation 4".
    pub what: String,
    /// The generation that boots next because of it.
    pub number: Option<u64>,
    /// Its title.
    pub title: Option<String>,
    /// Whether a restart is needed to see it.
    pub reboot: bool,
    /// Whether nothing was done because it was only asked what would be.
    pub dry_run: bool,
    /// The steps.
    pub plan: Plan,
}

impl Changed {
    /// The image of the generation that it makes.
    pub fn image(&self) -> Option<&Digest> {
        made(&self.plan).map(|generation| &generation.image)
    }
}

/// Makes a good generation boot next under a new number: `to`, or the newest good one that is
/// other than what runs.
pub fn rollback(machine: &Machine, to: Option<u64>, options: Options) -> Result<Changed, Error> {
    change(machine, options, |view| {
        Ok(plan::rollback(view, to, machine.number(), &now())?)
    })
}

/// Tries a failed generation again under a new number.
pub fn retry(machine: &Machine, number: u64, options: Options) -> Result<Changed, Error> {
    change(machine, options, |view| {
        let plan = plan::retry(view, number, machine.number(), &now())?;
        let image = made(&plan).map(|g| g.image);
        let store = machine.store()?;
        match image {
            Some(image) if store.image(&image).is_err() => Err(Error::Gone { number }),
            _ => Ok(plan),
        }
    })
}

/// Takes back what is staged.
pub fn unstage(machine: &Machine, options: Options) -> Result<Changed, Error> {
    change(machine, options, |view| {
        Ok(plan::unstage(view, machine.number()))
    })
}

/// Keeps a generation from being collected (`pinned`), or no longer.
pub fn pin(
    machine: &Machine,
    number: u64,
    pinned: bool,
    options: Options,
) -> Result<Changed, Error> {
    change(machine, options, |view| {
        Ok(plan::pin(view, number, pinned)?)
    })
}

fn change(
    machine: &Machine,
    options: Options,
    make: impl FnOnce(&View) -> Result<Plan, Error>,
) -> Result<Changed, Error> {
    // Only asking waits for nobody.
    let claimed = (!options.dry_run).then(|| machine.claim(options.wait));
    let _claimed = claimed.transpose()?;
    let locked = (!options.dry_run).then(|| machine.lock());
    let locked = locked.transpose()?;
    let plan = make(&machine.view()?)?;
    if !options.dry_run {
        match made(&plan) {
            Some(generation) => {
                machine.apply(&plan, &machine.payloads_of(generation.image))?;
                drop(locked);
                specialise::put_named(machine, generation)?;
            }
            None => machine.apply(&plan, &NoPayloads)?,
        }
    }
    Ok(report(plan, options.dry_run))
}

/// The report on a plan.
pub(crate) fn report(plan: Plan, dry_run: bool) -> Changed {
    Changed {
        schema: SCHEMA,
        what: plan.what.clone(),
        number: plan.number,
        title: made(&plan).map(|g| g.title.clone()),
        reboot: plan.number.is_some(),
        dry_run,
        plan,
    }
}

/// The generation that a plan makes.
pub(crate) fn made(plan: &Plan) -> Option<&Generation> {
    plan.steps.iter().find_map(|step| match step {
        Step::Manifest { generation } => Some(&**generation),
        _ => None,
    })
}
