//! `elea etc diff`.

use crate::context::Context;
use crate::failure::Outcome;
use crate::text::{self, Lines};
use elea_etc::{Change, Edit};
use elea_host::etc::{self, EtcDiff};

/// List what was changed in /etc on this machine
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// List what is the machine's identity too: machine-id, ssh host keys
    #[arg(long)]
    all: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let machine = context.machine("elea etc diff")?;
    context.show(&etc::diff(&machine)?, |diff| lines(diff, args.all))
}

fn lines(diff: &EtcDiff, all: bool) -> String {
    let machine = diff.machine.iter().filter(|_| all);
    let mut out = text::lines(diff.edits.iter().chain(machine).map(line));
    if let Some(report) = &diff.report {
        for path in &report.conflicts {
            out.line(format!(
                "! /etc/{path} (changed by the release too; this machine's was kept)"
            ));
        }
        for clash in &report.clashes {
            out.line(format!("! {clash}"));
        }
    }
    out
}

fn line(edit: &Edit) -> String {
    let mark = match edit.change {
        Change::Added => '+',
        Change::Deleted => '-',
        Change::Modified | Change::Replaced => '~',
    };
    format!("{mark} /etc/{}", elea_etc::text(&edit.path))
}
