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

/// The images that are compared with the new one.
#[derive(Debug)]
pub(super) struct Pairs {
    new: Arc<ImageFile>,
    booted: Arc<ImageFile>,
    etc: Option<Arc<ImageFile>>,
    usr: Option<Arc<ImageFile>>,
}

impl Pairs {
    /// Reads those that were not read before.
    pub(super) fn read(machine: &Machine, between: &Between<'_>) -> Result<Self, Error> {
        let (new, booted) = (between.new.image, between.booted.image);
        let (etc, usr) = (between.shown.image, between.usr);
        machine.read_images(&[new, booted, etc, usr])?;
        let other = |image: Digest| {
            let file = (image != booted).then(|| machine.image_file(&image));
            file.transpose()
        };
        Ok(Self {
            new: machine.image_file(&new)?,
            booted: machine.image_file(&booted)?,
            etc: other(etc)?,
            usr: other(usr)?,
        })
    }

    /// Compares all at once.
    pub(super) fn compare(&self) -> Result<Images, Error> {
        thread::scope(|scope| {
            let start = |file: &'_ Option<Arc<ImageFile>>, folder| {
                let file = file.as_ref().map(Arc::clone);
                file.map(|file| scope.spawn(move || file.changes_in(folder, &self.new)))
            };
            let others = [start(&self.etc, "etc"), start(&self.usr, "usr")];
            let booted = self.booted.compare(&self.new);
            let others = others.map(|other| other.map(parallel::join_scoped).transpose());
            let [etc, usr] = others;
            Ok(Images {
                booted: booted?,
                etc: etc?,
                usr: usr?,
            })
        })
    }
}
