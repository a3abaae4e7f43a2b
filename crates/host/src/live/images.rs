//! How the images of what runs become the one that is to be.

use super::prepare::Between;
use crate::error::Error;
use crate::machine::Machine;
use elea_formats::digest::Digest;
use elea_store::{Change, Compared, ImageFile};
use elea_sys::parallel;
use std::sync::Arc;
use std::thread;

/// What differs, as the images say.
#[derive(Debug)]
pub(super) struct Images {
    /// From what was booted.
    pub(super) booted: Compared,
    /// In the root's `etc` and `usr`, where what shows there is of another image than was booted.
    pub(super) etc: Option<Vec<Change>>,
    pub(super) usr: Option<Vec<Change>>,
}

impl Images {
    /// Reads the images, and compares, all at once.
    pub(super) fn load(machine: &Machine, between: &Between<'_>) -> Result<Self, Error> {
        let booted = between.booted.image;
        let (etc, usr) = (between.shown.image, between.usr);
        machine.read_images(&[booted, etc, usr, between.new.image])?;
        let new = machine.image_file(&between.new.image)?;
        let other = |image: &Digest| {
            let file = (*image != booted).then(|| machine.image_file(image));
            file.transpose()
        };
        let (etc, usr, booted) = (other(&etc)?, other(&usr)?, machine.image_file(&booted)?);
        thread::scope(|scope| {
            let changes = |file: Option<_>, folder| {
                let new = &new;
                file.map(|file: Arc<ImageFile>| scope.spawn(move || file.changes_in(folder, new)))
            };
            let (etc, usr) = (changes(etc, "etc"), changes(usr, "usr"));
            let booted = booted.compare(&new);
            Ok(Self {
                etc: etc.map(parallel::join_scoped).transpose()?,
                usr: usr.map(parallel::join_scoped).transpose()?,
                booted: booted?,
            })
        })
    }
}
