//! `elea state`.

mod adopt;
mod list;
mod reset;
mod restore;
mod snapshot;

use crate::context::Context;
use crate::failure::Outcome;
use elea_host::Machine;
use std::path::PathBuf;

/// The commands about what the machine keeps.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    List(list::Args),
    Adopt(adopt::Args),
    Snapshot(snapshot::Args),
    Restore(restore::Args),
    Reset(reset::Args),
}

pub(crate) fn run(command: Command, context: &Context) -> Outcome {
    match command {
        Command::List(args) => list::run(&args, context),
        Command::Adopt(args) => adopt::run(&args, context),
        Command::Snapshot(args) => snapshot::run(&args, context),
        Command::Restore(args) => restore::run(&args, context),
        Command::Reset(args) => reset::run(&args, context),
    }
}

/// `/elea/state` of a machine, writable.
fn folder(machine: &Machine) -> PathBuf {
    machine.state().root().join("state")
}
