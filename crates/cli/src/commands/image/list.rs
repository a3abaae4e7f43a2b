//! `elea image list`.

use crate::context::Context;
use crate::failure::Outcome;
use crate::text;
use elea_compose::steps;
use elea_formats::digest::Digest;
use serde::Serialize;

/// List the images in the store
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show what builds keep for the next build, too
    #[arg(long)]
    all: bool,
}

#[derive(Serialize)]
struct Shown {
    schema: &'static str,
    images: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    image: Digest,
    names: Vec<String>,
    form: String,
    source: String,
    system: Option<String>,
    version: Option<String>,
    files: u64,
    bytes: u64,
    imported: String,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let store = context.store()?;
    let refs = store.refs()?;
    let mut images = store.images()?;
    if !args.all {
        images.retain(|m| !m.source.starts_with(steps::NAME));
    }
    let rows = images.into_iter().map(|m| Row {
        names: refs
            .iter()
            .filter(|(_, d)| **d == m.image)
            .map(|(name, _)| name.clone())
            .collect(),
        image: m.image,
        form: m.form,
        source: m.source,
        system: m.release.as_ref().map(|r| r.name.clone()),
        version: m.release.map(|r| r.version),
        files: m.files,
        bytes: m.bytes,
        imported: m.imported,
    });
    let shown = Shown {
        schema: "elea.images/1",
        images: rows.collect(),
    };
    context.show(&shown, |shown| {
        if shown.images.is_empty() {
            return "no images; `elea image import SRC` or `elea build` makes one\n".into();
        }
        let rows = shown.images.iter().map(|row| {
            vec![
                row.names.join(", "),
                row.image.short(),
                row.version.clone().unwrap_or_default(),
                row.form.clone(),
                row.files.to_string(),
                text::size(row.bytes),
                text::ago(&row.imported),
            ]
        });
        let head = [
            "NAME", "IMAGE", "VERSION", "FORM", "FILES", "SIZE", "IMPORTED",
        ];
        text::table(&head, rows.collect())
    })
}
