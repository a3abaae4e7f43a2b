//! The specialisations that an image names: images of their own, published beside it.
//!
//! Each stands at a tag of its own digest, so that what the signed image names is what is found, whatever is pushed
//! meanwhile. They are signed and judged like any other image.

use crate::offer::{self, Offer};
use crate::{NetError, Options};
use elea_formats::digest::{Algorithm, Digest, Sha256};
use elea_formats::erofs;
use elea_formats::oci::reference::{Reference, Target};
use elea_formats::release::{ImageManifest, Release};
use elea_store::Store;
use elea_store::trust::{Policy, Running};
use elea_sys::progress::Progress;
use std::collections::BTreeMap;

/// A specialisation that is offered.
#[derive(Debug, Clone)]
pub struct Beside {
    /// Its name.
    pub name: String,
    /// The image that the other one names.
    pub image: Digest,
    /// What is offered.
    pub offer: Offer,
}

/// The tag of an image that another one names.
pub(crate) fn tag(image: &Digest) -> String {
    format!("elea-{image}")
}

/// Where an image stands beside another one; an archive holds one alone.
pub(crate) fn place(reference: &Reference, image: &Digest) -> Option<Reference> {
    match reference {
        Reference::Registry(location) => {
            let location = location.with(Target::Tag(tag(image)));
            Some(Reference::Registry(location))
        }
        Reference::Layout { path, .. } => Some(Reference::Layout {
            path: path.clone(),
            tag: tag(image),
        }),
        _ => None,
    }
}

/// Looks at the specialisations that a release names, where that is offered; each is judged as
/// [`check`](crate::check()) does it. One that is not there is left out, and said to be.
///
/// # Errors
/// What is there must be the image that the release names.
pub fn check_beside(
    reference: &Reference,
    release: &Release,
    store: &Store,
    options: &Options,
    policy: &Policy,
    running: Option<&Running>,
    progress: &dyn Progress,
) -> Result<Vec<Beside>, NetError> {
    let mut found = Vec::new();
    for (name, image) in &release.specialisations {
        if progress.cancelled() {
            return Err(NetError::Cancelled);
        }
        let absent = || format!("the specialisation {name} is left out: {reference} comes without");
        let Some(place) = place(reference, image) else {
            progress.note(&absent());
            continue;
        };
        match offer::check(&place, store, options, policy, running, progress) {
            Ok(offer) if offer.image == Some(*image) => found.push(Beside {
                name: name.clone(),
                image: *image,
                offer,
            }),
            Ok(offer) => {
                let made = offer.image.map(|image| image.to_string());
                return Err(NetError::Beside {
                    what: place.to_string(),
                    name: name.clone(),
                    expected: image.to_string(),
                    found: made.unwrap_or_else(|| "one without a digest".into()),
                });
            }
            Err(NetError::NotFound { .. }) => progress.note(&absent()),
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Bytes that the store lacks of several offers, at most; a layer that several have counts once.
pub fn missing<'a>(offers: impl IntoIterator<Item = &'a Offer>) -> u64 {
    let unknown = offers.into_iter().filter(|offer| !offer.here);
    let layers: BTreeMap<Sha256, u64> = unknown.flat_map(Offer::unknown).collect();
    layers
        .values()
        .fold(0, |sum, size| sum.saturating_add(*size))
}

/// The specialisations that go along with an image: name, image in the store, and place.
///
/// # Errors
/// All of them must be there, which is known before anything is pushed.
pub(crate) fn to_push(
    about: &ImageManifest,
    store: &Store,
    reference: &Reference,
) -> Result<Vec<(String, Digest, Reference)>, NetError> {
    let mut all = Vec::new();
    let Some(release) = &about.release else {
        return Ok(all);
    };
    for (name, image) in &release.specialisations {
        let Some(place) = place(reference, image) else {
            continue;
        };
        let here = named(store, release, image)?.ok_or_else(|| NetError::Absent {
            name: name.clone(),
            image: image.to_string(),
        })?;
        all.push((name.clone(), here, place));
    }
    Ok(all)
}

/// The image of a store that a release names by this digest, which is SHA-256 whatever the store has.
fn named(store: &Store, release: &Release, wanted: &Digest) -> Result<Option<Digest>, NetError> {
    for image in store.images()? {
        let like = image.release.filter(|like| like.name == release.name);
        let digest = match store.algorithm() {
            Algorithm::Sha256 => image.image,
            Algorithm::Sha512 if like.is_none() => continue,
            Algorithm::Sha512 => {
                let tree = store.tree(&image.image)?;
                store.digest_by(Algorithm::Sha256, &tree, erofs::Version::V1)?
            }
        };
        if digest == *wanted {
            return Ok(Some(image.image));
        }
    }
    Ok(None)
}
