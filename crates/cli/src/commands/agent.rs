//! `elea agent`: what the units of an image call. No person needs it, so no help lists it.

use crate::context::Context;
use crate::failure::{Code, Outcome};
use elea_host::state::versions;
use elea_host::{emergency, health, live, setup, tidy};
use serde::Serialize;
use std::time::Duration;

/// The calls of the units.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// In each boot: host keys, repairs, growth and sealing at the first; and the health gate, which
    /// waits, checks, commits, or keeps the evidence and restarts
    Boot,
    /// From the emergency and rescue targets of a boot on trial: keeps the logs and restarts
    Emergency,
    /// Before services start: snapshots of data that this release will change, or back to what fits it
    State,
    /// After a commit: removes what nothing needs
    Tidy,
    /// From the timer of `elea apply --confirm`: takes it back
    Revert,
}

/// How long the timer's call waits for the end of steps that are still being done.
const REVERT_WAIT: Duration = Duration::from_hours(1);

pub(crate) fn run(command: &Command, context: &Context) -> Outcome {
    match command {
        Command::Boot => boot(context),
        Command::Emergency => report(&emergency::emergency(&context.bars())?, context),
        Command::State => {
            let machine = context.machine("elea agent state")?;
            report(&versions::settle(&machine)?, context)
        }
        Command::Tidy => {
            let machine = context.machine("elea agent tidy")?;
            report(&tidy::tidy(&machine, &context.bars())?, context)
        }
        Command::Revert => {
            let machine = context.machine("elea agent revert")?;
            let why = "nobody confirmed it in time";
            let ended = live::take_back(&machine, why, REVERT_WAIT, &context.bars())?;
            report(&ended, context)
        }
    }
}

/// Prepares and judges at once: a preparation that hangs must not keep the verdict from coming.
fn boot(context: &Context) -> Outcome {
    std::thread::scope(|scope| {
        let preparing = scope.spawn(|| {
            let done = setup::setup(&context.bars());
            report(&done, context).map(|_| done.failures.is_empty())
        });
        let judged = health::judge(&context.bars())?;
        report(&judged, context)?;
        match preparing.join() {
            Ok(Ok(true)) => Ok(Code::Done),
            Ok(Err(failure)) => Err(failure),
            Ok(Ok(false)) | Err(_) => Ok(Code::Failed),
        }
    })
}

/// One line of JSON: it goes to the journal.
fn report<T: Serialize>(value: &T, context: &Context) -> Outcome {
    context.show(value, |value| {
        let mut line = serde_json::to_string(value).unwrap_or_default();
        line.push('\n');
        line
    })
}
