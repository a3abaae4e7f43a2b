//! `elea image diff`.

use crate::context::Context;
use crate::failure::Outcome;
use crate::text::{self, Lines};
use elea_formats::digest::Digest;
use elea_store::{Change, Kind};
use serde::Serialize;

/// Show what differs between two images, path by path
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The old image: a name, a digest, or the beginning of one
    old: String,
    /// The new image
    new: String,
}

#[derive(Serialize)]
struct Shown {
    schema: &'static str,
    old: Digest,
    new: Digest,
    changes: Vec<Change>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let store = context.store()?;
    let (old, new) = (store.resolve(&args.old)?, store.resolve(&args.new)?);
    let shown = Shown {
        schema: "elea.image-diff/1",
        old,
        new,
        changes: store.diff(&old, &new)?,
    };
    context.show(&shown, |shown| lines(&shown.changes))
}

pub(crate) fn lines(changes: &[Change]) -> String {
    let mut out = String::new();
    for change in changes {
        let line = match change.kind {
            Kind::Added => format!("+ {}\n", change.path),
            Kind::Removed => format!("- {}\n", change.path),
            Kind::Changed => format!("~ {} ({})\n", change.path, change.fields.join(", ")),
        };
        out.push_str(&line);
    }
    let number = |kind| changes.iter().filter(|c| c.kind == kind).count();
    out.line(format!(
        "{}: {} added, {} removed, {} changed",
        text::count(changes.len() as u64, "difference"),
        number(Kind::Added),
        number(Kind::Removed),
        number(Kind::Changed)
    ));
    out
}
