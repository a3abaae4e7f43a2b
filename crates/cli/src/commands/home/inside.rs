//! `elea home inside`: what `elea home apply` starts to install packages.

use crate::context::Context;
use crate::failure::{Code, Failure, Outcome};
use elea_compose::profile::inside::{self, Job};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often it is looked whether the program ended, or is to be stopped.
const PULSE: Duration = Duration::from_millis(5);

/// Run a program of a tree of packages, with that tree as the root folder and nothing of the machine
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The tree
    tree: PathBuf,
    /// A folder that is shown, read-only, at /mnt
    files: PathBuf,
    /// A file of it that is unpacked into the tree first
    #[arg(long, value_name = "NAME")]
    unpack: Vec<PathBuf>,
    /// Set for the first process in there
    #[arg(long)]
    first: bool,
    /// The program, and what it is told
    #[arg(last = true)]
    command: Vec<OsString>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    if args.first {
        let job = Job {
            tree: args.tree.clone(),
            files: args.files.clone(),
            unpack: args.unpack.clone(),
            command: args.command.clone(),
        };
        inside::become_program(&job)?;
        return Ok(Code::Done);
    }
    inside::enter()?;
    let mut again = Command::new(std::env::current_exe()?);
    again.args(["home", "inside", "--first"]);
    for name in &args.unpack {
        again.arg("--unpack").arg(name);
    }
    again.arg(&args.tree).arg(&args.files);
    again.arg("--").args(&args.command);
    let mut child = again.spawn()?;
    loop {
        if let Some(status) = child.try_wait()? {
            if status.success() {
                return Ok(Code::Done);
            }
            // It has said why.
            let text = format!("it ended with {status}");
            return Err(Failure::new(Code::Failed, text));
        }
        if context.cancelled.load(Ordering::Relaxed) {
            // All that it started ends with it.
            child.kill()?;
        }
        std::thread::sleep(PULSE);
    }
}
