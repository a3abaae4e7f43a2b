//! `elea store stats`.

use crate::context::Context;
use crate::failure::Outcome;
use crate::text;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Show what the store holds and what sharing saves
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

#[derive(Serialize)]
struct Shown {
    schema: &'static str,
    store: PathBuf,
    images: usize,
    names: usize,
    objects: usize,
    /// Bytes of the objects of all images, each once.
    bytes: u64,
    /// Bytes that the images would take, each for itself.
    apparent: u64,
}

pub(crate) fn run(_: &Args, context: &Context) -> Outcome {
    let store = context.store()?;
    let images = store.images()?;
    let (mut objects, mut apparent) = (BTreeMap::new(), 0);
    for image in &images {
        let own = store.objects_of(&image.image)?;
        apparent += own.values().sum::<u64>();
        objects.extend(own);
    }
    let shown = Shown {
        schema: "elea.store-stats/1",
        store: store.path().to_owned(),
        images: images.len(),
        names: store.refs()?.len(),
        objects: objects.len(),
        bytes: objects.values().sum(),
        apparent,
    };
    context.show(&shown, |s| {
        text::facts(&[
            ("store", Some(s.store.display().to_string())),
            ("images", Some(s.images.to_string())),
            ("names", Some(s.names.to_string())),
            ("objects", Some(s.objects.to_string())),
            ("content", Some(text::size(s.bytes))),
            (
                "without sharing",
                (s.apparent > s.bytes).then(|| text::size(s.apparent)),
            ),
        ])
    })
}
