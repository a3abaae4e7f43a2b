//! Where two `/etc` may differ, if it is known what their layers have.

use crate::Error;
use crate::edits::{MAX_DEPTH, text};
use crate::entry::{Entry, Kind, names};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Places below a folder: of a place, whatever is above it is looked at, too, and what is in it only if it is *whole*.
#[derive(Debug, Clone, Default)]
pub struct Places {
    pub(crate) whole: bool,
    pub(crate) below: BTreeMap<Vec<u8>, Self>,
}

impl Places {
    /// No place.
    pub fn new() -> Self {
        Self::default()
    }

    /// A place; `path` is relative to the folder.
    pub fn add(&mut self, path: &[u8]) {
        let mut here = self;
        for part in path.split(|b| *b == b'/').filter(|part| !part.is_empty()) {
            here = here.below.entry(part.to_vec()).or_default();
        }
    }

    /// All that an overlay's upper folder has. A folder of it that hides the one below is whole.
    pub fn add_upper(&mut self, upper: &Path) -> Result<(), Error> {
        self.add_folder(upper, &mut Vec::new(), 0)
    }

    fn add_folder(&mut self, folder: &Path, path: &mut Vec<u8>, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(Error::TooMuch {
                path: text(path),
                limit: "256 folders deep",
            });
        }
        for name in names(folder)? {
            let length = path.len();
            path.push(b'/');
            path.extend_from_slice(&name);
            let found = Entry::load(&folder.join(OsStr::from_bytes(&name)))?;
            let place = self.below.entry(name).or_default();
            if let Some(found) = found.filter(|entry| entry.kind == Kind::Directory) {
                place.whole |= found.opaque;
                place.add_folder(&found.path, path, depth + 1)?;
            }
            path.truncate(length);
        }
        Ok(())
    }
}
