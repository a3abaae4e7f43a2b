//! The project's own commands, run as `cargo xtask NAME`.
//!
//! `demo` is the whole story from one config file to a machine that heals itself; `vm` the
//! scenarios of failure, each on a real machine under QEMU; `test` everything that CI runs;
//! `contained` the same system in namespaces; `bench` the figures; `fuzz` gives libFuzzer what is read from outside. All of them drive the programs `elea` and `ssh` as a person would.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is the program's user interface"
)]

use elea_testkit::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

mod bench;
mod contained;
mod demo;
mod fuzz;
mod guest;
mod judges;
mod packages;
mod programs;
mod talk;
mod test;
mod vm;
mod works;

/// What every part gives.
pub(crate) type Result<T> = std::result::Result<T, Error>;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  demo [--keep] [--interactive] [--work DIR] [--break health|panic|hang]
                       from one file to a machine that updates and heals itself
  test [--no-vm]       packages, every test, the demo, and the scenarios that fit
  vm NAME… | --list | --all | --report [--work DIR] [--begin-within SECONDS]
                       scenarios of failure on machines under QEMU; --all and --report
                       write docs/failures.md
  contained [--work DIR] [--built]
                       live switches of an image's own system in namespaces, in seconds
  bench [import|build|config|live|apply|fetch|layers|boot|sizes|store]… [--rounds N] [--tree DIR] [--work DIR]
                       the figures of docs/bench/main-job.md and store.md
  bench store --row NAME…   rows of the store's table alone
  bench --plot [--most N]   the curves of docs/bench/*.svg, for trees of up to N files
  fuzz [TARGET]… [--seconds N]
                       everything that is read from outside, given to libFuzzer
  gen                  man pages and shell completions, into target/generated";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, words)) = words.split_first() else {
        return usage();
    };
    let result = match command.as_str() {
        "demo" => match demo::Options::parse(words) {
            Ok(options) => return demo::run(&options),
            Err(e) => Err(e),
        },
        "test" => return test::run(words),
        "bench" => bench::run(words),
        "contained" => contained::check(words),
        "fuzz" => fuzz::run(words),
        "gen" => generate(),
        "vm" => vm::run(words),
        _ => return usage(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("xtask: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Writes what is generated from the command line's types.
fn generate() -> Result<()> {
    let programs = programs::build()?;
    let folder = programs::target_folder().join("generated");
    show(Command::new(programs.elea).arg("generate").arg(&folder))?;
    println!("written to {}", folder.display());
    Ok(())
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

/// The folder of the workspace.
pub(crate) fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Runs a command with its output shown; it must end well.
pub(crate) fn show(command: &mut Command) -> Result<()> {
    let line = talk::line(command);
    let status = command
        .status()
        .map_err(|e| Error::other(format!("cannot run `{line}`: {e}")))?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::other(format!("`{line}` ended with {status}")))
    }
}
