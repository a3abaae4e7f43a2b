//! A plan as a person reads it.

use crate::context::Context;
use crate::failure::{Code, Failure, Outcome};
use crate::text::{self, Lines as _};
use elea_host::home::plan::{Action, Change, HomePlan};

/// Prints a plan, and what is in the way.
pub(super) fn plan(plan: &HomePlan, context: &Context) -> Outcome {
    if plan.collisions.is_empty() {
        let done = context.show(plan, lines)?;
        return match plan.failed[..] {
            [] => Ok(done),
            _ => Err(failed(plan)),
        };
    }
    if context.global.json {
        context.show(plan, lines)?;
    }
    let rows = plan
        .collisions
        .iter()
        .map(|c| vec![c.path.clone(), c.what.clone()]);
    let table = text::table(&["IN THE WAY", ""], rows.collect());
    let number = text::count(plan.collisions.len() as u64, "path");
    let text = format!(
        "{number} cannot be written; nothing was done\n\n{}",
        text::plain(&table)
    );
    let help = "`--backup` moves what is in the way to NAME.elea-1; a link that leads out of the home is yours to move";
    Err(Failure::new(Code::Config, text.trim_end().to_owned()).hint(help))
}

/// Everything is in its place, and units of it do not run.
fn failed(plan: &HomePlan) -> Failure {
    let list = plan.failed.join(" ");
    let number = text::count(plan.failed.len() as u64, "unit");
    let text = format!("{number} failed: {list}; the rest is in use");
    let help = format!(
        "`systemctl --user status {list}` says why; `elea home rollback` goes back to what was"
    );
    Failure::new(Code::Failed, text).hint(help)
}

fn lines(plan: &HomePlan) -> String {
    let mut out = String::new();
    let shown = plan
        .changes
        .iter()
        .filter(|c| c.action != Action::Keep || !c.notes.is_empty());
    for change in shown {
        out.line(text::plain(&line(change)));
        for note in &change.notes {
            out.line(text::plain(&format!("    {note}")));
        }
    }
    for note in &plan.notes {
        out.line(text::plain(note));
    }
    if !plan.packages.is_empty() && plan.from != plan.to {
        let packages = plan.packages.join(", ");
        out.line(format!("packages: {packages}"));
    }
    let would = if plan.dry_run { " would be" } else { " is" };
    out.line(match (plan.from, plan.to) {
        (_, None) => format!("everything{would} taken back"),
        (Some(from), Some(to)) if from == to && out.is_empty() => {
            format!("generation {to} is in use; nothing differs")
        }
        (Some(from), Some(to)) if from == to => format!("generation {to} is in use, as before"),
        (_, Some(to)) => format!("generation {to}{would} in use"),
    });
    out
}

fn line(change: &Change) -> String {
    let sign = match change.action {
        Action::Create => '+',
        Action::Replace | Action::Merge => '~',
        Action::Adopt => '=',
        Action::Keep | Action::Leave => ' ',
        Action::Remove => '-',
    };
    let backup = match &change.backup {
        Some(to) => format!(" (what was there is {to})"),
        None => String::new(),
    };
    format!("{sign} {}{backup}", change.path)
}
