//! `elea image import`.

use crate::commands::image::{digest, show};
use crate::context::Context;
use crate::failure::{Code, Outcome};
use crate::places;
use crate::text;
use elea_formats::erofs::Version;
use elea_formats::form::Form;
use elea_formats::oci::reference::Reference;

/// Make an image from a directory, a tar file, a dump or an image file
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// dir:PATH, tar:PATH, dump:PATH or erofs:PATH (`-` is stdin), or a name in the store
    #[arg(value_name = "SRC")]
    source: Reference,
    /// The name that the image gets in the store
    #[arg(long, value_parser = places::parse_name)]
    name: Option<String>,
    /// The form that the tree is brought into: os-1, raw
    #[arg(long, default_value_t)]
    form: Form,
    /// Say which image it would be and keep nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    if args.dry_run {
        let algorithm = Some(context.algorithm());
        let image = digest::of(&args.source, args.form, Version::V1, algorithm, context)?;
        let name = args.name.as_deref().unwrap_or("without a name");
        context.say(&format!("would import {} as {image}, {name}", args.source));
        return Ok(Code::Done);
    }
    let store = context.store_or_new("elea image import")?;
    let _lease = store.lease("elea image import")?;
    let (tree, origin) = places::tree(&store, &args.source, &context.bars())?;
    let manifest = store.seal(tree, args.form, &origin)?;
    if let Some(name) = &args.name {
        store.set_ref(name, &manifest.image)?;
    }
    let shown = show::Shown::load(&store, manifest)?;
    context.show(&shown, |shown| {
        let m = &shown.manifest;
        format!(
            "{}\n{}: {}, {}\n",
            m.image,
            args.name.as_deref().unwrap_or("without a name"),
            text::count(m.files, "file"),
            text::size(m.bytes)
        )
    })?;
    Ok(Code::Done)
}
