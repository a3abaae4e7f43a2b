//! `elea log show`.

use super::lines;
use crate::context::Context;
use crate::failure::Outcome;
use crate::text::{self, Lines};
use elea_formats::oplog::Event;
use elea_host::log::{self, Evidence, History};
use std::path::Path;

/// Show a generation's history and the evidence that its failed boots left
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The generation's number
    number: u64,
    /// Show every file whole, not the ends of those of the last boot
    #[arg(long)]
    full: bool,
}

/// How many lines of a file are shown.
const TAIL: usize = 16;

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let machine = context.machine("elea log show")?;
    context.show(&log::show(&machine, args.number)?, |h| {
        history(h, args.full)
    })
}

fn history(history: &History, full: bool) -> String {
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
    let boots = boots(history);
    for (i, boot) in boots.iter().enumerate() {
        out.line(format!("\n{}", heading(history, boot)));
        let files = history.evidence.iter().filter(|e| e.boot == *boot);
        for file in files {
            if full {
                whole(&mut out, file);
            } else if i + 1 == boots.len() && !is_json(file) {
                end(&mut out, file);
            } else {
                out.line(format!("  {} ({})", file.path, length(file)));
            }
        }
    }
    match boots.len() {
        0 => out.line("\nno failed boot of it left evidence"),
        _ if full => {}
        _ => out.line(format!(
            "\n`elea log show {} --full` shows all of it",
            history.number
        )),
    }
    out
}

/// The boots that left evidence, as the log has them, oldest first. The log need not know one
/// that ended without a word.
fn boots(history: &History) -> Vec<&str> {
    let mut boots: Vec<&str> = history.evidence.iter().map(|e| e.boot.as_str()).collect();
    boots.dedup();
    let last = |boot: &str| {
        let at = |r: &elea_formats::oplog::Record| r.boot.as_deref() == Some(boot);
        history.records.iter().rposition(at)
    };
    boots.sort_by_key(|boot| last(boot));
    boots
}

/// What the log says of a boot.
fn heading(history: &History, boot: &str) -> String {
    let verdict = history.records.iter().find_map(|r| match &r.event {
        Event::Unhealthy { reason, .. } if r.boot.as_deref() == Some(boot) => {
            Some(format!(", {}: {reason}", r.time))
        }
        _ => None,
    });
    format!("boot {boot}{}", verdict.unwrap_or_default())
}

fn length(file: &Evidence) -> String {
    text::count(file.text.lines().count() as u64, "line")
}

fn is_json(file: &Evidence) -> bool {
    Path::new(&file.name)
        .extension()
        .is_some_and(|e| e == "json")
}

fn whole(out: &mut String, file: &Evidence) {
    let cut = if file.cut { " (its end)" } else { "" };
    out.line(format!("==> {}{cut}", file.path));
    file.text.lines().for_each(|line| out.line(line));
}

fn end(out: &mut String, file: &Evidence) {
    out.line(format!("==> {}", file.path));
    let all: Vec<&str> = file.text.trim_end().lines().collect();
    let hidden = all.len().saturating_sub(TAIL);
    if hidden > 0 {
        out.line(format!("  … {} before", text::count(hidden as u64, "line")));
    }
    for line in &all[hidden..] {
        out.line(format!("  {line}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use elea_formats::oplog::{Cause, Record, SCHEMA};
    use elea_host::view::State;

    fn record(sequence: u64, boot: &str) -> Record {
        Record {
            schema: SCHEMA.into(),
            sequence,
            time: format!("2026-01-0{sequence}T00:00:00Z"),
            boot: Some(boot.into()),
            by: "elea agent boot".into(),
            event: Event::Unhealthy {
                number: 3,
                reason: "it failed".into(),
                cause: Cause::Health,
            },
        }
    }

    fn file(boot: &str, name: &str, lines: usize) -> Evidence {
        Evidence {
            boot: boot.into(),
            name: name.into(),
            path: format!("/elea/generations/3/evidence/{boot}/{name}"),
            text: (1..=lines)
                .map(|i| format!("{name} {i}\n"))
                .collect::<Vec<_>>()
                .concat(),
            cut: false,
        }
    }

    #[test]
    fn the_end_of_the_last_boot_is_shown_and_the_rest_is_named() {
        let shown = History {
            schema: log::EVIDENCE_SCHEMA,
            number: 3,
            state: State::Failed,
            reason: Some("it failed".into()),
            generation: None,
            // The later boot has the id that sorts first.
            records: vec![record(1, "b"), record(2, "a")],
            evidence: vec![
                file("a", "journal.txt", 100),
                file("a", "verdict.json", 5),
                file("b", "journal.txt", 100),
            ],
        };
        let text = history(&shown, false);
        let (first, second) = (
            text.find("\nboot b, ").unwrap(),
            text.find("\nboot a, ").unwrap(),
        );
        assert!(first < second, "{text}");
        assert!(
            text.contains("evidence/b/journal.txt (100 lines)"),
            "{text}"
        );
        assert!(text.contains("evidence/a/verdict.json (5 lines)"), "{text}");
        assert!(
            text.contains("… 84 lines before\n  journal.txt 85\n"),
            "{text}"
        );
        assert!(
            text.ends_with("`elea log show 3 --full` shows all of it\n"),
            "{text}"
        );
        let full = history(&shown, true);
        assert_eq!(full.matches("\njournal.txt ").count(), 200, "{full}");
        assert!(!full.contains("--full"));
    }
}
