//! `elea image`.

mod diff;
mod digest;
mod explain;
mod export;
mod import;
mod keygen;
mod list;
mod mount;
mod pull;
mod push;
mod rm;
mod show;
mod sign;
mod tag;
mod verify;

pub(crate) use diff::lines;
pub(crate) use export::tar;

use crate::context::Context;
use crate::failure::Outcome;

/// The commands about images.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Digest(digest::Args),
    Import(import::Args),
    Export(export::Args),
    List(list::Args),
    Show(show::Args),
    Diff(diff::Args),
    Explain(explain::Args),
    Mount(mount::Args),
    Tag(tag::Args),
    Rm(rm::Args),
    Push(push::Args),
    Pull(pull::Args),
    Sign(sign::Args),
    Verify(verify::Args),
    Keygen(keygen::Args),
}

pub(crate) fn run(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Digest(args) => digest::run(&args, context),
        Command::Import(args) => import::run(&args, context),
        Command::Export(args) => export::run(&args, context),
        Command::List(args) => list::run(&args, context),
        Command::Show(args) => show::run(&args, context),
        Command::Diff(args) => diff::run(&args, context),
        Command::Explain(args) => explain::run(&args, context),
        Command::Mount(args) => mount::run(&args, context),
        Command::Tag(args) => tag::run(&args, context),
        Command::Rm(args) => rm::run(&args, context),
        Command::Push(args) => push::run(&args, context),
        Command::Pull(args) => pull::run(&args, context),
        Command::Sign(args) => sign::run(&args, context),
        Command::Verify(args) => verify::run(&args, context),
        Command::Keygen(args) => keygen::run(&args, context),
    }
}
