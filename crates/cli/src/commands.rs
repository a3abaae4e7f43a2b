//! The commands, one file each.

mod build;
mod config;
mod generate;
mod image;
mod install;
mod lock;
mod store;
mod version;

use crate::context::Context;
use crate::failure::Outcome;

/// The commands of the first level.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Build(build::Args),
    Lock(lock::Args),
    Install(install::Args),
    /// Images: import, compare, push, pull, sign
    #[command(subcommand)]
    Image(image::Command),
    /// The file that describes a system
    #[command(subcommand)]
    Config(config::Command),
    /// The store that images are kept in
    #[command(subcommand)]
    Store(store::Command),
    Version(version::Args),
    #[command(hide = true)]
    Generate(generate::Args),
}

/// Runs the command that was asked for.
pub(crate) fn run(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Build(args) => build::run(&args, context),
        Command::Lock(args) => lock::run(&args, context),
        Command::Image(command) => image::run(command, context),
        Command::Install(args) => install::run(&args, context),
        Command::Config(command) => config::run(command, context),
        Command::Store(command) => store::run(command, context),
        Command::Version(args) => version::run(&args, context),
        Command::Generate(args) => generate::run(&args),
    }
}
