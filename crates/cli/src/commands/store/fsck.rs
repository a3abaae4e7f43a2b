//! `elea store fsck`.

use crate::context::Context;
use crate::failure::{Code, Outcome};
use crate::text;
use elea_store::Check;

/// Read every byte of the store and name everything that is wrong
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args, context: &Context) -> Outcome {
    let store = context.store()?;
    let check = store.fsck(&context.bars())?;
    let names = store.refs()?;
    context.show(&check, |check| {
        let mut out = String::new();
        for finding in &check.findings {
            out.push_str(&format!("{}: {}\n", finding.path.display(), finding.what));
            for image in &finding.images {
                let named = names.iter().filter(|(_, d)| *d == image);
                let named: Vec<_> = named.map(|(name, _)| name.as_str()).collect();
                out.push_str(&format!("  used by {image} {}", named.join(", ")).trim_end());
                out.push('\n');
            }
        }
        out.push_str(&summary(check));
        out
    })?;
    Ok(if check.findings.is_empty() {
        Code::Done
    } else {
        Code::Verification
    })
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
