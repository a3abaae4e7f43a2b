//! `elea store fsck`.

use crate::context::Context;
use crate::failure::{Code, Outcome};
use crate::text::{self, Lines};
use elea_formats::digest::Digest;
use elea_host::fsck::Report;
use elea_store::{Check, Store};
use serde::Serialize;

/// Read every byte of the store and name everything that is wrong
///
/// On a machine its boot partition, entries, generations and log are checked too.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    check: Check,
    /// What the machine's other disks and files say, if the store is a machine's.
    machine: Option<Report>,
}

pub(crate) fn run(_: &Args, context: &Context) -> Outcome {
    let machine = context.machine_of_store("elea store fsck")?;
    let store = match &machine {
        Some(machine) => machine.store()?,
        None => context.store()?,
    };
    let check = store.fsck(&context.bars())?;
    let names = store.refs()?;
    let found = match &machine {
        Some(machine) => Some(elea_host::fsck::check(&machine.view()?, machine.disks()?)?),
        None => None,
    };
    let clean = check.findings.is_empty() && found.as_ref().is_none_or(Report::is_clean);
    let shown = Shown {
        check,
        machine: found,
    };
    context.show(&shown, |shown| {
        let (check, mut out) = (&shown.check, String::new());
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
