//! `elea store`.

mod fsck;
mod gc;
mod init;
mod leases;
mod stats;

use crate::context::Context;
use crate::failure::Outcome;

/// The commands about the store.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Init(init::Args),
    Fsck(fsck::Args),
    Gc(gc::Args),
    Stats(stats::Args),
    Leases(leases::Args),
}

pub(crate) fn run(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Init(args) => init::run(&args, context),
        Command::Fsck(args) => fsck::run(&args, context),
        Command::Gc(args) => gc::run(&args, context),
        Command::Leases(args) => leases::run(&args, context),
        Command::Stats(args) => stats::run(&args, context),
    }
}
