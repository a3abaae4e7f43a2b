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
    let shown = Shown {
        schema: "elea.image-digest/1",
        source: args.source.to_string(),
        form: args.form.name(),
        image: of(&args.source, args.form, context)?,
    };
    context.show(&shown, |shown| format!("{}\n", shown.image))
}

/// The digest of a tree in a form. Nothing is left in any store.
pub(super) fn of(source: &Reference, form: Form, context: &Context) -> Outcome<Digest> {
    // The contents are needed only while they are digested.
    let scratch = places::scratch();
    let folder = tempfile::tempdir_in(&scratch).at("create a folder in", &scratch)?;
    let store = match source {
        Reference::Store(_) => context.store()?,
        _ => Store::init(&folder.path().join("store"))?,
    };
    let (mut tree, _) = places::tree(&store, source, &context.bars())?;
    form::canonical(&mut tree, form);
    Ok(verity::measure(&erofs::write(&tree)))
}
