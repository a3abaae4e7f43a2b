//! `elea etc reset`.

use crate::context::Context;
use crate::failure::Outcome;
use crate::text;
use elea_host::etc;

/// Make files of /etc the image's again
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Paths, with or without /etc; a folder stands for all in it
    #[arg(required = true)]
    paths: Vec<String>,
    /// Say what would be done and do nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let machine = context.machine("elea etc reset")?;
    if !args.dry_run {
        context.confirm(&format!(
            "This machine's changes of {} will be lost. Go on?",
            args.paths.join(", ")
        ))?;
    }
    let done = etc::reset(&machine, &args.paths, args.dry_run)?;
    context.show(&done, |done| {
        let would = if done.dry_run { "would reset" } else { "reset" };
        let paths = done.paths.iter();
        text::lines(paths.map(|path| format!("{would} /etc/{path}")))
    })
}
