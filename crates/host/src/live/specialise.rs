//! The specialisations of a config get their places in the boot menu, beside the generation that the config itself is.

use crate::candidate::{self, FromImage};
use crate::error::Error;
use crate::install::{Bootable, Known};
use crate::machine::Machine;
use crate::upgrade::release_of;
use crate::view::View;
use crate::{apply, plan};
use elea_formats::digest::Digest;
use elea_formats::generation::{Generation, Payload};
use serde::Serialize;

/// One that stands in the menu.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Beside {
    /// Its name in the config.
    pub name: String,
    /// The generation that it is.
    pub number: u64,
}

/// The generations that images would be beside `main`, whose release has these kernel arguments.
pub(crate) fn wanted(
    machine: &Machine,
    view: &View,
    main: &Generation,
    arguments: &[String],
    images: Option<&[(String, Digest)]>,
) -> Result<Option<Vec<Generation>>, Error> {
    let Some(images) = images else {
        return Ok(None);
    };
    if images.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let store = machine.store()?;
    let load = |image: &Digest, known| {
        let file = machine.image_file(image)?;
        let boots = Bootable::of(&store, &file, known);
        Ok::<_, Error>(boots?)
    };
    let known = Known {
        generation: Some(main),
        parts: &[],
    };
    // Most have the same kernel.
    let own = load(&main.image, known)?;
    let first = view.next_number().max(main.number + 1);
    let one = |(number, (name, image)): (u64, &(String, Digest))| {
        let known = Known {
            generation: view.of_image(image),
            parts: own.parts(),
        };
        let contents = load(image, known)?;
        let follow = main.source.clone();
        let like = candidate::generation(view, main, arguments, &contents, follow)?;
        Ok(like.beside(name, main.number, number))
    };
    (first..)
        .zip(images)
        .map(one)
        .collect::<Result<_, _>>()
        .map(Some)
}

/// The specialisations that an image names and the machine's store has.
pub fn named(machine: &Machine, image: &Digest) -> Result<Vec<(String, Digest)>, Error> {
    let store = machine.store()?;
    let release = store.image(image)?.release;
    let all = release.into_iter().flat_map(|r| r.specialisations);
    Ok(all
        .filter(|(_, image)| store.image(image).is_ok())
        .collect())
}

/// Gives the specialisations of a generation's image their places in the menu beside it.
pub(crate) fn put_named(machine: &Machine, of: &Generation) -> Result<(), Error> {
    let images = named(machine, &of.image)?;
    if !images.is_empty() {
        let arguments = release_of(machine, of)?.arguments;
        let wanted = wanted(machine, &machine.view()?, of, &arguments, Some(&images))?;
        put(machine, of.number, wanted)?;
    }
    Ok(())
}

/// Their names and numbers.
pub(crate) fn shown(wanted: &[Generation]) -> Vec<Beside> {
    let one = |one: &Generation| {
        Some(Beside {
            name: one.specialisation.as_ref()?.name.clone(),
            number: one.number,
        })
    };
    wanted.iter().filter_map(one).collect()
}

/// Writes down what is to stand beside a generation once that is confirmed.
pub(super) fn reserve(machine: &Machine, wanted: &[Generation]) -> Result<(), Error> {
    let _locked = machine.lock()?;
    for one in wanted {
        machine.apply(&plan::reserve(one), &apply::NoPayloads)?;
    }
    Ok(())
}

/// Makes the specialisations of generation `of` in the menu those that were reserved.
pub(super) fn put_reserved(machine: &Machine, of: u64) -> Result<Vec<Beside>, Error> {
    let view = machine.view()?;
    let numbers = view.generations.keys().copied();
    let own = numbers.filter(|number| view.stands_beside(*number) == Some(of));
    let reserved = own.filter_map(|number| view.manifest(number).cloned());
    put(machine, of, Some(reserved.collect()))
}

/// Makes the specialisations of generation `of` in the menu `wanted`, if that is given, and says what they are.
pub(crate) fn put(
    machine: &Machine,
    of: u64,
    wanted: Option<Vec<Generation>>,
) -> Result<Vec<Beside>, Error> {
    let Some(wanted) = wanted else {
        return Ok(Vec::new());
    };
    let _locked = machine.lock()?;
    let view = machine.view()?;
    let plan = plan::specialise(&view, of, &wanted, machine.number());
    let images = wanted.iter().map(|one| machine.payloads_of(one.image));
    machine.apply(&plan, &FromAny(images.collect()))?;
    let view = machine.view()?;
    let numbers = view.entries.generations().map(|(number, _)| number);
    let beside = numbers.filter(|number| view.stands_beside(*number) == Some(of));
    let manifests: Vec<_> = beside.filter_map(|n| view.manifest(n).cloned()).collect();
    Ok(shown(&manifests))
}

/// Kernels and initrds out of whichever image has them.
struct FromAny<'a>(Vec<FromImage<'a>>);

impl apply::Payloads for FromAny<'_> {
    fn payload(&self, payload: &Payload) -> Result<Vec<u8>, apply::Error> {
        let mut last = apply::NoPayloads.payload(payload);
        for image in &self.0 {
            last = image.payload(payload);
            if last.is_ok() {
                break;
            }
        }
        last
    }
}
