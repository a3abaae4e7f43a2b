//! `elea diff`.

use crate::commands::image::lines;
use crate::context::Context;
use crate::failure::Outcome;
use crate::text;
use elea_host::diff::{Diff, Packages, UnitChanges, diff};

/// Show what differs between two generations
///
/// Without B it is what runs; without both, what runs is compared with what boots next, or with the
/// good one before it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The old generation's number
    #[arg(value_name = "A")]
    old: Option<u64>,
    /// The new generation's number
    #[arg(value_name = "B")]
    new: Option<u64>,
    /// List every file
    #[arg(long)]
    files: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let machine = context.machine("elea diff")?;
    context.show(&diff(&machine, args.old, args.new)?, |d| {
        let mut out = summary(d);
        out.push_str(&packages(&d.packages));
        out.push_str(&units(&d.units));
        if args.files {
            out.push_str(&lines(&d.files));
        }
        out
    })
}

fn summary(d: &Diff) -> String {
    text::facts(&[
        (
            "from",
            Some(format!("{} ({})", d.from.number, d.from.title)),
        ),
        ("to", Some(format!("{} ({})", d.to.number, d.to.title))),
        ("new content", Some(text::size(d.new_bytes))),
        ("gone content", Some(text::size(d.old_bytes))),
        (
            "files",
            Some(format!(
                "{} (--files lists them)",
                text::count(d.files.len() as u64, "difference")
            )),
        ),
        (
            "kernel or initrd",
            Some(if d.kernel { "differ" } else { "the same" }.into()),
        ),
        (
            "arguments",
            d.options.as_ref().map(|(a, b)| format!("- {a}\n+ {b}")),
        ),
    ])
}

/// Units that came, went, changed, and start or do not any more, one kind a line.
fn units(units: &UnitChanges) -> String {
    let kinds = [
        ("units added", &units.added),
        ("units removed", &units.removed),
        ("units changed", &units.changed),
        ("now start", &units.enabled),
        ("start no more", &units.disabled),
    ];
    let told = kinds.map(|(what, names)| (what, (!names.is_empty()).then(|| names.join(", "))));
    text::facts(&told)
}

/// Packages that came, went and changed, one a line.
pub(crate) fn packages(p: &Packages) -> String {
    let (added, removed, changed) = (p.added.iter(), p.removed.iter(), p.changed.iter());
    let added = added.map(|p| format!("+ {} {}", p.name, p.version));
    let removed = removed.map(|p| format!("- {} {}", p.name, p.version));
    let changed = changed.map(|p| format!("~ {} {} → {}", p.name, p.from, p.to));
    text::lines(added.chain(removed).chain(changed))
}
