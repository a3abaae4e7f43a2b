//! `elea rollback`.

use crate::context::Context;
use crate::failure::Outcome;
use crate::options::{Change, Restart};
use elea_host::choose;

/// Boot an older good generation next, as a new one on trial
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its number [default: the newest good one that does not run]
    number: Option<u64>,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    restart: Restart,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let machine = context.machine("elea rollback")?;
    let changed = choose::rollback(&machine, args.number, args.change.options())?;
    context.changed(&changed, &args.restart)
}
