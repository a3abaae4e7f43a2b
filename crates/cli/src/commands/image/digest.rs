//! `elea image digest`.

use crate::context::Context;
use crate::failure::Outcome;
use crate::places;
use elea_formats::digest::Digest;
use elea_formats::form::{self, Form};
use elea_formats::oci::reference::Reference;
use elea_formats::{erofs, verity};
use elea_store::Store;
use elea_sys::At;
use serde::Serialize;

/// Print the digest that a tree has as an image
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// dir:PATH, tar:PATH (`-` is stdin), or a name in the store
    #[arg(value_name = "SRC")]
    source: Reference,
    /// The form that is digested: os-1, raw
    #[arg(long, default_value_t)]
    form: Form,
}

#[derive(Serialize)]
struct Shown {
    schema: &'static str,
    source: String,
    form: &'static str,
    image: Digest,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    // The contents are needed only while they are digested.
    let scratch = std::env::temp_dir();
    let folder = tempfile::tempdir_in(&scratch).at("create a folder in", &scratch)?;
    let store = match &args.source {
        Reference::Store(_) => context.store()?,
        _ => Store::init(&folder.path().join("store"))?,
    };
    let (mut tree, _) = places::tree(&store, &args.source, &context.bars())?;
    form::canonical(&mut tree, args.form);
    let shown = Shown {
        schema: "elea.image-digest/1",
        source: args.source.to_string(),
        form: args.form.name(),
        image: verity::measure(&erofs::write(&tree)),
    };
    context.show(&shown, |shown| format!("{}\n", shown.image))
}
