//! `elea lock`.

use crate::context::Context;
use crate::failure::Outcome;
use crate::{options, text};
use elea_compose::config::{Config, Findings};
use elea_compose::lock::{self, Loaded, Lock};
use elea_formats::release::Package;
use elea_host::diff::{Packages, package_changes};
use serde::Serialize;
use std::path::PathBuf;

/// Pin the packages of a config: write its lock, and build nothing
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The config's file; `-` is what comes by stdin
    #[arg(default_value = options::CONFIG)]
    config: PathBuf,
    #[command(flatten)]
    inputs: options::Inputs,
    /// Show what would change and write nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Shown {
    schema: &'static str,
    lock: PathBuf,
    packages: usize,
    changes: Packages,
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
    let resolved =
        lock::resolve(&config, &options, &context.bars()).map_err(|e| context.build_error(e))?;
    if !args.dry_run {
        lock::save(&config, &resolved)?;
    }
    show(&config, before.as_ref(), &resolved, args.dry_run, context)
}

/// Prints how many packages there are, and what is other than before.
pub(super) fn show(
    config: &Config,
    before: Option<&Loaded>,
    lock: &Lock,
    dry_run: bool,
    context: &Context,
) -> Outcome {
    let old = before.map(|b| list(&b.lock));
    let shown = Shown {
        schema: "elea.lock-change/1",
        lock: lock::path_of(config),
        packages: lock.packages.len(),
        changes: package_changes(old.as_deref().unwrap_or_default(), &list(lock)),
        dry_run,
    };
    context.show(&shown, |s| {
        let path = s.lock.display();
        let number = text::count(s.packages as u64, "package");
        let mut out = format!("{path}: {number}\n");
        // Of a first lock everything would be new.
        if old.is_some() {
            out.push_str(&super::diff::packages(&s.changes));
        }
        out
    })
}

fn list(lock: &Lock) -> Vec<Package> {
    let packages = lock.packages.iter().map(|p| Package {
        name: p.name.clone(),
        version: p.version.clone(),
        architecture: p.architecture.clone(),
    });
    packages.collect()
}
