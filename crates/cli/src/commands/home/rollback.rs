//! `elea home rollback`.

use super::{Change, failed, open, show};
use crate::context::Context;
use crate::failure::Outcome;

/// Go back to an older generation of your home
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its number [default: the highest below the one in use]
    number: Option<u64>,
    #[command(flatten)]
    change: Change,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let home = open(context, !args.change.dry_run)?;
    let plan = home.rollback(args.number, args.change.options(), &context.cancelled);
    show::plan(&plan.map_err(failed)?, context)
}
