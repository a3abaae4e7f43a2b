//! `elea generate`: man pages and shell completions, for packagers.

use crate::failure::{Code, Outcome};
use clap::{CommandFactory, ValueEnum};
use elea_sys::At;
use std::path::PathBuf;

/// Write the man pages and the shell completions
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder to write to
    folder: PathBuf,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let command = crate::Arguments::command();
    let man = args.folder.join("man1");
    std::fs::create_dir_all(&man).at("create", &man)?;
    clap_mangen::generate_to(command.clone(), &man)?;
    let completions = args.folder.join("completions");
    std::fs::create_dir_all(&completions).at("create", &completions)?;
    for shell in clap_complete::Shell::value_variants() {
        clap_complete::generate_to(*shell, &mut command.clone(), "elea", &completions)?;
    }
    Ok(Code::Done)
}
