//! `elea retry`.

use crate::context::Context;
use crate::failure::Outcome;
use crate::options::{Change, Restart};
use elea_host::choose;

/// Try a failed generation again, as a new one on trial
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The failed generation's number
    number: u64,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    restart: Restart,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let machine = context.machine("elea retry")?;
    let changed = choose::retry(&machine, args.number, args.change.options())?;
    context.changed(&changed, &args.restart)
}
