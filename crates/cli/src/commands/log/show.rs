//! `elea log show`.

use super::lines;
use crate::context::Context;
use crate::failure::Outcome;
use crate::text::{self, Lines};
use elea_host::log::{self, History};

/// Show a generation's history and the evidence that its failed boots left
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The generation's number
    number: u64,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let machine = context.machine("elea log show")?;
    context.show(&log::show(&machine, args.number)?, history)
}

fn history(history: &History) -> String {
    let generation = history.generation.as_ref();
    let mut out = text::facts(&[
        ("generation", Some(history.number.to_string())),
        ("title", generation.map(|g| g.title.clone())),
        ("state", Some(text::word(&history.state))),
        ("reason", history.reason.clone()),
        ("image", generation.map(|g| g.image.to_string())),
    ]);
    out.push('\n');
    out.push_str(&lines(&history.records));
    for evidence in &history.evidence {
        let cut = if evidence.cut { " (its end)" } else { "" };
        out.line(format!("\n==> {}{cut}", evidence.path));
        out.push_str(&evidence.text);
        if !evidence.text.ends_with('\n') {
            out.push('\n');
        }
    }
    if history.evidence.is_empty() {
        out.push_str("\nno failed boot of it left evidence\n");
    }
    out
}
