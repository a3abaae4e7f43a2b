//! `elea config`.

mod check;
mod explain;
mod fmt;
mod migrate;
mod options;
mod schema;
mod show;

use crate::context::Context;
use crate::failure::Outcome;

/// The commands about the config of a system.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Check(check::Args),
    Explain(explain::Args),
    Fmt(fmt::Args),
    Migrate(migrate::Args),
    Options(options::Args),
    Schema(schema::Args),
    Show(show::Args),
}

pub(crate) fn run(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Check(args) => check::run(&args, context),
        Command::Explain(args) => explain::run(&args, context),
        Command::Fmt(args) => fmt::run(&args, context),
        Command::Migrate(args) => migrate::run(&args, context),
        Command::Options(args) => options::run(&args, context),
        Command::Schema(args) => schema::run(&args, context),
        Command::Show(args) => show::run(&args, context),
    }
}
