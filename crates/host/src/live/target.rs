//! What is to be on a machine, beside what runs.

use super::files::LoadError;
use super::plan::{Plan, is_of};
use super::prepare::{Between, prepare};
use super::report::How;
use super::state::{Asked, Live};
use super::verbs::Options;
use super::{Files, system};
use crate::candidate;
use crate::error::Error;
use crate::install::{Bootable, Known};
use crate::machine::Machine;
use crate::upgrade::{followed, release_of};
use crate::view::View;
use elea_etc::Report;
use elea_formats::digest::Digest;
use elea_formats::generation::Generation;
use elea_formats::release::Package;
use elea_store::Backing;
use elea_sys::namespace::Namespace;
use elea_sys::root::Root;
use std::path::Path;
use std::thread::{self, JoinHandle};

/// What runs, found out while images are read.
pub(super) struct Running {
    /// The files of its units.
    pub(super) files: JoinHandle<Result<Files, LoadError>>,
    /// What systemd says.
    pub(super) live: JoinHandle<Result<Live, String>>,
}

/// What is to be, and what it comes from.
pub(super) struct Target {
    /// What was booted, or is the newest that is good.
    booted: Generation,
    /// Whose `/etc` shows.
    shown: Generation,
    /// The image whose `/usr` shows.
    usr: Digest,
    /// The packages of what runs.
    packages: Vec<Package>,
    /// What runs, on a machine that does.
    running: Option<Running>,
    /// What boots of the image.
    pub(super) boots: Bootable,
    /// The generation.
    pub(super) new: Generation,
}

impl Target {
    /// Looks at an image and at what runs.
    pub(super) fn load(
        machine: &Machine,
        view: &View,
        image: &Digest,
        options: &Options,
    ) -> Result<Self, Error> {
        let base = machine
            .number()
            .or_else(|| view.entries.good().next_back())
            .ok_or(Error::NotBooted)?;
        let manifest = |number| view.manifest(number).ok_or(Error::Unknown(number)).cloned();
        let booted = manifest(base)?;
        let shown = manifest(machine.etc_number().unwrap_or(base))?;
        let usr = machine.usr_image().unwrap_or(booted.image);
        let store = machine.store()?;
        let outside = machine.booted().map(|_| Namespace::of_init()).transpose()?;
        let asked = if options.live_usr {
            Asked::Programs
        } else {
            Asked::Files
        };
        let running = outside.map(|outside| Running {
            files: thread::spawn(|| Files::load(Path::new("/"))),
            live: thread::spawn(move || system::live(false, Some(&outside), asked)),
        });
        machine.read_images(&[booted.image, shown.image, usr, *image])?;
        let release = release_of(machine, &booted)?;
        let boots = |image: &Digest, known| {
            let file = machine.image_file(image)?;
            let boots = Bootable::of(&store, &file, known);
            Ok::<_, Error>(boots?)
        };
        let generation = Some(&booted);
        let old = boots(
            &booted.image,
            Known {
                generation,
                parts: &[],
            },
        )?;
        let parts = old.parts();
        let boots = boots(
            image,
            Known {
                generation: view.of_image(image),
                parts,
            },
        )?;
        let follow = followed(view, &booted);
        let new = candidate::generation(view, &booted, &release.arguments, &boots, follow)?;
        let mut packages = release.packages;
        if usr != booted.image
            && let Some(release) = store.image(&usr)?.release
        {
            packages = release.packages;
        }
        Ok(Self {
            booted,
            shown,
            usr,
            packages,
            running,
            boots,
            new,
        })
    }

    /// How what runs becomes it, with what the machine's edits of `/etc` met.
    pub(super) fn plan(
        &mut self,
        machine: &Machine,
        options: &Options,
    ) -> Result<(Plan, Report), Error> {
        let running = self.running.take().ok_or(Error::NotBooted)?;
        let between = Between {
            booted: &self.booted,
            shown: &self.shown,
            usr: self.usr,
            live_usr: options.live_usr,
            new: &self.new,
            packages: [&self.packages, &self.boots.release.packages],
        };
        let (plan, report) = prepare(machine, between, running)?;
        if plan.usr.is_some() {
            self.has_elea(machine, &options.program)?;
        }
        Ok(match options.how {
            How::Boot => (plan.at_boot(), report),
            _ => (plan, report),
        })
    }

    /// Whoever goes back finds `elea` in the new `/usr`.
    fn has_elea(&self, machine: &Machine, program: &Path) -> Result<(), Error> {
        let root = Root::open(&machine.image(&self.new.image, Backing::File)?)?;
        if !is_of(&program.to_string_lossy(), "/usr") || root.exists(program) {
            return Ok(());
        }
        Err(Error::NotLive(format!(
            "its image has no {}, which would have to take it back",
            program.display()
        )))
    }
}
