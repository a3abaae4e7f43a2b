//! `elea home`.

mod apply;
mod declared;
mod exec;
mod generations;
mod inside;
mod packages;
mod remove;
mod rollback;
mod show;

use crate::context::Context;
use crate::failure::{Code, Failure, Outcome};
use elea_host::home::{self, Error, Home};
use std::path::PathBuf;

/// The commands about the home of the user who runs them.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Apply(apply::Args),
    Exec(exec::Args),
    #[command(hide = true)]
    Inside(inside::Args),
    Rollback(rollback::Args),
    Generations(generations::Args),
    Remove(remove::Args),
}

/// How a home is changed.
#[derive(Debug, clap::Args)]
struct Change {
    /// Move what is in the way to NAME.elea-1 (or the next number)
    #[arg(long)]
    backup: bool,
    /// Say what would be done and do nothing
    #[arg(long)]
    dry_run: bool,
}

impl Change {
    fn options(&self) -> home::Options {
        home::Options {
            dry_run: self.dry_run,
            backup: self.backup,
        }
    }
}

pub(crate) fn run(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Apply(args) => apply::run(&args, context),
        Command::Exec(args) => exec::run(&args, context),
        Command::Inside(args) => inside::run(&args, context),
        Command::Rollback(args) => rollback::run(&args, context),
        Command::Generations(args) => generations::run(&args, context),
        Command::Remove(args) => remove::run(&args, context),
    }
}

/// A folder that a variable names.
fn folder(variable: &str) -> Option<PathBuf> {
    let value = std::env::var_os(variable).filter(|value| !value.is_empty());
    value.map(PathBuf::from)
}

/// The home of whoever runs this.
fn home_path() -> Outcome<PathBuf> {
    folder("HOME").ok_or_else(|| {
        Failure::new(
            Code::Usage,
            "HOME is not set, so it is not known which home is meant",
        )
        .hint("set HOME to your home folder")
    })
}

/// Opens it.
fn open(context: &Context, change: bool) -> Outcome<Home> {
    if context.global.root != std::path::Path::new("/") {
        let text = "`--root` is of systems; `elea home` is about the home of the user who runs it";
        return Err(Failure::new(Code::Usage, text).hint("set HOME to act on another folder"));
    }
    let path = home_path()?;
    let data = folder("XDG_DATA_HOME").unwrap_or_else(|| path.join(".local/share"));
    Home::open(&path, &data, change).map_err(failed)
}

/// An error with its exit code.
fn failed(error: Error) -> Failure {
    match error {
        Error::Declared { .. } => Failure::new(Code::Config, error.to_string()),
        Error::Reverted(_) => Failure::new(Code::Reverted, error.to_string()),
        Error::Packages(error) => match error.downcast::<elea_compose::lock::Error>() {
            Ok(error) => Failure::from(*error),
            Err(error) => Failure::new(Code::Failed, error.to_string()),
        },
        Error::Damaged { .. } => Failure::new(Code::Verification, error.to_string()),
        other => Failure::from(other),
    }
}
