//! `elea lock`.

use crate::context::Context;
use crate::failure::Outcome;
use crate::{options, text};
use elea_compose::config::{Config, Findings};
use elea_compose::lock::{self, Change, Changes, Loaded, Lock, Package};
use serde::Serialize;
use std::path::PathBuf;

/// Pin the packages of a config and keep them: write its lock, and build nothing
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The config's file; `-` is what comes by stdin
    #[arg(default_value = options::CONFIG)]
    config: PathBuf,
    #[command(flatten)]
    inputs: options::Inputs,
    /// Show what would change, and write and fetch nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Shown {
    schema: &'static str,
    lock: PathBuf,
    packages: usize,
    changes: Changes,
    /// Bytes of packages that are not kept yet.
    to_fetch: u64,
    dry_run: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let config = context.checked_config(
        &args.config,
        args.inputs.purpose(false),
        Findings::default(),
    )?;
    let options = args.inputs.options(context)?;
    let before = lock::load(&config)?;
    let bars = context.bars();
    let resolved = lock::resolve(&config, &options, &bars).map_err(|e| context.build_error(e))?;
    let to_fetch = lock::to_fetch(&resolved, &options)?;
    if !args.dry_run {
        lock::fetch(&config, &resolved, &options, &bars).map_err(|e| context.build_error(e))?;
        lock::save(&config, &resolved)?;
    }
    show(
        &config,
        before.as_ref(),
        &resolved,
        to_fetch,
        args.dry_run,
        context,
    )
}

/// Prints how many packages there are, and what is other than before.
pub(super) fn show(
    config: &Config,
    before: Option<&Loaded>,
    lock: &Lock,
    to_fetch: u64,
    dry_run: bool,
    context: &Context,
) -> Outcome {
    let old = before.map(|b| &b.lock);
    let shown = Shown {
        schema: "elea.lock-change/1",
        lock: lock::path_of(config),
        packages: lock.packages.len(),
        changes: lock::changes(old, lock),
        to_fetch,
        dry_run,
    };
    context.show(&shown, |s| {
        let path = s.lock.display();
        let number = text::count(s.packages as u64, "package");
        let fetch = match (s.to_fetch, s.dry_run) {
            (0, _) => "all kept".into(),
            (bytes, true) => format!("{} to fetch", text::size(bytes)),
            (bytes, false) => format!("{} fetched", text::size(bytes)),
        };
        let mut out = format!("{path}: {number}, {fetch}\n");
        // Of a first lock everything would be new.
        if old.is_some() {
            out.push_str(&list(&s.changes));
        }
        out
    })
}

/// What changed, one package a line, and a sum.
fn list(c: &Changes) -> String {
    if c.is_empty() {
        return "nothing moved\n".into();
    }
    let whole = |mark: char, p: &Package| {
        format!("{mark} {} {} ({})", p.name, p.version, text::size(p.size))
    };
    let added = c.added.iter().map(|p| whole('+', p));
    let removed = c.removed.iter().map(|p| whole('-', p));
    let changed = c.changed.iter().map(|p| {
        let what = if p.kind == "upgrade" { "" } else { p.kind };
        let space = if what.is_empty() { "" } else { ", " };
        let size = difference(p);
        format!("~ {} {} → {} ({size}{space}{what})", p.name, p.from, p.to)
    });
    let mut out = text::lines(added.chain(removed).chain(changed));
    let of = |kind: &str| c.changed.iter().filter(|p| p.kind == kind).count();
    let counts = [
        (c.added.len(), "added"),
        (c.removed.len(), "removed"),
        (of("upgrade"), "upgraded"),
        (of("downgrade"), "downgraded"),
        (of("rebuild"), "rebuilt"),
    ];
    let counts = counts.iter().filter(|(n, _)| *n > 0);
    let counts: Vec<String> = counts.map(|(n, what)| format!("{n} {what}")).collect();
    out.push_str(&counts.join(", "));
    out.push('\n');
    out
}

/// How much larger or smaller a package's file became.
fn difference(change: &Change) -> String {
    let sign = if change.size < change.old_size {
        "-"
    } else {
        "+"
    };
    format!(
        "{sign}{}",
        text::size(change.size.abs_diff(change.old_size))
    )
}
