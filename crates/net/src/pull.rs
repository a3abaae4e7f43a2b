//! An image from a registry, layout or archive into the store.

use crate::layers;
use crate::offer::{Offer, absolute};
use crate::source::Image;
use crate::{NetError, Options};
use elea_formats::digest::Sha256;
use elea_formats::erofs;
use elea_formats::form::canonical;
use elea_formats::oci::reference::Reference;
use elea_formats::release::{ImageManifest, Release};
use elea_store::trust::{Policy, Running, check_release};
use elea_store::{Error as StoreError, Lease, Origin, Store};
use elea_sys::progress::{Progress, Unit};

/// What a pull did.
#[derive(Debug)]
pub struct Pulled {
    /// The image, now in the store.
    pub image: ImageManifest,
    /// Bytes of layers that came over the network in this pull.
    pub fetched: u64,
    /// How many layers were fetched.
    pub layers_fetched: usize,
    /// How many the store had.
    pub layers_reused: usize,
    /// Keeps the image from being collected until the caller has given it a name.
    pub lease: Lease,
}

/// Fetches what the store lacks of an offer and makes the image of it.
///
/// The image is named in the store only after everything was checked: each layer's digest
/// and content, the digest of the whole against what was signed, and the release in it. What was
/// fetched before a failure is kept, and another try goes on from there.
pub fn pull(
    offer: &Offer,
    store: &Store,
    options: &Options,
    policy: &Policy,
    running: Option<&Running>,
    progress: &dyn Progress,
) -> Result<Pulled, NetError> {
    let lease = store.lease(&format!("pulling {}", offer.reference))?;
    let judge = |release: Option<&Release>| {
        check_release(release, &offer.verdict, running, policy).map_err(NetError::from)
    };
    if let Some(image) = keep_present(offer, store, judge)? {
        return Ok(Pulled {
            image,
            fetched: 0,
            layers_fetched: 0,
            layers_reused: offer.layers.len(),
            lease,
        });
    }
    let what = offer.reference.to_string();
    let source = Image::locate(&offer.reference, options)?.source;
    let brought = layers::bring(&source, &what, &offer.wanted, store, options, progress)?;
    let image = assemble(offer, &what, &brought.layers, store, judge, progress)
        .map_err(|error| error.in_store(store.path()))?;
    drop(brought.held);
    Ok(Pulled {
        image,
        fetched: brought.received,
        layers_fetched: brought.fetched,
        layers_reused: brought.reused,
        lease,
    })
}

/// The image that is offered, if the store has it whole; the new signatures are kept with it, and the
/// lease holds it.
fn keep_present(
    offer: &Offer,
    store: &Store,
    judge: impl FnOnce(Option<&Release>) -> Result<(), NetError>,
) -> Result<Option<ImageManifest>, NetError> {
    let Some(image) = offer.image.filter(|image| layers::is_whole(store, image)) else {
        return Ok(None);
    };
    let about = store.image(&image)?;
    judge(about.release.as_ref())?;
    let Ok(form) = about.form.parse() else {
        return Ok(None);
    };
    let sealed = store
        .tree(&image)
        .and_then(|tree| store.seal(tree, form, &origin(offer)));
    match sealed {
        Ok(sealed) if sealed.image == image => Ok(Some(sealed)),
        // Damaged, or collected a moment ago: fetching mends it.
        Ok(_)
        | Err(
            StoreError::NoObject { .. }
            | StoreError::NoObjects { .. }
            | StoreError::NoImage { .. }
            | StoreError::Damaged { .. }
            | StoreError::Image { .. },
        ) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The image from its layers; `judge` is asked about the release that was found in it.
fn assemble(
    offer: &Offer,
    what: &str,
    layers: &[elea_store::layer::Layer],
    store: &Store,
    judge: impl FnOnce(Option<&Release>) -> Result<(), NetError>,
    progress: &dyn Progress,
) -> Result<ImageManifest, NetError> {
    progress.start("assembling", None, Unit::Items);
    let mut tree = store.assemble(layers)?;
    // By an algorithm that names nothing here it is not the digest of the file that is written.
    let made = match offer.image.map(|expected| expected.algorithm()) {
        Some(algorithm) if algorithm != store.algorithm() => {
            canonical(&mut tree, offer.form);
            Some(store.digest_by(algorithm, &tree, erofs::Version::V1)?)
        }
        _ => None,
    };
    let image = store
        .write_image(tree, offer.form)
        .map_err(|error| match error {
            StoreError::Document { source, .. } => NetError::Release {
                what: what.to_owned(),
                source,
            },
            error => error.into(),
        })?;
    let made = made.unwrap_or(image.digest());
    if let Some(expected) = offer.image.filter(|expected| *expected != made) {
        return Err(NetError::Image {
            what: what.to_owned(),
            expected: expected.to_string(),
            made: made.to_string(),
        });
    }
    judge(image.release())?;
    if progress.cancelled() {
        return Err(NetError::Cancelled);
    }
    let image = image.name(&origin(offer))?;
    progress.finish();
    Ok(image)
}

fn origin(offer: &Offer) -> Origin {
    Origin {
        source: source_name(&offer.reference, offer.manifest),
        oci_manifest: Some(offer.manifest),
        layers: offer.layers.iter().map(|layer| layer.digest).collect(),
        signatures: offer.signatures.clone(),
    }
}

/// Where an image came from, by the digest that names it there for ever.
fn source_name(reference: &Reference, manifest: Sha256) -> String {
    match reference {
        Reference::Registry(location) => {
            format!("registry:{}@sha256:{manifest}", location.repository())
        }
        other => absolute(other).to_string(),
    }
}
