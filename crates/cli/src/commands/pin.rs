//! `elea pin` and `elea unpin`.

use crate::context::Context;
use crate::failure::Outcome;
use crate::options::{Change, Restart};
use elea_host::choose;

/// Keep a generation until it is unpinned
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The generation's number
    number: u64,
    #[command(flatten)]
    change: Change,
}

/// Keep a generation no longer than others
#[derive(Debug, clap::Args)]
pub(crate) struct Unpin {
    /// The generation's number
    number: u64,
    #[command(flatten)]
    change: Change,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    set(args.number, true, &args.change, context)
}

pub(crate) fn unpin(args: &Unpin, context: &Context) -> Outcome {
    set(args.number, false, &args.change, context)
}

fn set(number: u64, pinned: bool, change: &Change, context: &Context) -> Outcome {
    let machine = context.machine(if pinned { "elea pin" } else { "elea unpin" })?;
    let changed = choose::pin(&machine, number, pinned, change.options())?;
    context.changed(&changed, &Restart::default())
}
