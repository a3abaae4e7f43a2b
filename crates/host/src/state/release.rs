//! The release whose state it is, and where its `/etc` and `/var` are: of the machine that runs, or of a system that lies on
//! a disk.

use super::{Error, of_image};
use crate::generations;
use crate::machine::Machine;
use elea_formats::state::{Mode, State};
use elea_sys::root::Root;
use rustix::fs::FileType;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// A release while it is looked at.
pub(super) struct Release<'a> {
    /// What it keeps.
    pub(super) list: &'a State,
    /// Its image.
    pub(super) image: &'a Path,
    /// Folders that its `/etc` is made of, the uppermost first.
    etc: Vec<PathBuf>,
    /// Its `/var`.
    var: PathBuf,
}

/// Something below `/etc` or `/var`: the folder that it is in stays open.
pub(super) struct Place {
    _folder: OwnedFd,
    /// Itself, whose last name is not followed.
    pub(super) path: PathBuf,
}

impl Release<'_> {
    /// Does something with the release that runs; of a system that does not run, with the one that it boots next.
    pub(super) fn with<T>(
        machine: &Machine,
        work: impl FnOnce(&Release<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if machine.booted().is_some() {
            let image = machine.lower()?;
            return work(&Release {
                list: &of_image(image)?,
                image,
                etc: vec![PathBuf::from("/etc")],
                var: PathBuf::from("/var"),
            });
        }
        let view = machine.view()?;
        let number = generations::next(&view).or_else(|| view.entries.good().next_back());
        let generation = number.and_then(|number| view.manifest(number));
        let generation = generation.ok_or_else(|| Error::NoRelease(machine.root().to_owned()))?;
        let state = machine.state().root().join("state");
        let done = machine.with_image(&generation.image, |image| {
            let looked = || {
                let list = of_image(image)?;
                // What was changed goes to the next generation; a fresh `/etc` has only what is kept.
                let last = view
                    .last_run
                    .map(|n| machine.generation(n).join("etc/upper"));
                let upper = match list.mode {
                    Mode::Ephemeral => Some(state.join("etc")),
                    Mode::Persistent => last,
                };
                work(&Release {
                    list: &list,
                    image,
                    etc: upper.into_iter().chain([image.join("etc")]).collect(),
                    var: state.join("var"),
                })
            };
            Ok(looked())
        });
        done?
    }

    /// What is at an absolute path below `/etc` or `/var`. Links on the way lead nowhere else.
    pub(super) fn find(&self, path: &str) -> Result<Option<Place>, Error> {
        let (top, inside) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
        let folders = match top {
            "etc" => &self.etc[..],
            _ => std::slice::from_ref(&self.var),
        };
        let inside = Path::new(inside);
        for folder in folders {
            let found = Root::open(folder).and_then(|root| Ok((root.kind(inside)?, root)));
            let (kind, root) = match found {
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                found => found?,
            };
            // An overlay hides what is below by such a device.
            if kind == FileType::CharacterDevice {
                return Ok(None);
            }
            let (held, parent) = root.folder(inside.parent().unwrap_or(Path::new("")))?;
            return Ok(Some(Place {
                _folder: held,
                path: parent.join(inside.file_name().unwrap_or_default()),
            }));
        }
        Ok(None)
    }

    /// A file of `/etc`, such as that of the accounts.
    pub(super) fn text(&self, name: &str, largest: u64) -> Result<String, Error> {
        for folder in &self.etc {
            match Root::open(folder).and_then(|root| root.read(Path::new(name), largest)) {
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                read => return Ok(String::from_utf8_lossy(&read?).into_owned()),
            }
        }
        Ok(String::new())
    }
}
