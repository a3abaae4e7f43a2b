//! The program `elea`.
//!
//! One file for each command in `commands/`; what they do is in the libraries. A command
//! reads its options, calls the library, and prints: data to stdout, everything else to stderr.

mod bars;
mod commands;
mod context;
mod failure;
mod interrupt;
mod options;
mod password;
mod places;
mod text;
mod treemap;

use clap::Parser;
use context::{Context, Global};
use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

/// One engine for immutable Linux
///
/// Elea builds an immutable system from one file, installs it, upgrades it, and brings the
/// machine back by itself when a release is bad.
#[derive(Debug, Parser)]
#[command(name = "elea", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: commands::Command,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let cancelled = interrupt::watch();
    let context = Context::new(arguments.global, cancelled);
    match commands::run(arguments.command, &context) {
        Ok(code) => ExitCode::from(code as u8),
        Err(failure) => {
            let interrupted = context.cancelled.load(Ordering::Relaxed);
            let _ = writeln!(std::io::stderr(), "{}", failure.message(interrupted));
            interrupt::pass_on();
            ExitCode::from(failure.code as u8)
        }
    }
}
