//! `elea generations`.

use crate::context::Context;
use crate::failure::Outcome;
use crate::text;
use elea_host::generations::{Line, generations};

/// List the generations of this machine
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args, context: &Context) -> Outcome {
    let machine = context.machine("elea generations")?;
    context.show(&generations(&machine)?, |list| {
        let rows = list.generations.iter().map(row);
        let head = ["N", "STATE", "", "TITLE", "IMAGE", "MADE", "NOTES"];
        text::table(&head, rows.collect())
    })
}

fn row(line: &Line) -> Vec<String> {
    let mark = match (line.running, line.next) {
        (true, true) => "runs, next",
        (true, false) => "runs",
        (false, true) => "next",
        (false, false) => "",
    };
    let mut notes = Vec::new();
    if line.pinned {
        notes.push("pinned".to_owned());
    }
    if let Some(from) = line.from {
        notes.push(format!("from {from}"));
    }
    if let Some(one) = &line.specialisation {
        notes.push(format!("{} of {}", one.name, one.of));
    }
    if let Some(counter) = &line.counter {
        notes.push(format!("{} left", text::count(counter.left.into(), "try")));
    }
    notes.extend(line.reason.clone());
    vec![
        line.number.to_string(),
        text::word(&line.state),
        mark.into(),
        line.title.clone().unwrap_or_default(),
        line.image.map(|d| d.short()).unwrap_or_default(),
        line.created.as_deref().map(text::ago).unwrap_or_default(),
        notes.join("; "),
    ]
}
