//! `elea state restore`.

use super::folder;
use crate::context::Context;
use crate::failure::Outcome;
use crate::text;
use elea_host::Machine;
use elea_host::state::restore::{self, Restored};
use elea_host::state::snapshot::About;
use elea_host::state::{Kept, declared, services};

/// Make what is declared what it was in a snapshot, after a snapshot of what it is
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The snapshot's number
    number: u64,
    /// Declared paths [default: all that the snapshot has]
    paths: Vec<String>,
    /// Say what would be done and do nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let machine = context.machine("elea state restore")?;
    let _claimed = machine.claim(std::time::Duration::ZERO)?;
    let (folder, list) = (folder(&machine), declared(&machine)?);
    let kept = Kept::new(&folder, &list);
    let (_, paths) = restore::plan(&kept, args.number, &args.paths)?;
    if args.dry_run {
        let planned = Restored {
            schema: restore::SCHEMA,
            snapshot: args.number,
            paths,
            before: None,
            dry_run: true,
        };
        return context.show(&planned, lines);
    }
    context.confirm(&format!(
        "{} will be as in snapshot {}. Go on?",
        paths.join(", "),
        args.number
    ))?;
    // What was cut short comes first: it would be the snapshot of what is there.
    let services = services(&machine);
    restore::resume(&kept, services)?;
    let about = About {
        reason: format!("before snapshot {} was restored", args.number),
        ..about(&machine, "elea state restore")
    };
    let done = restore::restore(&kept, args.number, &args.paths, about, services)?;
    context.show(&done, lines)
}

/// Who makes a snapshot, and when.
pub(super) fn about(machine: &Machine, by: &str) -> About {
    let context = machine.context();
    About {
        time: context.time,
        by: by.to_owned(),
        generation: machine.number(),
        ..About::default()
    }
}

fn lines(done: &Restored) -> String {
    let would = if done.dry_run {
        "would restore"
    } else {
        "restored"
    };
    let mut lines: Vec<String> = done
        .paths
        .iter()
        .map(|path| format!("{would} {path}"))
        .collect();
    lines.extend(
        done.before
            .map(|number| format!("what was there is snapshot {number}")),
    );
    text::lines(lines)
}
