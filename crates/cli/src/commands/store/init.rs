//! `elea store init`.

use crate::context::Context;
use crate::failure::Outcome;
use elea_store::Store;
use serde::Serialize;
use std::path::PathBuf;

/// Make an empty store
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

#[derive(Serialize)]
struct Shown {
    schema: &'static str,
    store: PathBuf,
}

pub(crate) fn run(_: &Args, context: &Context) -> Outcome {
    let path = context.store_path();
    Store::init(&path)?;
    let shown = Shown {
        schema: "elea.store/1",
        store: path,
    };
    context.show(&shown, |shown| {
        format!("{} is an empty store\n", shown.store.display())
    })
}
