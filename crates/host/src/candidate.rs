//! The generation that an image of the store would be on this machine.

use crate::apply::{self, Payloads};
use crate::arguments;
use crate::error::Error;
use crate::install::{self, Bootable};
use crate::machine::{Machine, now};
use crate::view::View;
use elea_formats::digest::Digest;
use elea_formats::generation::{Generation, Payload};
use elea_formats::release::Source;
use std::cell::OnceCell;

/// The next generation of the machine with what boots of an image: the root and the
/// machine's own arguments are those of `base`, the generation that it follows.
pub fn generation(
    view: &View,
    base: &Generation,
    base_arguments: &[String],
    boots: &Bootable,
    follow: Option<Source>,
) -> Result<Generation, Error> {
    let number = view.next_number();
    let root = arguments::root_uuid(&base.options).unwrap_or_default();
    let own = arguments::own(&base.options, &base.image, base.number, base_arguments);
    let mut generation = boots.generation(&root, &own, now())?;
    let all = boots.release.arguments.iter().chain(&own);
    generation.number = number;
    generation.options =
        install::options(&boots.image.image, number, &root, all.map(String::as_str))?;
    generation.source = follow;
    Ok(generation)
}

/// Kernels and initrds out of an image of the machine's store, read when the first is asked for.
#[derive(Debug)]
pub struct FromImage<'a> {
    machine: &'a Machine,
    image: Digest,
    boots: OnceCell<Bootable>,
}

impl<'a> FromImage<'a> {
    pub(crate) fn new(machine: &'a Machine, image: Digest) -> Self {
        Self {
            machine,
            image,
            boots: OnceCell::new(),
        }
    }

    fn boots(&self) -> Result<&Bootable, Error> {
        if let Some(boots) = self.boots.get() {
            return Ok(boots);
        }
        let loaded = Bootable::load(&self.machine.store()?, &self.image)?;
        Ok(self.boots.get_or_init(|| loaded))
    }
}

impl Payloads for FromImage<'_> {
    fn payload(&self, payload: &Payload) -> Result<Vec<u8>, apply::Error> {
        self.boots()
            .map_err(|e| apply::Error::Source(e.to_string()))?
            .payload(payload)
    }
}
