//! The `/etc` of a generation becomes that of the running system, and of the next boots.

use super::execute::Which;
use super::journal::Switch;
use super::overlay::{Overlays, overlay};
use super::system::Etc;
use crate::error::Error;
use crate::machine::Machine;
use crate::plan;
use elea_etc::Sides;
use elea_formats::digest::Digest;
use elea_formats::generation::Generation;
use elea_store::Backing;
use elea_sys::disk::Disk as _;
use elea_sys::mount::{self, Mount};
use elea_sys::{At as _, durable};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The largest manifest, in bytes.
const MAX_MANIFEST: u64 = 4 << 20;
/// Where this process alone has the new `/etc` while it writes there what came late.
const COPY: &str = "/run/elea/new-etc";

/// The two generations of a switch on a machine.
#[derive(Debug)]
pub(super) struct GenerationEtc<'a> {
    machine: &'a Machine,
    switch: Switch,
    overlays: Overlays,
}

impl<'a> GenerationEtc<'a> {
    pub(super) fn new(machine: &'a Machine, switch: &Switch) -> Result<Self, Error> {
        let overlays = Overlays::of_system()?;
        let switch = switch.clone();
        Ok(Self {
            machine,
            switch,
            overlays,
        })
    }

    fn number(&self, which: Which) -> u64 {
        match which {
            Which::Old => self.switch.old,
            Which::New => self.switch.new,
        }
    }

    /// What a death between the two halves of a switch leaves.
    #[cfg(test)]
    pub(super) fn half(&self) -> Result<(), Error> {
        let copy = self.overlays.copy(self.switch.new)?;
        let at = self.overlays.at.clone();
        Ok(self
            .overlays
            .outside
            .run(move || copy.attach_beneath(&at))??)
    }

    fn make(&self, which: Which) -> Result<(), Error> {
        let number = self.number(which);
        if self.overlays.shown()? == Some(self.switch.old) {
            self.overlays.hold(self.switch.old)?;
        }
        let mut before = None;
        if which == Which::New && !self.overlays.is_held(number)? {
            let upper = self.machine.generation(self.switch.old).join("etc/upper");
            before = Some(elea_etc::seen(&upper)?);
            let mount = self.fresh()?;
            self.overlays.add(number, mount)?;
        }
        self.overlays.show(number)?;
        // Whose edits the next new generation gets.
        let last_run = self.machine.state().root().join("state/last-run");
        durable::write(&last_run, format!("{number}\n").as_bytes())?;
        let Some(before) = before else { return Ok(()) };
        let (upper, lower) = etc_layers(self.machine, self.switch.old)?;
        let from = Sides {
            upper: &upper,
            lower: &lower,
        };
        let (_, new_lower) = etc_layers(self.machine, number)?;
        let copy = self.overlays.copy(number)?;
        fs::create_dir_all(COPY).at("create", COPY)?;
        copy.attach(Path::new(COPY))?;
        let late = elea_etc::late(&from, &before, &new_lower, Path::new(COPY));
        mount::detach(Path::new(COPY))?;
        late?;
        Ok(())
    }

    /// Writes the new generation's upper with the edits of the one that shows, and makes the overlay. An
    /// upper that a cut-off switch left was in no overlay that still is.
    fn fresh(&self) -> Result<Mount, Error> {
        let (upper, lower) = etc_layers(self.machine, self.switch.old)?;
        let from = Sides {
            upper: &upper,
            lower: &lower,
        };
        let image = image_of(self.machine, self.switch.new)?;
        let folder = self.machine.generation(self.switch.new);
        write_upper(&from, &self.machine.image(&image, Backing::File)?, &folder)?;
        let (upper, work) = (folder.join("etc/upper"), folder.join("etc/work"));
        over(self.machine, &image, &upper, &work)
    }
}

/// The image of a generation, by its manifest.
fn image_of(machine: &Machine, number: u64) -> Result<Digest, Error> {
    let path = format!("generations/{number}/manifest.json");
    let text = machine.state().read(&path, MAX_MANIFEST)?;
    let manifest: Generation = serde_json::from_slice(&text).map_err(|e| {
        Error::Live(format!(
            "the manifest of generation {number} does not read: {e}"
        ))
    })?;
    Ok(manifest.image)
}

/// The upper of a generation's `/etc` and the image's `/etc` below it.
pub(crate) fn etc_layers(machine: &Machine, number: u64) -> Result<(PathBuf, PathBuf), Error> {
    if machine.number() == Some(number) {
        // That of an ephemeral `/etc` is the boot's.
        let (_, upper) = machine.upper()?;
        return Ok((upper, machine.lower()?.join("etc")));
    }
    let root = machine.image(&image_of(machine, number)?, Backing::File)?;
    let upper = machine.generation(number).join("etc/upper");
    Ok((upper, root.join("etc")))
}

/// An overlay on an image's `/etc`, without a place.
pub(super) fn over(
    machine: &Machine,
    image: &Digest,
    upper: &Path,
    work: &Path,
) -> Result<Mount, Error> {
    let on = |backing| -> Result<_, Error> {
        let lower = machine.image(image, backing)?.join("etc");
        Ok(overlay(&lower, upper, work).detached(Path::new("/etc")))
    };
    match on(Backing::File)? {
        Ok(mount) => Ok(mount),
        // A kernel that counts the EROFS file as a level has none left for this one.
        Err(first) => on(Backing::Loop)?.map_err(|_| first.into()),
    }
}

/// Writes `etc/upper` and `etc/work` of a generation: complete and durable before they have their names. The
/// initrd finds them and takes them as they are.
fn write_upper(from: &Sides<'_>, image: &Path, folder: &Path) -> Result<(), Error> {
    let (named, new) = (folder.join("etc"), folder.join("etc.new"));
    for old in [&named, &new] {
        if old.exists() {
            fs::remove_dir_all(old).at("remove", old)?;
        }
    }
    let (upper, work) = (new.join("upper"), new.join("work"));
    fs::create_dir_all(&upper).at("create", &upper)?;
    fs::create_dir(&work).at("create", &work)?;
    // A umask of whoever started us must not show in /etc.
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&upper, mode).at("set", &upper)?;
    let report = elea_etc::carry(from, &image.join("etc"), &upper)?;
    let path = new.join("report.json");
    let text = serde_json::to_vec(&report).unwrap_or_default();
    fs::write(&path, text).at("write", &path)?;
    durable::sync_filesystem(&new)?;
    fs::rename(&new, &named).at("rename", &new)?;
    Ok(durable::sync_folder(folder)?)
}

/// Whether a generation has a boot entry: the next boots use it, or can.
fn has_entry(machine: &Machine, number: u64) -> Result<bool, Error> {
    let entries = crate::entries::Entries::load(machine.boot()?)?;
    Ok(entries.generation(number).is_some())
}

/// Gives the generation its boot entry.
pub(super) fn arm(machine: &Machine, number: u64) -> Result<(), Error> {
    durable::sync_filesystem(&machine.generation(number))?;
    let _locked = machine.lock()?;
    let view = machine.view()?;
    let generation = view.manifest(number).ok_or(Error::Unknown(number))?;
    let plan = plan::stage(&view, generation, true, machine.number())?;
    machine.apply(&plan, &machine.payloads_of(generation.image))
}

impl Etc for GenerationEtc<'_> {
    fn show(&mut self, which: Which) -> Result<(), String> {
        self.make(which).map_err(|e| e.to_string())
    }

    fn show_usr(&mut self, image: &Digest) -> Result<(), String> {
        super::usr::show(self.machine, image).map_err(|e| e.to_string())
    }

    fn keep(&mut self) -> Result<(), String> {
        if self.switch.test || self.is_kept()? {
            return Ok(());
        }
        arm(self.machine, self.switch.new).map_err(|e| e.to_string())
    }

    fn is_kept(&self) -> Result<bool, String> {
        let kept = has_entry(self.machine, self.switch.new).map_err(|e| e.to_string())?;
        Ok(kept && !self.switch.test)
    }
}
