//! `elea etc`.

mod adopt;
mod diff;
mod reset;

use crate::context::Context;
use crate::failure::Outcome;

/// The commands about this machine's edits of `/etc`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Diff(diff::Args),
    Adopt(adopt::Args),
    Reset(reset::Args),
}

pub(crate) fn run(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Diff(args) => diff::run(&args, context),
        Command::Adopt(args) => adopt::run(&args, context),
        Command::Reset(args) => reset::run(&args, context),
    }
}
