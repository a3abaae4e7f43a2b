//! This machine's disks: found, mounted for this process alone, and locked.
//!
//! In a running system the physical root is shown read-only at `/sysroot`. A verb that writes
//! does so from a mount namespace of its own, in which that mount point is writable and the
//! boot partition is mounted: nothing else on the machine can write there, and when the process ends
//! both are gone.

use crate::apply::{self, Context, Payloads};
use crate::error::Error;
use crate::plan::{Plan, keep};
use crate::view::{Disks, View};
use crate::{boots, candidate, esp};
use elea_formats::booted::{self, Booted, Etc};
use elea_formats::digest::{Algorithm, Digest};
use elea_store::{Backing, ImageFile, Store};
use elea_sys::disk::{Disk as _, Folder};
use elea_sys::lock::Lock;
use elea_sys::mount::{self, Attributes, Filesystem};
use elea_sys::{At as _, device, parallel};
use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What a machine's store names objects by, and its initrd and boot entries images.
pub const ALGORITHM: Algorithm = Algorithm::Sha256;
/// Where the physical root is in a running system.
const PHYSICAL: &str = "/sysroot";
/// Where this process has the boot partition.
const BOOT: &str = "/run/elea/boot";
/// Below `/elea` of a machine in memory: what would be its boot partition, which nothing boots from.
pub(crate) const MEMORY_BOOT: &str = "boot";
/// Where this process has the image below `/etc` and the state.
const LOWER: &str = "/run/elea/lower";
/// Where this process mounts other images.
const OTHER: &str = "/run/elea/other";
/// Where this process has images that it needs until it ends.
const IMAGES: &str = "/run/elea/images";
/// How long a change of the entries waits for another one; such a change takes seconds.
const CHANGE_WAIT: Duration = Duration::from_mins(2);
/// The longest `/run/elea/booted`.
const MAX_BOOTED: u64 = 1 << 20;

/// A machine that verbs act on.
#[derive(Debug)]
pub struct Machine {
    root: PathBuf,
    by: String,
    booted: Option<Booted>,
    state: Folder,
    boot: OnceCell<Folder>,
    lower: OnceCell<PathBuf>,
    images: RefCell<BTreeSet<PathBuf>>,
    files: RefCell<BTreeMap<Digest, Arc<ImageFile>>>,
}

impl Machine {
    /// The machine whose system root is `root`: `/` for the one that runs, another folder for
    /// a system that is mounted there (with its boot partition at `efi` or `boot`). `by` is
    /// what the log and others who wait for a lock are told: `elea upgrade`.
    ///
    /// For `/`, this thread gets a mount namespace of its own: call it before other threads
    /// are started that shall see the same.
    pub fn open(root: &Path, by: &str) -> Result<Self, Error> {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        let mut machine = Self {
            root: root.to_owned(),
            by: by.to_owned(),
            booted: None,
            state: Folder::new(root.join("elea")),
            boot: OnceCell::new(),
            lower: OnceCell::new(),
            images: RefCell::default(),
            files: RefCell::default(),
        };
        if root == Path::new("/") {
            machine.booted = Some(load_booted()?);
            mount::own_namespace()?;
            let physical = Path::new(PHYSICAL);
            mount::change(physical, Attributes::NONE, Attributes::READ_ONLY)?;
            machine.state = Folder::new(physical.join("elea"));
        }
        if !machine.state.root().join("generations").is_dir() {
            return Err(Error::NotElea(root.to_owned()));
        }
        Ok(machine)
    }

    /// What runs: `/run/elea/booted`. None for a system that only lies on a disk.
    pub fn booted(&self) -> Option<&Booted> {
        self.booted.as_ref()
    }

    /// This machine, unless it has no disk: then there is nothing that lasts, and no boot partition.
    pub fn on_disk(&self) -> Option<&Self> {
        let in_memory = self.booted.as_ref().is_some_and(Booted::is_in_memory);
        (!in_memory).then_some(self)
    }

    /// The number of the generation that runs.
    pub fn number(&self) -> Option<u64> {
        self.booted.as_ref().map(|b| b.generation)
    }

    /// The system root that was asked for.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `/elea` of the physical root, writable.
    pub fn state(&self) -> &Folder {
        &self.state
    }

    /// `$BOOT`, mounted at the first call.
    pub fn boot(&self) -> Result<&Folder, Error> {
        if let Some(boot) = self.boot.get() {
            return Ok(boot);
        }
        let folder = match &self.booted {
            Some(booted) if booted.is_in_memory() => self.state.root().join(MEMORY_BOOT),
            Some(booted) => mount_boot(&booted.device)?,
            None => find_boot(&self.root)?,
        };
        Ok(self.boot.get_or_init(|| Folder::new(folder)))
    }

    /// Both places that the machine's state is on.
    pub fn disks(&self) -> Result<Disks<'_>, Error> {
        Ok(Disks {
            state: &self.state,
            boot: self.boot()?,
        })
    }

    /// Everything that the disks say.
    pub fn view(&self) -> Result<View, Error> {
        Ok(View::load(self.disks()?)?)
    }

    /// The machine's store.
    pub fn store(&self) -> Result<Store, Error> {
        let store = Store::open(&self.state.root().join("store"))?;
        store.require(ALGORITHM)?;
        Ok(store)
    }

    /// The folder of a generation.
    pub fn generation(&self, number: u64) -> PathBuf {
        self.state.root().join(format!("generations/{number}"))
    }

    /// The upper of the running `/etc`, and its generation.
    pub fn upper(&self) -> Result<(u64, PathBuf), Error> {
        let booted = self.booted.as_ref().ok_or(Error::NotBooted)?;
        let folder = if booted.etc == Etc::Ephemeral {
            boots::folder(&self.state, &booted.boot_id)
        } else {
            self.generation(booted.generation)
        };
        Ok((booted.generation, folder.join("etc/upper")))
    }

    /// Who acts, and when, for the log.
    pub fn context(&self) -> Context {
        Context {
            time: now(),
            boot: self.booted.as_ref().map(|b| b.boot_id.clone()),
            by: self.by.clone(),
        }
    }

    /// The right to fetch and to stage, which one process has at a time. When another has it,
    /// waits up to `wait`, then says who. A live switch that was cut off is ended first; one that waits to be
    /// confirmed lets nothing else begin.
    pub fn claim(&self, wait: Duration) -> Result<Lock, Error> {
        let claimed = self.claim_only(wait)?;
        crate::live::settle(self)?;
        Ok(claimed)
    }

    /// The same right for whoever ends a live switch.
    pub(crate) fn claim_only(&self, wait: Duration) -> Result<Lock, Error> {
        self.lock_file("operation.lock", wait)
    }

    /// The right to change the entries and the log, for the moment of a change. The health
    /// gate takes it too, so it is never held while something is fetched.
    pub fn lock(&self) -> Result<Lock, Error> {
        self.lock_file("change.lock", CHANGE_WAIT)
    }

    fn lock_file(&self, name: &str, wait: Duration) -> Result<Lock, Error> {
        let folder = self.state.root().join("state");
        fs::create_dir_all(&folder).at("create", &folder)?;
        let path = folder.join(name);
        let mut last = None;
        let taken = device::wait(wait, || {
            match Lock::try_take(&path, &self.by) {
                Ok(lock) => return Some(lock),
                Err(error) => last = Some(error),
            }
            None
        });
        match (taken, last) {
            (Some(lock), _) => Ok(lock),
            (None, Some(error)) => Err(error.into()),
            (None, None) => Ok(Lock::try_take(&path, &self.by)?),
        }
    }

    /// Carries out a plan made from a [`View`] that was read under the same lock.
    pub fn apply(&self, plan: &Plan, source: &dyn Payloads) -> Result<(), Error> {
        Ok(apply::apply(plan, self.disks()?, &self.context(), source)?)
    }

    /// The running image, without the machine's `/etc` and state over it.
    pub fn lower(&self) -> Result<&Path, Error> {
        if let Some(lower) = self.lower.get() {
            return Ok(lower);
        }
        if self.booted.is_none() {
            return Err(Error::NotBooted);
        }
        let folder = Path::new(LOWER);
        fs::create_dir_all(folder).at("create", folder)?;
        mount::tree(Path::new("/"), false)?.attach(folder)?;
        Ok(self.lower.get_or_init(|| folder.to_owned()))
    }

    /// Another image, mounted read-only for this process until `with` is done.
    pub fn with_image<T>(
        &self,
        image: &Digest,
        with: impl FnOnce(&Path) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let folder = Path::new(OTHER);
        fs::create_dir_all(folder).at("create", folder)?;
        self.store()?.mount(image, folder)?;
        let done = with(folder);
        let _ = mount::detach(folder);
        done
    }

    /// Another image, mounted read-only for this process until it ends.
    pub(crate) fn image(&self, image: &Digest, backing: Backing) -> Result<PathBuf, Error> {
        let kind = match backing {
            Backing::File => "file",
            Backing::Loop => "loop",
        };
        let folder = Path::new(IMAGES).join(format!("{image}-{kind}"));
        let mut mounted = self.images.borrow_mut();
        if !mounted.contains(&folder) {
            fs::create_dir_all(&folder).at("create", &folder)?;
            self.image_file(image)?.mount(&folder, backing)?;
            mounted.insert(folder.clone());
        }
        Ok(folder)
    }

    /// The file of an image, read at the first call.
    pub(crate) fn image_file(&self, image: &Digest) -> Result<Arc<ImageFile>, Error> {
        if let Some(file) = self.files.borrow().get(image) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(self.store()?.open_image(image)?);
        self.files.borrow_mut().insert(*image, Arc::clone(&file));
        Ok(file)
    }

    /// Reads the files of images, all at once, for those who ask for them later.
    pub(crate) fn read_images(&self, images: &[Digest]) -> Result<(), Error> {
        let store = self.store()?;
        let mut files = self.files.borrow_mut();
        let missing: BTreeSet<Digest> = images.iter().copied().collect();
        let missing = missing.into_iter().filter(|i| !files.contains_key(i));
        let missing: Vec<Digest> = missing.collect();
        for read in parallel::each(missing, |image| store.open_image(&image)) {
            let file = read?;
            files.insert(*file.digest(), Arc::new(file));
        }
        Ok(())
    }

    /// The generation whose `/etc` the running system shows: the booted one, or one that was applied since.
    pub fn etc_number(&self) -> Option<u64> {
        let booted = self.number()?;
        Some(crate::live::shown().unwrap_or(booted))
    }

    /// The image whose `/usr` the running system shows: the booted one, or one that was applied since.
    pub fn usr_image(&self) -> Option<Digest> {
        let booted = self.booted.as_ref()?.image;
        Some(crate::live::shown_usr().unwrap_or(booted))
    }

    /// The images that must stay in the store: those of every generation that is kept, and what runs.
    pub fn roots(&self) -> Result<Vec<Digest>, Error> {
        let view = self.view()?;
        let kept = keep(&view, self.number());
        let images = kept.keys().filter_map(|n| Some(view.manifest(*n)?.image));
        let running = self.booted.as_ref().map(|b| b.image);
        let live = crate::live::open_images(self, &view)?;
        let live = live.into_iter().chain(self.usr_image());
        let all: BTreeSet<Digest> = images.chain(running).chain(live).collect();
        Ok(all.into_iter().collect())
    }

    /// Where kernels and initrds come from that are not on `$BOOT`: the image of a generation.
    pub fn payloads_of(&self, image: Digest) -> candidate::FromImage<'_> {
        candidate::FromImage::new(self, image)
    }
}

/// The boot partition, and what boots from it now.
#[derive(Debug, Clone)]
pub struct BootRoom {
    /// Bytes free on it.
    pub free: u64,
    /// Bytes of the kernel and initrds of what runs, or is the newest that is good.
    pub running: u64,
    /// Versions of its packages, by name.
    pub packages: BTreeMap<String, String>,
}

impl Machine {
    /// How much room there is for a kernel and initrd, and how large those are that run.
    pub fn boot_room(&self) -> Result<BootRoom, Error> {
        let view = self.view()?;
        let number = self.number().or_else(|| view.entries.good().next_back());
        let running = number.and_then(|number| view.manifest(number));
        let running = running.ok_or(Error::NotBooted)?;
        let packages = crate::upgrade::release_of(self, running)?.packages;
        Ok(BootRoom {
            free: self.boot()?.free()?,
            running: running.payloads().map(|payload| payload.size).sum(),
            packages: packages.into_iter().map(|p| (p.name, p.version)).collect(),
        })
    }
}

/// The time, RFC 3339 in UTC.
pub(crate) fn now() -> String {
    jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

/// Reads `/run/elea/booted`.
pub fn load_booted() -> Result<Booted, Error> {
    let path = Path::new(booted::PATH);
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() > MAX_BOOTED => {
            return Err(Error::Booted(format!("it has {} bytes", metadata.len())));
        }
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(Error::NotBooted),
        Err(e) => return Err(Error::Booted(e.to_string())),
    }
    let text = fs::read(path).at("read", path)?;
    serde_json::from_slice(&text).map_err(|e| Error::Booted(e.to_string()))
}

/// Mounts the boot partition of the disk that the physical root is on.
fn mount_boot(root_device: &str) -> Result<PathBuf, Error> {
    let esp = esp::find(Some(root_device), Path::new(PHYSICAL))?;
    let folder = Path::new(BOOT);
    fs::create_dir_all(folder).at("create", folder)?;
    let private = Attributes::NO_SUID
        .and(Attributes::NO_DEVICES)
        .and(Attributes::NO_EXEC);
    // `errors=remount-ro` is vfat's default: a damaged FAT is not written further.
    Filesystem::new("vfat")
        .source(esp.path())
        .value("umask", "0077")
        .attributes(private)
        .mount(folder)?;
    Ok(folder.to_owned())
}

/// The boot partition of a system that is mounted somewhere.
fn find_boot(root: &Path) -> Result<PathBuf, Error> {
    let places = ["efi", "boot"].map(|name| root.join(name));
    let found = places.into_iter().find(|p| p.join("loader").is_dir());
    found.ok_or_else(|| Error::NoBoot {
        root: root.to_owned(),
    })
}
