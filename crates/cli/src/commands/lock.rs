//! `elea lock`.

use crate::context::Context;
use crate::failure::Outcome;
use crate::text::Lines as _;
use crate::{options, text};
use elea_compose::config::{Config, Findings};
use elea_compose::family::{self, Locks};
use elea_compose::lock::{self, Change, Changes, Loaded, Lock, Options, Package};
use serde::Serialize;
use std::collections::BTreeMap;
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
    #[serde(flatten)]
    system: Locked,
    dry_run: bool,
    /// The specialisations that have locks of their own.
    specialisations: BTreeMap<String, Locked>,
}

/// What became of one lock.
#[derive(Serialize)]
struct Locked {
    lock: PathBuf,
    packages: usize,
    changes: Changes,
    /// Bytes of packages that are not kept yet.
    to_fetch: u64,
    /// Of a first lock everything would be new.
    #[serde(skip)]
    is_first: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let config = context.checked_config(
        &args.config,
        args.inputs.purpose(false),
        Findings::default(),
    )?;
    let options = args.inputs.options(context)?;
    let before = Before::load(&config)?;
    let bars = context.bars();
    let locks = family::resolve(&config, &options, &bars).map_err(|e| context.build_error(e))?;
    let shown = shown(&config, &before, &locks, &options, args.dry_run)?;
    if !args.dry_run {
        for lock in locks.specialisations.values().chain([&locks.system]) {
            lock::fetch(&config, lock, &options, &bars).map_err(|e| context.build_error(e))?;
        }
        family::save(&config, &locks)?;
    }
    context.show(&shown, told)
}

/// The locks that were there.
pub(super) struct Before {
    system: Option<Loaded>,
    specialisations: BTreeMap<String, Option<Loaded>>,
}

impl Before {
    pub(super) fn load(config: &Config) -> Outcome<Self> {
        let mut specialisations = BTreeMap::new();
        for (name, special) in &config.specialisation {
            specialisations.insert(name.clone(), lock::load(special)?);
        }
        Ok(Self {
            system: lock::load(config)?,
            specialisations,
        })
    }
}

/// Prints how many packages there are, and what is other than before.
pub(super) fn show(
    config: &Config,
    before: &Before,
    locks: &Locks,
    options: &Options,
    dry_run: bool,
    context: &Context,
) -> Outcome {
    context.show(&shown(config, before, locks, options, dry_run)?, told)
}

fn shown(
    config: &Config,
    before: &Before,
    locks: &Locks,
    options: &Options,
    dry_run: bool,
) -> Outcome<Shown> {
    let one = |path: PathBuf, before: Option<&Loaded>, lock: &Lock| -> Outcome<Locked> {
        Ok(Locked {
            lock: path,
            packages: lock.packages.len(),
            changes: lock::changes(before.map(|b| &b.lock), lock),
            to_fetch: lock::to_fetch(lock, options)?,
            is_first: before.is_none(),
        })
    };
    let mut specialisations = BTreeMap::new();
    for (name, lock) in &locks.specialisations {
        if lock.request != locks.system.request {
            let old = before.specialisations.get(name).and_then(Option::as_ref);
            let path = config.path.with_extension(format!("{name}.lock"));
            specialisations.insert(name.clone(), one(path, old, lock)?);
        }
    }
    Ok(Shown {
        schema: "elea.lock-change/1",
        system: one(lock::path_of(config), before.system.as_ref(), &locks.system)?,
        dry_run,
        specialisations,
    })
}

fn told(s: &Shown) -> String {
    let all = [&s.system].into_iter().chain(s.specialisations.values());
    let mut out = String::new();
    for one in all {
        let path = one.lock.display();
        let number = text::count(one.packages as u64, "package");
        let fetch = match (one.to_fetch, s.dry_run) {
            (0, _) => "all kept".into(),
            (bytes, true) => format!("{} to fetch", text::size(bytes)),
            (bytes, false) => format!("{} fetched", text::size(bytes)),
        };
        out.line(format!("{path}: {number}, {fetch}"));
        if !one.is_first {
            out.push_str(&list(&one.changes));
        }
    }
    out
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
