//! `elea home remove`.

use super::{failed, open, show};
use crate::context::Context;
use crate::failure::Outcome;
use elea_host::home::Options;

/// Take everything out of your home that Elea put there, the generations too
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Say what would be done and do nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let home = open(context, !args.dry_run)?;
    let dry = Options {
        dry_run: true,
        backup: false,
    };
    if !args.dry_run {
        // Nobody is asked about a home that has nothing to lose.
        home.remove(dry, &context.cancelled).map_err(failed)?;
        context.confirm("All generations of this home will be gone. Go on?")?;
    }
    let options = Options {
        dry_run: args.dry_run,
        ..dry
    };
    let plan = home.remove(options, &context.cancelled).map_err(failed)?;
    show::plan(&plan, context)
}
