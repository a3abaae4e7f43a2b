//! `elea store gc`.

use crate::context::Context;
use crate::failure::Outcome;
use crate::text::{self, Lines};

/// Remove the images that nothing names, and what only they use
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Say what would be removed and remove nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let (store, roots) = context.store_and_roots("elea store gc")?;
    let collected = store.gc(&roots, args.dry_run, &context.bars())?;
    let removed = if args.dry_run {
        "would remove"
    } else {
        "removed"
    };
    context.show(&collected, |c| {
        let mut out = String::new();
        for image in &c.images {
            out.line(format!("image {image}"));
        }
        out.line(format!(
            "{removed} {} and {}, {}",
            text::count(c.images.len() as u64, "image"),
            text::count(c.objects, "object"),
            text::size(c.bytes)
        ));
        out
    })
}
