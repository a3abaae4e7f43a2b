//! `elea log`.

mod show;

use crate::context::Context;
use crate::failure::Outcome;
use crate::text;
use elea_formats::oplog::{Event, Record, Until};
use elea_host::log;

/// Show what happened on this machine, and what failed boots left
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Only the last this many
    #[arg(long, short = 'n', value_name = "NUMBER")]
    last: Option<usize>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Show(show::Args),
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    if let Some(Command::Show(args)) = &args.command {
        return show::run(args, context);
    }
    let machine = context.machine("elea log")?;
    let mut log = log::log(&machine)?;
    let extra = log
        .records
        .len()
        .saturating_sub(args.last.unwrap_or(usize::MAX));
    log.records.drain(..extra);
    if let Some(damage) = &log.damage {
        context.say(&format!("the log is damaged: {damage}"));
    }
    context.show(&log, |log| lines(&log.records))
}

/// Records, one a line.
fn lines(records: &[Record]) -> String {
    let rows = records.iter().map(|r| {
        vec![
            r.sequence.to_string(),
            r.time.clone(),
            r.by.clone(),
            event(&r.event),
        ]
    });
    text::table(&["N", "TIME", "BY", "WHAT"], rows.collect())
}

fn event(event: &Event) -> String {
    match event {
        Event::Staging {
            number,
            version,
            from,
            ..
        } => match from {
            Some(from) => format!("generation {number} is staged: {version}, as {from} was"),
            None => format!("generation {number} is staged: {version}"),
        },
        Event::Armed { number } => format!("generation {number} boots next, on trial"),
        Event::Unstaged { number } => format!("generation {number} was taken back"),
        Event::Healthy { number } => format!("generation {number} is healthy"),
        Event::Unhealthy { number, reason, .. } => {
            format!("generation {number} is not healthy: {reason}")
        }
        Event::Committed { number } => format!("generation {number} is good"),
        Event::Failed {
            number,
            reason,
            refused,
            ..
        } => {
            let again = if *refused {
                "; it is not offered again"
            } else {
                ""
            };
            format!("generation {number} failed: {reason}{again}")
        }
        Event::Retried { number, .. } => format!("generation {number} may be tried again"),
        Event::Pinned { number } => format!("generation {number} is kept"),
        Event::Unpinned { number } => format!("generation {number} is not kept any more"),
        Event::Collected { numbers } => {
            let numbers: Vec<_> = numbers.iter().map(ToString::to_string).collect();
            format!("removed: {}", numbers.join(", "))
        }
        Event::Loader { path, from, to } => {
            let from = from.as_deref().unwrap_or("none");
            format!("boot loader {path}: {from} → {to}")
        }
        Event::Applied { number, until, .. } => {
            let until = match until {
                Until::Kept => "and stays",
                Until::Confirmed => "until it is taken back, or confirmed",
                Until::Reboot => "until the next boot",
                Until::Unknown => "as a newer elea says",
            };
            format!("generation {number} runs, without a boot, {until}")
        }
        Event::Reverted {
            number,
            to,
            reason,
            missed,
        } => {
            let missed = match missed.len() {
                0 => String::new(),
                n => format!(
                    "; {} could not be taken back",
                    text::count(n as u64, "step")
                ),
            };
            format!("generation {number} was taken back, {to} runs again: {reason}{missed}")
        }
        Event::Reboot { number, reason } => format!("reboot out of generation {number}: {reason}"),
        Event::Repaired { what } => format!("repaired: {what}"),
        Event::Unknown => "an event of a newer elea".into(),
    }
}
