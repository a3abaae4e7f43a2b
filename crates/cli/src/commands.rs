//! The commands, one file each.

mod agent;
mod apply;
mod build;
mod config;
mod confirm;
mod diff;
mod etc;
mod generate;
mod generations;
mod home;
mod image;
mod install;
mod lock;
mod log;
mod pin;
mod retry;
mod rollback;
mod state;
mod status;
mod store;
mod switch;
mod undo;
mod upgrade;
mod version;
mod vm;

use crate::context::Context;
use crate::failure::Outcome;

/// The commands of the first level.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Build(build::Args),
    Lock(lock::Args),
    Install(install::Args),
    Vm(vm::Args),
    Status(status::Args),
    Upgrade(upgrade::Args),
    Switch(switch::Args),
    Apply(apply::Args),
    Confirm(confirm::Args),
    Rollback(rollback::Args),
    Undo(undo::Args),
    Retry(retry::Args),
    Generations(generations::Args),
    Diff(diff::Args),
    Pin(pin::Args),
    Unpin(pin::Unpin),
    Log(log::Args),
    /// This machine's edits of /etc
    #[command(subcommand)]
    Etc(etc::Command),
    /// What the machine keeps: declared and not, snapshots, factory reset
    #[command(subcommand)]
    State(state::Command),
    /// Your home: files, user units, environment, in generations
    #[command(subcommand)]
    Home(home::Command),
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
    #[command(subcommand, hide = true)]
    Agent(agent::Command),
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
        Command::Vm(args) => vm::run(&args, context),
        Command::Status(args) => status::run(&args, context),
        Command::Upgrade(args) => upgrade::run(&args, context),
        Command::Switch(args) => switch::run(&args, context),
        Command::Apply(args) => apply::run(&args, context),
        Command::Confirm(args) => confirm::run(&args, context),
        Command::Rollback(args) => rollback::run(&args, context),
        Command::Undo(args) => undo::run(&args, context),
        Command::Retry(args) => retry::run(&args, context),
        Command::Generations(args) => generations::run(&args, context),
        Command::Diff(args) => diff::run(&args, context),
        Command::Pin(args) => pin::run(&args, context),
        Command::Unpin(args) => pin::unpin(&args, context),
        Command::Log(args) => log::run(&args, context),
        Command::Etc(command) => etc::run(command, context),
        Command::State(command) => state::run(command, context),
        Command::Home(command) => home::run(command, context),
        Command::Agent(command) => agent::run(&command, context),
        Command::Config(command) => config::run(command, context),
        Command::Store(command) => store::run(command, context),
        Command::Version(args) => version::run(&args, context),
        Command::Generate(args) => generate::run(&args),
    }
}
