//! How the images of what runs become the one that is to be.

use crate::error::Error;
use crate::machine::Machine;
use elea_formats::digest::Digest;
use elea_store::Compared;
use elea_sys::parallel;
use std::collections::{BTreeMap, BTreeSet};

/// Some images, each compared with the new one.
#[derive(Debug)]
pub(super) struct Images(BTreeMap<Digest, Compared>);

impl Images {
    /// Reads images and `new`, and compares, all at once.
    pub(super) fn load(machine: &Machine, old: &[Digest], new: &Digest) -> Result<Self, Error> {
        let all: Vec<Digest> = old.iter().chain([new]).copied().collect();
        machine.read_images(&all)?;
        let to = machine.image_file(new)?;
        let old: BTreeSet<Digest> = old.iter().copied().collect();
        let files: Vec<_> = old
            .iter()
            .map(|image| machine.image_file(image))
            .collect::<Result<_, _>>()?;
        let compared = parallel::each(files, |file| file.compare(&to));
        let named = old.into_iter().zip(compared);
        let named = named.map(|(image, compared)| Ok((image, compared?)));
        Ok(Self(named.collect::<Result<_, Error>>()?))
    }

    /// How one becomes the new one.
    pub(super) fn compared(&self, old: &Digest) -> Result<&Compared, Error> {
        self.0.get(old).ok_or_else(|| {
            let name = old.to_string();
            elea_store::Error::NoImage { name }.into()
        })
    }
}
