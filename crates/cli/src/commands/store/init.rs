//! `elea store init`.

use crate::context::Context;
use crate::failure::{Code, Outcome};
use elea_store::Store;
use serde::Serialize;
use std::path::PathBuf;

/// Make an empty store
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Say what would be done and do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Shown {
    schema: &'static str,
    store: PathBuf,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let path = context.store_path();
    if args.dry_run {
        context.say(&format!("would make an empty store in {}", path.display()));
        return Ok(Code::Done);
    }
    Store::init(&path)?;
    let shown = Shown {
        schema: "elea.store/1",
        store: path,
    };
    context.show(&shown, |shown| {
        format!("{} is an empty store\n", shown.store.display())
    })
}
