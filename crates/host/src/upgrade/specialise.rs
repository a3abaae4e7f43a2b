//! The specialisations that an image of a registry names: fetched with it, and staged beside it.

use super::{Look, Upgraded, release_of};
use crate::apply;
use crate::error::Error;
use crate::live::{self, specialise};
use crate::machine::Machine;
use elea_formats::digest::Digest;
use elea_formats::generation::{Generation, Payload};
use elea_net::{Beside, Offer, Pulled};
use elea_sys::progress::Progress;
use std::collections::BTreeSet;

/// What an image and its specialisations need on the boot partition.
pub(super) fn payloads<'a>(
    offer: &'a Offer,
    beside: &'a [Beside],
) -> impl Iterator<Item = &'a Payload> {
    let beside = beside.iter().map(|one| &one.offer);
    let all = std::iter::once(offer).chain(beside);
    all.flat_map(|offer| &offer.config.payloads)
}

/// What was pulled, by name.
pub(super) fn images(pulled: &[(String, Pulled)]) -> Vec<(String, Digest)> {
    let all = pulled.iter();
    all.map(|(name, pulled)| (name.clone(), pulled.image.image))
        .collect()
}

/// Gives images their places in the boot menu beside a generation whose release has these arguments.
pub(super) fn put(
    machine: &Machine,
    main: &Generation,
    arguments: &[String],
    beside: &[(String, Digest)],
) -> Result<Vec<live::Beside>, Error> {
    if beside.is_empty() {
        return Ok(Vec::new());
    }
    let view = machine.view()?;
    let wanted = specialise::wanted(machine, &view, main, arguments, Some(beside))?;
    specialise::put(machine, main.number, wanted)
}

impl Look {
    /// The specialisations of what is offered.
    pub(super) fn beside(
        &self,
        machine: &Machine,
        offer: &Offer,
        progress: &dyn Progress,
    ) -> Result<Vec<Beside>, Error> {
        let Some(release) = &offer.release else {
            return Ok(Vec::new());
        };
        Ok(elea_net::check_beside(
            &self.place,
            release,
            &machine.store()?,
            &self.net,
            &self.policy,
            Some(&self.running),
            progress,
        )?)
    }

    /// Fetches specialisations, each with the lease that keeps it until something else does.
    pub(super) fn pull_beside(
        &self,
        machine: &Machine,
        beside: &[Beside],
        done: &mut Upgraded,
        progress: &dyn Progress,
    ) -> Result<Vec<(String, Pulled)>, Error> {
        let pull = |one: &Beside| {
            let pulled = self.pull(machine, &one.offer, done, progress)?;
            Ok((one.name.clone(), pulled))
        };
        beside.iter().map(pull).collect()
    }

    /// Sees to it that what is there already has its specialisations: the registry may not have had them, or the power
    /// failed before they were staged. One that was there once and is gone (it failed) stays away.
    pub(super) fn complete(
        &self,
        machine: &Machine,
        number: u64,
        offer: &Offer,
        beside: &[Beside],
        mut done: Upgraded,
        progress: &dyn Progress,
    ) -> Result<Upgraded, Error> {
        let view = machine.view()?;
        let main = view.manifest(number).ok_or(Error::Unknown(number))?;
        let numbers = view.generations.keys().copied();
        let known: BTreeSet<Digest> = numbers
            .filter(|other| view.stands_beside(*other) == Some(number))
            .filter_map(|other| Some(view.manifest(other)?.image))
            .collect();
        let lacks = beside.iter().any(|one| !known.contains(&one.image));
        if !lacks || done.dry_run || offer.image != Some(main.image) {
            progress.finish();
            return Ok(done);
        }
        if let Err(error) = apply::check_room(payloads(offer, beside), machine.boot()?) {
            progress.note(&format!("its specialisations are not staged: {error}"));
            progress.finish();
            return Ok(done);
        }
        let pulled = self.pull_beside(machine, beside, &mut done, progress)?;
        let arguments = release_of(machine, main)?.arguments;
        done.specialisations = put(machine, main, &arguments, &images(&pulled))?;
        progress.finish();
        Ok(done)
    }
}
