//! `elea state adopt`.

use crate::context::Context;
use crate::failure::Outcome;
use crate::text;
use elea_host::state::adopt;

/// Print the lines of a config that keep a directory or file
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The path, below /etc or /var
    path: String,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let machine = context.machine("elea state adopt")?;
    let lines = adopt::lines(&machine, &args.path)?;
    let done = context.show(&lines, |lines| text::lines(lines.lines.iter().cloned()))?;
    if lines.is_fresh {
        context.say(&format!(
            "what is in {} now is gone at the next boot all the same: copy it elsewhere first",
            lines.path
        ));
    }
    Ok(done)
}
