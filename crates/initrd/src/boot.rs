//! One boot: what is asked for, what is there, and the steps to a running system.

use crate::disk::{self, Disk, elea};
use crate::dog::Dog;
use crate::drivers::Drivers;
use crate::error::Error;
use crate::esp::{self, GaveWay};
use crate::image::{Backing, Image};
use crate::loader::Loader;
use crate::request::{Request, Root, Target};
use crate::{console, etc, fresh, handover, memory, reset, state, tries};
use elea_formats::booted::{self, Booted, Etc, Verity};
use elea_formats::state::State;
use elea_sys::mount::{Attributes, Filesystem, detach};
use elea_sys::{At as _, PathError, durable};
use std::convert::Infallible;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Instant;

const METADATA: &str = "/run/elea/image";

/// What this boot has and knows.
#[derive(Debug)]
pub(crate) struct Boot {
    begun: Instant,
    /// The kernel's id of this boot.
    pub(crate) id: String,
    /// What the command line asks for.
    pub(crate) request: Request,
    /// What the boot loader says.
    pub(crate) loader: Loader,
    /// The kernel modules.
    pub(crate) drivers: Drivers,
    /// The physical root, once it is mounted.
    pub(crate) disk: Option<Disk>,
    /// The watchdog, while it runs.
    pub(crate) dog: Option<Dog>,
    /// What the person should know.
    pub(crate) warnings: Vec<String>,
}

/// What comes after the checks of a boot that nobody watches.
#[derive(Debug)]
pub(crate) enum Next {
    /// Boot the generation.
    Go,
    /// Start the machine anew: the loader will take another entry.
    Reboot(String),
    /// Ask the person: no good generation is left.
    Rescue(String),
}

/// Mounts the kernel's own file systems, but for those that are there.
pub(crate) fn mount_kernel() -> Result<(), Error> {
    let private = Attributes::NO_SUID.and(Attributes::NO_EXEC);
    let kernel = private.and(Attributes::NO_DEVICES);
    let mounts = [
        ("proc", "/proc", None, kernel),
        ("sysfs", "/sys", None, kernel),
        ("devtmpfs", "/dev", Some("0755"), private),
        (
            "tmpfs",
            "/run",
            Some("0755"),
            Attributes::NO_SUID.and(Attributes::NO_DEVICES),
        ),
    ];
    for (kind, path, mode, attributes) in mounts {
        let path = Path::new(path);
        fs::create_dir_all(path).at("create", path)?;
        // The kernel mounts devtmpfs itself where it is told to; in a container all of it may be there.
        let device = |path: &Path| fs::metadata(path).map(|at| at.dev()).at("look at", path);
        if device(path)? != device(Path::new("/"))? {
            continue;
        }
        let mut filesystem = Filesystem::new(kind).source(kind).attributes(attributes);
        if let Some(mode) = mode {
            filesystem = filesystem.value("mode", mode);
        }
        filesystem.mount(path)?;
    }
    // Otherwise the kernel drops our lines after the first ten.
    let _ = fs::write("/proc/sys/kernel/printk_devkmsg", "on\n");
    let elea = Path::new("/run/elea");
    Ok(fs::create_dir_all(elea).at("create", elea)?)
}

impl Boot {
    /// Loads modules, starts the watchdog and reads what is asked for.
    pub(crate) fn begin(begun: Instant) -> Result<Self, Error> {
        let mut drivers = Drivers::open()?;
        drivers.load_always();
        let mut warnings = Vec::new();
        drivers.load_for_devices();
        drivers.ask("fs-efivarfs");
        let dog = Dog::start(&mut drivers, &mut warnings);
        let text = read("/proc/cmdline")?;
        let request = Request::parse(&text)?;
        Ok(Self {
            begun,
            id: read("/proc/sys/kernel/random/boot_id")?.trim().to_owned(),
            loader: Loader::load(),
            request,
            drivers,
            disk: None,
            dog,
            warnings,
        })
    }

    /// Mounts the physical root.
    pub(crate) fn mount_disk(&mut self) -> Result<(), Error> {
        let disk = match &self.request.root {
            Root::Disk(uuid) => Disk::mount(uuid, &mut self.drivers)?,
            Root::Memory => memory::mount()?,
        };
        self.ping();
        self.disk = Some(disk);
        Ok(())
    }

    fn ping(&self) {
        if let Some(dog) = &self.dog {
            dog.ping();
        }
    }

    /// Something that does not stop the boot.
    fn warn(&mut self, text: String) {
        console::warn(&text);
        self.warnings.push(text);
    }

    /// Looks at earlier tries of the generation and records this one.
    pub(crate) fn judge(&mut self) -> Result<Next, Error> {
        let Target { number, image } = self.request.target;
        if !disk::generation(number).is_dir() {
            return Err(Error::NoGeneration(number));
        }
        match etc::image_of(number) {
            Some(manifest) if manifest != image => {
                return Err(Error::OtherImage {
                    number,
                    manifest: manifest.to_string(),
                    entry: image,
                });
            }
            Some(_) => {}
            None => self.warn(format!(
                "the manifest of generation {number} cannot be read"
            )),
        }
        let failed = tries::failed(&tries::folder(number), &self.id).len();
        let by_loader = self.loader.entry.is_some() && !self.loader.counted;
        if failed >= tries::FAILURES && by_loader {
            let next = self.give_way(number, failed);
            if !matches!(next, Next::Go) {
                return Ok(next);
            }
        }
        // A full disk must not keep a machine from booting.
        if let Err(e) = tries::record(number, &self.id) {
            self.warn(format!("this try is not recorded: {e}"));
        }
        Ok(Next::Go)
    }

    fn give_way(&mut self, number: u64, failed: usize) -> Next {
        let disk = self.disk.as_ref().and_then(|d| d.device.disk.clone());
        let said = format!("generation {number} was good and failed {failed} times in a row");
        match esp::give_way(number, disk.as_deref(), &self.loader, &mut self.drivers) {
            Ok(GaveWay::Yes) => {
                Next::Reboot(format!("{said}; the next older good one takes its place"))
            }
            Ok(GaveWay::NoOther) => Next::Rescue(format!("{said}, and no other good one is left")),
            Ok(GaveWay::NotNamed) => {
                self.warn(format!("{said}, but its boot entry was not found"));
                Next::Go
            }
            Err(e) => {
                self.warn(format!("{said}, and its entry cannot be changed: {e}"));
                Next::Go
            }
        }
    }

    /// Mounts a generation and hands over to its init. After an error all that was mounted
    /// for it is gone again, so that another can be tried.
    pub(crate) fn start(&mut self, target: Target, rescue: bool) -> Result<Infallible, Error> {
        let root = Path::new(handover::ROOT);
        let started = self.prepare(target, root, rescue);
        if started.is_err() {
            undo(root);
        }
        let (etc, verity) = started?;
        let watchdog = self
            .dog
            .take()
            .and_then(|dog| dog.leave_to(root, &self.request.line));
        self.leave_word(target, rescue, etc, verity, watchdog)?;
        handover::hand_over()
    }

    fn prepare(
        &mut self,
        target: Target,
        root: &Path,
        rescue: bool,
    ) -> Result<(Etc, Verity), Error> {
        let image = Image::check(target.image)?;
        self.ping();
        // Whoever is in the rescue menu may still want what would go.
        if !rescue {
            reset::carry_out(&elea(""), &self.id)?;
        }
        let unchecked = match image.verity {
            Verity::Required => None,
            Verity::Unsealed => Some("the objects are not sealed yet: reads are not checked"),
            Verity::Unsupported => {
                Some("the file system has no fs-verity: the image was checked, objects are not")
            }
        };
        if let Some(text) = unchecked {
            self.warn(text.to_owned());
        }
        let mut etc = self.prepare_etc(target, root, &image, Backing::File, rescue);
        if let Err(Error::Mount(e)) = &etc {
            // A kernel that counts the EROFS file as a level has no level left for /etc.
            console::warn(&format!("{e}; trying again with a loop device"));
            undo(root);
            etc = self.prepare_etc(target, root, &image, Backing::Loop, rescue);
        }
        let (etc, list) = etc?;
        self.ping();
        // The overlays hold it from here on.
        detach(Path::new(METADATA))?;
        state::machine_id(root)?;
        let folder = self.fresh(target, rescue).folder();
        let var = list.as_ref().map(|_| folder.join("var"));
        state::mount(root, var.as_deref(), &mut self.warnings)?;
        if let Some(list) = &list {
            let (place, last) = (elea("state"), etc::last_run().map(etc::folder));
            let last = last.map(|folder| folder.join("upper"));
            fresh::keep(list, &fresh::Sides::new(&place, root, last.as_deref()))?;
        }
        // Not written, the next generation would carry the wrong edits: better to fail now.
        if !rescue && etc::last_run() != Some(target.number) {
            let text = format!("{}\n", target.number);
            durable::write(&elea("state/last-run"), text.as_bytes())?;
        }
        Ok((etc, image.verity))
    }

    fn prepare_etc(
        &mut self,
        target: Target,
        root: &Path,
        image: &Image,
        backing: Backing,
        rescue: bool,
    ) -> Result<(Etc, Option<State>), Error> {
        image.mount(root, Path::new(METADATA), backing, &mut self.drivers)?;
        let list = fresh::declared(root)?;
        let (etc, folder) = if list.is_some() {
            let fresh = self.fresh(target, rescue);
            fresh.make(root)?;
            (Etc::Ephemeral, fresh.folder().join("etc"))
        } else {
            let etc = etc::prepare(target, root, backing, &mut self.drivers)?;
            (etc, etc::folder(target.number))
        };
        etc::mount(&folder, root)?;
        Ok((etc, list))
    }

    /// The folders of this boot, if its `/etc` and `/var` are fresh.
    fn fresh(&self, target: Target, rescue: bool) -> fresh::Boot<'_> {
        fresh::Boot::new(
            &elea("state"),
            &self.id,
            target.number,
            rescue,
            tries::now(),
        )
    }

    /// Writes `/run/elea/booted` and the link that systemd's gpt-auto reads.
    fn leave_word(
        &self,
        target: Target,
        rescue: bool,
        etc: Etc,
        verity: Verity,
        watchdog: Option<String>,
    ) -> Result<(), Error> {
        let Some(disk) = &self.disk else {
            return Ok(());
        };
        let (major, minor) = disk.device.number;
        let try_file = tries::folder(target.number).join(format!("{}.json", self.id));
        let booted = Booted {
            schema: booted::SCHEMA.to_owned(),
            boot_id: self.id.clone(),
            generation: target.number,
            image: target.image,
            device: format!("{major}:{minor}"),
            device_name: disk.device.name.clone(),
            root_uuid: disk.uuid.clone(),
            root_kind: disk.kind.clone(),
            try_file: try_file
                .exists()
                .then(|| format!("/elea/generations/{}/tries/{}.json", target.number, self.id)),
            initrd_seconds: (self.begun.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            verity,
            rescue,
            etc,
            watchdog,
            warnings: self.warnings.clone(),
        };
        console::note(&format!(
            "generation {} after {:.2} s in the initrd",
            target.number, booted.initrd_seconds
        ));
        let text = serde_json::to_vec_pretty(&booted).unwrap_or_default();
        fs::write(booted::PATH, text).at("write", booted::PATH)?;
        if self.request.root == Root::Memory {
            return Ok(());
        }
        let systemd = Path::new("/run/systemd");
        fs::create_dir_all(systemd).at("create", systemd)?;
        let link = systemd.join("volatile-root");
        std::os::unix::fs::symlink(format!("/dev/block/{major}:{minor}"), &link)
            .at("create", &link)?;
        Ok(())
    }
}

/// Takes away what `prepare` mounted: everything below the new root goes with it.
fn undo(root: &Path) {
    let _ = detach(root);
    let _ = detach(Path::new(METADATA));
}

fn read(path: &str) -> Result<String, PathError> {
    fs::read_to_string(path).at("read", path)
}
