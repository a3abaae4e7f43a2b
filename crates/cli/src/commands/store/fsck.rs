//! `elea store fsck`.

use crate::context::Context;
use crate::failure::{Code, Outcome};
use crate::options::Network;
use crate::text::{self, Lines};
use elea_formats::digest::Digest;
use elea_host::fsck::Report;
use elea_net::Repaired;
use elea_store::repair::Source;
use elea_store::{Check, Store};
use serde::Serialize;
use std::path::PathBuf;

/// Read every byte of the store and name everything that is wrong
///
/// On a machine its boot partition, entries, generations and log are checked too.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Put right what is wrong: fetch damaged objects from where their images came from
    #[arg(long)]
    repair: bool,
    /// Take objects from here first: another store, or any folder that has the files
    #[arg(long, value_name = "DIR", requires = "repair")]
    from: Option<PathBuf>,
    #[command(flatten)]
    network: Network,
}

#[derive(Serialize)]
struct Shown {
    /// After the repair, if there was one.
    #[serde(flatten)]
    check: Check,
    /// What was asked for by `--repair`.
    repair: Option<Repaired>,
    /// What the machine's other disks and files say, if the store is a machine's.
    machine: Option<Report>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let machine = context.machine_of_store("elea store fsck")?;
    let store = match &machine {
        Some(machine) => machine.store()?,
        None => context.store()?,
    };
    let (repair, check) = if args.repair {
        let from = args.from.as_deref().map(Source::open).transpose()?;
        let mut options = args.network.options()?;
        if let Some(machine) = &machine {
            options.plain_hosts = elea_host::upgrade::plain_hosts(&machine.view()?);
        }
        let done = elea_net::repair(&store, from.as_ref(), &options, &context.bars())?;
        (Some(done.0), done.1)
    } else {
        (None, store.fsck(&context.bars())?)
    };
    let names = store.refs()?;
    let found = match &machine {
        Some(machine) => Some(elea_host::fsck::check(&machine.view()?, machine.disks()?)?),
        None => None,
    };
    let clean = check.findings.is_empty() && found.as_ref().is_none_or(Report::is_clean);
    let shown = Shown {
        check,
        repair,
        machine: found,
    };
    context.show(&shown, |shown| {
        let (check, mut out) = (&shown.check, String::new());
        if let Some(repair) = &shown.repair {
            out.push_str(&told(repair));
        }
        for finding in &check.findings {
            out.line(format!("{}: {}", finding.path.display(), finding.what));
            for image in &finding.images {
                let all = names.iter().filter(|(_, d)| *d == image);
                let all: Vec<_> = all.map(|(name, _)| name.as_str()).collect();
                out.line(format!("  used by {image} {}", called(&store, image, &all)).trim_end());
            }
        }
        for finding in shown.machine.iter().flat_map(|report| &report.findings) {
            let what = text::word(&finding.severity);
            out.line(format!("{what}: {}", finding.what));
        }
        out.push_str(&summary(check));
        out
    })?;
    Ok(if clean {
        Code::Done
    } else {
        Code::Verification
    })
}

/// What a repair did and could not do.
fn told(repair: &Repaired) -> String {
    let mut out = String::new();
    for step in &repair.done {
        out.line(format!("{}: {}", step.path.display(), step.what));
    }
    for step in &repair.failed {
        out.line(format!(
            "not repaired: {}: {}",
            step.path.display(),
            step.what
        ));
    }
    let number = text::count(repair.done.len() as u64, "repair");
    let fetched = text::size(repair.fetched);
    out.line(format!("{number}, {fetched} fetched"));
    out
}

/// What people call an image: its names, or the system and version that it holds.
fn called(store: &Store, image: &Digest, names: &[&str]) -> String {
    let release = store.image(image).ok().and_then(|m| m.release);
    match release {
        _ if !names.is_empty() => names.join(", "),
        Some(release) => format!("{} {}", release.name, release.version),
        None => String::new(),
    }
}

fn summary(check: &Check) -> String {
    let result = if check.findings.is_empty() {
        "nothing is wrong".to_owned()
    } else {
        text::count(check.findings.len() as u64, "finding")
    };
    format!(
        "{}, {}: {result}\n",
        text::count(check.objects, "object"),
        text::size(check.bytes)
    )
}
