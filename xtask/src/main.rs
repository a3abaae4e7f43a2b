//! The project's own commands, run as `cargo xtask NAME`.

use std::process::{Command, ExitCode};

mod packages;

fn main() -> ExitCode {
    let result = match std::env::args().nth(1).as_deref() {
        Some("test") => test(),
        _ => Err("usage: cargo xtask test".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            #[expect(clippy::print_stderr, reason = "this is the program's user interface")]
            {
                eprintln!("xtask: {why}");
            }
            ExitCode::FAILURE
        }
    }
}

fn test() -> Result<(), String> {
    packages::install(packages::TEST)?;
    run(Command::new("cargo").args(["test", "--workspace"]))
}

/// Runs a command with its output shown and fails with its command line.
fn run(command: &mut Command) -> Result<(), String> {
    let status = command
        .status()
        .map_err(|e| format!("cannot run {command:?}: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?} ended with {status}"))
    }
}
