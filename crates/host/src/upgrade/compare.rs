//! What an offer is to this machine, before it is fetched.

use super::Outcome;
use crate::view::{State, View};
use elea_formats::digest::{Digest, Sha256};
use elea_formats::generation::Generation;

/// What is known of an offer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    /// SHA-256 of its OCI manifest.
    pub(super) manifest: Sha256,
    /// Its image, if the signature or label names it.
    pub(super) image: Option<Digest>,
    /// Its version.
    pub(super) version: Option<&'a str>,
}

impl Known<'_> {
    fn is(&self, generation: &Generation) -> bool {
        self.image == Some(generation.image) || generation.oci_manifest == Some(self.manifest)
    }
}

/// Whether it is what runs, what waits, what failed, or something to fetch. Whether its
/// kernel arguments failed is asked again when they are known.
pub(super) fn outcome(
    view: &View,
    base: &Generation,
    booted: Option<u64>,
    offer: &Known<'_>,
) -> Outcome {
    let number = |wanted: &dyn Fn(State) -> bool| {
        let manifests = view.generations.values().rev();
        manifests
            .filter_map(|folder| folder.manifest.as_ref())
            .filter(|m| offer.is(m))
            .find(|m| Some(m.number) != booted && wanted(view.state(m.number, booted)))
            .map(|m| m.number)
    };
    let waits = |state| matches!(state, State::Staged | State::Trying);
    if let Some(number) = number(&waits) {
        return Outcome::Staged { number };
    }
    if offer.is(base) {
        return Outcome::NothingNewer;
    }
    let manifests = view.generations.values();
    let same = manifests.filter_map(|folder| folder.manifest.as_ref());
    let refused = same
        .filter(|m| offer.is(m))
        .find_map(|m| view.refused(&m.identity()));
    if let Some((number, reason)) = refused {
        let reason = reason.to_owned();
        return Outcome::FailedBefore { number, reason };
    }
    Outcome::Newer {
        version: offer.version.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::stage;
    use crate::view::Folder;
    use elea_formats::oplog::{Cause, Event, Record};

    fn generation(number: u64, image: &[u8]) -> Generation {
        let text = include_str!("../../../formats/tests/golden/generation-1.json");
        let mut generation: Generation = serde_json::from_str(text).unwrap();
        generation.number = number;
        generation.image = Sha256::of(image).into();
        generation.oci_manifest = Some(Sha256::of(&[image, b" manifest"].concat()));
        generation.options = format!("elea.generation={number} ro {}", image.escape_ascii());
        generation
    }

    fn view(generations: &[Generation]) -> View {
        let mut view = View::default();
        for generation in generations {
            let folder = Folder {
                manifest: Some(generation.clone()),
                ..Folder::default()
            };
            view.generations.insert(generation.number, folder);
        }
        view
    }

    fn offer(image: &[u8]) -> Known<'static> {
        Known {
            manifest: Sha256::of(&[image, b" manifest"].concat()),
            image: None,
            version: Some("9"),
        }
    }

    #[test]
    fn an_offer_is_new_or_runs_or_waits_or_failed() {
        let (first, second) = (generation(1, b"one"), generation(2, b"two"));
        let mut view = view(&[first.clone(), second.clone()]);
        view.entries.set_generation(&first, false);
        let ask = |view: &View, image: &[u8]| outcome(view, &first, Some(1), &offer(image));
        assert_eq!(ask(&view, b"one"), Outcome::NothingNewer);
        assert!(matches!(ask(&view, b"two"), Outcome::Newer { .. }));
        view.entries.set_generation(&second, true);
        assert_eq!(ask(&view, b"two"), Outcome::Staged { number: 2 });
        view.entries
            .own
            .remove(&elea_formats::bls::Owner::Generation(2));
        view.log.push(Record {
            schema: String::new(),
            sequence: 1,
            time: String::new(),
            boot: None,
            by: String::new(),
            event: Event::Failed {
                number: 2,
                identity: second.identity(),
                cause: Cause::Health,
                reason: "no".into(),
                refused: true,
            },
        });
        let failed = ask(&view, b"two");
        assert!(matches!(failed, Outcome::FailedBefore { number: 2, .. }));
        // By the image's digest too, and the plan refuses what the offer did not tell.
        let by_image = Known {
            manifest: Sha256::of(b"pushed again"),
            image: Some(second.image),
            version: None,
        };
        let again = outcome(&view, &first, Some(1), &by_image);
        assert!(matches!(again, Outcome::FailedBefore { number: 2, .. }));
        assert!(stage(&view, &second.repeated(3, String::new()), true, Some(1)).is_err());
    }
}
