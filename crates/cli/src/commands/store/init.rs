//! `elea store init`.

use crate::context::Context;
use crate::failure::{Code, Outcome};
use elea_formats::digest::Algorithm;
use elea_store::Store;
use serde::Serialize;
use std::path::PathBuf;

/// Make an empty store
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What names its objects and images: sha256, which machines have, or sha512, as composefs-rs's own
    /// repositories do
    #[arg(long, default_value_t)]
    algorithm: Algorithm,
    /// Say what would be done and do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Shown {
    schema: &'static str,
    store: PathBuf,
    algorithm: &'static str,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let path = context.store_path();
    if args.dry_run {
        context.say(&format!("would make an empty store in {}", path.display()));
        return Ok(Code::Done);
    }
    Store::init_with(&path, args.algorithm)?;
    let shown = Shown {
        schema: "elea.store/1",
        store: path,
        algorithm: args.algorithm.name(),
    };
    context.show(&shown, |shown| {
        format!("{} is an empty store\n", shown.store.display())
    })
}
