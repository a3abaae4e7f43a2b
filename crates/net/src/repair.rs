//! A store put right, from another one, a folder, or wherever its images came from.
//!
//! Signatures are not asked for: an object is taken for its digest alone, which the image names
//! that was judged when it came.

use crate::source::Image;
use crate::{NetError, Options, layers, offer};
use elea_formats::digest::{Digest, Sha256};
use elea_formats::oci::reference::Reference;
use elea_store::repair::{Plan, Repair, Source, Step};
use elea_store::{Check, Store};
use elea_sys::progress::Progress;
use serde::Serialize;
use std::collections::BTreeSet;

/// What a repair did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Repaired {
    /// `elea.store-repair/1`.
    pub schema: &'static str,
    /// What was put right.
    pub done: Vec<Step>,
    /// What could not be done, and why.
    pub failed: Vec<Step>,
    /// Bytes that came over the network.
    pub fetched: u64,
}

/// Checks a store, puts right what can be put right, and checks again, until nothing more changes.
/// What is then still wrong is in the check that is returned.
///
/// Objects come from `from` if it is given, then from the layers of the places that their images were
/// pulled from. A layer is packed as a whole, so it is fetched as a whole.
pub fn repair(
    store: &Store,
    from: Option<&Source>,
    options: &Options,
    progress: &dyn Progress,
) -> Result<(Repaired, Check), NetError> {
    let mut all = Repaired {
        schema: "elea.store-repair/1",
        done: Vec::new(),
        failed: Vec::new(),
        fetched: 0,
    };
    let mut tried = BTreeSet::new();
    let mut before = Vec::new();
    loop {
        let check = store.fsck(progress)?;
        // A disk that takes no change must not keep us for ever.
        if check.findings == before {
            return Ok((all, check));
        }
        before.clone_from(&check.findings);
        let mut repair = Repair::new(store, Plan::new(&check))?;
        repair.tidy()?;
        if let Some(from) = from {
            repair.from(from, progress)?;
        }
        repair.rebuild();
        all.fetched += fetch(&mut repair, &mut tried, options, progress)?;
        repair.rebuild();
        repair.rename();
        repair.finish()?;
        for failed in repair.failed {
            if !all.failed.contains(&failed) {
                all.failed.push(failed);
            }
        }
        if repair.done.is_empty() {
            return Ok((all, check));
        }
        // An image that was put right may need more than was known before.
        all.done.extend(repair.done);
    }
}

/// Fetches the layers that hold what is wanted, each once; bytes that came.
fn fetch(
    repair: &mut Repair,
    tried: &mut BTreeSet<Sha256>,
    options: &Options,
    progress: &dyn Progress,
) -> Result<u64, NetError> {
    let users = repair.wanted().values().flat_map(|wanted| &wanted.images);
    let images: BTreeSet<Digest> = users.copied().collect();
    let mut fetched = 0;
    for image in images {
        let mut blobs = repair.layers_for(&image)?;
        blobs.retain(|blob| !tried.contains(blob));
        let name = repair.store().path().join(format!("images/{image}"));
        let source = match repair.about(&image) {
            Ok(about) => about.source,
            Err(error) => {
                repair.fail(&name, error);
                continue;
            }
        };
        if blobs.is_empty() {
            if tried.is_empty() {
                let why = "nothing can be fetched again for it; name a store or a folder that has it by `--from`";
                repair.fail(&name, format!("came from {source}: {why}"));
            }
            continue;
        }
        match layers_of(&source, &blobs, repair, options, progress) {
            Ok(received) => {
                fetched += received;
                tried.extend(blobs);
                repair.settle(&format!("fetched from {source}"));
            }
            Err(NetError::Cancelled) => return Err(NetError::Cancelled),
            Err(error) => {
                // Some of them may have come; another image's place may have the rest.
                repair.settle(&format!("fetched from {source}"));
                repair.fail(&name, error);
            }
        }
    }
    Ok(fetched)
}

/// Fetches these layers from the place that an image came from, into the store.
fn layers_of(
    source: &str,
    blobs: &[Sha256],
    repair: &Repair,
    options: &Options,
    progress: &dyn Progress,
) -> Result<u64, NetError> {
    let reference: Reference = source.parse().map_err(|_| NetError::Transport {
        reference: source.chars().take(200).collect(),
        verb: "fetched again",
    })?;
    let image = Image::locate(&reference, options)?;
    let opened = image.open(progress)?;
    let config = image.config(&opened, progress)?;
    // A tag may have moved on; a layer is the same wherever its digest is named.
    let mut wanted = offer::wanted(repair.store(), source, &opened, &config)?;
    wanted.retain(|one| blobs.contains(&one.layer.digest));
    if wanted.is_empty() {
        return Err(NetError::NotFound {
            what: format!("layer sha256:{} in {source}", blobs[0]),
        });
    }
    let brought = layers::bring(
        &image.source,
        source,
        &wanted,
        repair.store(),
        options,
        progress,
    )?;
    repair.store().sync()?;
    Ok(brought.received)
}
