//! `elea state snapshot`.

use super::folder;
use crate::context::Context;
use crate::failure::Outcome;
use crate::text;
use elea_host::state::snapshot::{self, About, Entry, Snapshot};
use elea_host::state::{Kept, Nobody, Services, declared, services};
use serde::Serialize;

/// Copy what is declared, while the services that write it are stopped
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Declared paths [default: all]
    paths: Vec<String>,
    /// Why, for the list
    #[arg(long, default_value = "by hand")]
    reason: String,
    /// Do not stop services: the copy may be of a moment in the middle of a change
    #[arg(long)]
    live: bool,
    /// Remove this snapshot instead
    #[arg(long, value_name = "N", conflicts_with_all = ["paths", "reason", "live"])]
    remove: Option<u64>,
    /// Say what would be done and do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Planned {
    schema: &'static str,
    entries: Vec<Entry>,
}

#[derive(Serialize)]
struct Removed {
    schema: &'static str,
    number: u64,
    dry_run: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let machine = context.machine("elea state snapshot")?;
    let _claimed = machine.claim(std::time::Duration::ZERO)?;
    let folder = folder(&machine);
    if let Some(number) = args.remove {
        return remove(&folder, number, args.dry_run, context);
    }
    let list = declared(&machine)?;
    let kept = Kept::new(&folder, &list);
    if args.dry_run {
        let planned = Planned {
            schema: "elea.state-snapshot-plan/1",
            entries: snapshot::plan(&kept, &args.paths)?,
        };
        return context.show(&planned, |planned| {
            let line =
                |entry: &Entry| format!("would copy {} ({})", entry.path, text::size(entry.bytes));
            text::lines(planned.entries.iter().map(line))
        });
    }
    let about = About {
        reason: args
            .reason
            .chars()
            .filter(|c| !c.is_control())
            .take(200)
            .collect(),
        ..super::restore::about(&machine, "elea state snapshot")
    };
    let services = if args.live {
        &Nobody as &dyn Services
    } else {
        services(&machine)
    };
    let made = snapshot::take(&kept, &args.paths, about, services)?;
    context.show(&made, |made: &Snapshot| {
        let paths = made.entries.iter().map(|entry| entry.path.as_str());
        let paths: Vec<&str> = paths.collect();
        format!("snapshot {}: {}\n", made.number, paths.join(" "))
    })
}

fn remove(folder: &std::path::Path, number: u64, dry_run: bool, context: &Context) -> Outcome {
    if !snapshot::load(folder)
        .iter()
        .any(|one| one.number == number)
    {
        return Err(elea_host::state::Error::NoSnapshot(number).into());
    }
    if !dry_run {
        context.confirm(&format!("Snapshot {number} will be lost. Go on?"))?;
        snapshot::remove(folder, number)?;
    }
    let removed = Removed {
        schema: "elea.state-snapshot-removed/1",
        number,
        dry_run,
    };
    context.show(&removed, |removed| {
        let would = if removed.dry_run {
            "would remove"
        } else {
            "removed"
        };
        format!("{would} snapshot {}\n", removed.number)
    })
}
