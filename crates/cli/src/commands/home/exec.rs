//! `elea home exec`.

use super::{failed, open};
use crate::context::Context;
use crate::failure::{Code, Failure, Outcome};
use elea_host::home::profile;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Run a program of the packages of your home
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The profile's folder [default: that of the generation in use]
    #[arg(long, value_name = "DIR", hide = true)]
    profile: Option<PathBuf>,
    /// Its name or path, and what it is told
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let folder = match &args.profile {
        Some(folder) => folder.clone(),
        None => open(context, false)?.profile_in_use().map_err(failed)?,
    };
    let Some((program, rest)) = args.command.split_first() else {
        return Err(Failure::new(Code::Usage, "which program?"));
    };
    let path = profile::enter(&folder).map_err(failed)?;
    let name = Path::new(program);
    let found = if name.components().count() > 1 {
        Some(name.to_owned())
    } else {
        let folders = std::env::split_paths(&path).map(|folder| folder.join(name));
        folders.into_iter().find(|at| at.is_file())
    };
    let Some(found) = found else {
        let text = format!(
            "the packages of this home have no program {}",
            name.display()
        );
        return Err(Failure::new(Code::Failed, text).hint("`elea home generations` lists them"));
    };
    let why = Command::new(&found).args(rest).env("PATH", &path).exec();
    let text = format!("cannot run {}: {why}", found.display());
    Err(Failure::new(Code::Failed, text))
}
