//! `elea agent`: what the units of an image call. No person needs it, so no help lists it.

use crate::context::Context;
use crate::failure::{Code, Outcome};
use elea_host::{emergency, ended, health, setup, tidy};
use serde::Serialize;

/// The calls of the units.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Early in each boot: host keys, growth and sealing at the first, repairs
    Setup,
    /// The health gate: waits, checks, commits, or keeps the evidence and restarts
    Judge,
    /// From the emergency and rescue targets of a boot on trial: keeps the logs and restarts
    Emergency,
    /// At a shutdown that somebody asked for: a boot without a verdict did not fail
    Ended,
    /// After a commit: removes what nothing needs
    Tidy,
}

pub(crate) fn run(command: &Command, context: &Context) -> Outcome {
    match command {
        Command::Setup => {
            let machine = context.machine("elea agent setup")?;
            let done = setup::setup(&machine, &context.bars());
            let code = if done.failures.is_empty() {
                Code::Done
            } else {
                Code::Failed
            };
            report(&done, context)?;
            Ok(code)
        }
        Command::Judge => report(&health::judge(&context.bars())?, context),
        Command::Emergency => report(&emergency::emergency(&context.bars())?, context),
        Command::Ended => {
            let machine = context.machine("elea agent ended")?;
            report(&ended::ended(&machine)?, context)
        }
        Command::Tidy => {
            let machine = context.machine("elea agent tidy")?;
            report(&tidy::tidy(&machine, &context.bars())?, context)
        }
    }
}

/// One line of JSON: it goes to the journal.
fn report<T: Serialize>(value: &T, context: &Context) -> Outcome {
    context.show(value, |value| {
        let mut line = serde_json::to_string(value).unwrap_or_default();
        line.push('\n');
        line
    })
}
