//! The overlays at `/etc`: one shows, and the others of a switch are held at a place of their own, so that each
//! upper belongs to one overlay for as long as it may be needed.
//!
//! Everything is found in the list of mounts, so whoever comes after a crash goes on from what is there.

use elea_formats::mountinfo::{self, Mounted};
use elea_sys::mount::{self, Filesystem, Mount, MountError};
use elea_sys::namespace::Namespace;
use elea_sys::{At as _, PathError};
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// What the initrd calls its overlay, too.
const SOURCE: &str = "elea-etc";

/// Why `/etc` could not be changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// A mount.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// A file or a namespace.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Not as the initrd or a switch left it.
    #[error("{0} is not the overlay of a generation; something else was mounted there")]
    Foreign(PathBuf),
    /// The overlay is gone.
    #[error("the /etc of generation {0} is not held any more")]
    Gone(u64),
}

impl From<Error> for crate::Error {
    fn from(error: Error) -> Self {
        Self::Live(error.to_string())
    }
}

/// The overlays at one place.
#[derive(Debug)]
pub(super) struct Overlays {
    /// `/etc`.
    pub(super) at: PathBuf,
    /// Where they are held: `<number>` below it.
    pub(super) held: PathBuf,
    /// Whose mounts they are: the running system's.
    pub(super) outside: Namespace,
}

/// An overlay of `upper` on an image's `/etc`, as the initrd makes it.
pub(super) fn overlay(lower: &Path, upper: &Path, work: &Path) -> Filesystem {
    Filesystem::new("overlay")
        .source(SOURCE)
        .value("metacopy", "off")
        .value("redirect_dir", "off")
        .value("index", "off")
        .value("xino", "off")
        .value("lowerdir+", lower)
        .value("upperdir", upper)
        .value("workdir", work)
}

/// The generation whose upper a mount shows.
fn generation(mount: &Mounted) -> Option<u64> {
    let upper = mount
        .value("upperdir")
        .filter(|_| mount.kind == "overlay")?;
    let folder = upper.strip_suffix("/etc/upper")?;
    let (_, number) = folder.rsplit_once("/generations/")?;
    number.parse().ok()
}

/// All mounts that the calling thread sees.
pub(super) fn mounts() -> Result<Vec<Mounted>, PathError> {
    let path = Path::new("/proc/thread-self/mountinfo");
    let text = fs::read(path).at("read", path)?;
    Ok(mountinfo::parse(&String::from_utf8_lossy(&text)))
}

/// What the calling thread sees mounted below a folder.
pub(super) fn mounted_below(folder: &str) -> Result<Vec<String>, PathError> {
    let prefix = format!("{folder}/");
    let below = mounts()?.into_iter().map(|mount| mount.at);
    Ok(below.filter(|at| at.starts_with(&prefix)).collect())
}

/// The generation whose `/etc` process 1 sees.
pub(crate) fn of_init() -> Option<u64> {
    let text = fs::read("/proc/1/mountinfo").ok()?;
    let mounts = mountinfo::parse(&String::from_utf8_lossy(&text));
    generation(mountinfo::stack(&mounts, "/etc").last()?)
}

/// Lets go of what a switch that has ended held.
pub(super) fn release() {
    // What stays is gone at the next boot.
    let _ = Overlays::of_system().and_then(|overlays| overlays.release());
}

impl Overlays {
    /// Those of the running system's `/etc`.
    pub(super) fn of_system() -> Result<Self, Error> {
        Ok(Self {
            at: "/etc".into(),
            held: "/run/elea/etc".into(),
            outside: Namespace::of_init()?,
        })
    }

    fn outside<T: Send>(&self, work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
        self.outside.run(work)?
    }

    /// The generations whose overlays are at the place, the lowest first; what shows is the last.
    fn stack(&self) -> Result<Vec<u64>, Error> {
        self.outside(|| {
            let mounts = mounts()?;
            let stack = mountinfo::stack(&mounts, &self.at.to_string_lossy());
            let numbers = stack.into_iter().map(generation);
            let numbers: Option<Vec<u64>> = numbers.collect();
            numbers.ok_or_else(|| Error::Foreign(self.at.clone()))
        })
    }

    /// The generation whose overlay shows.
    pub(super) fn shown(&self) -> Result<Option<u64>, Error> {
        Ok(self.stack()?.last().copied())
    }

    fn place(&self, number: u64) -> PathBuf {
        self.held.join(number.to_string())
    }

    /// Whether an overlay can be shown again.
    pub(super) fn is_held(&self, number: u64) -> Result<bool, Error> {
        let place = self.place(number);
        self.outside(|| {
            let mounts = mounts()?;
            Ok(!mountinfo::stack(&mounts, &place.to_string_lossy()).is_empty())
        })
    }

    /// Holds what shows, which is `number`'s.
    pub(super) fn hold(&self, number: u64) -> Result<(), Error> {
        if self.is_held(number)? {
            return Ok(());
        }
        let place = self.make_place(number)?;
        self.outside(|| Ok(mount::tree(&self.at, false)?.private()?.attach(&place)?))
    }

    /// Holds a new overlay.
    pub(super) fn add(&self, number: u64, overlay: Mount) -> Result<(), Error> {
        let place = self.make_place(number)?;
        self.outside(move || Ok(overlay.attach(&place)?))
    }

    /// Lets the calling thread, whose mounts are its own, see what shows now: a switch since then does not reach it.
    pub(super) fn look(&self) -> Result<(), Error> {
        let copy = self.outside(|| Ok(mount::tree(&self.at, true)?.private()?))?;
        Ok(copy.attach(&self.at)?)
    }

    /// What is held, without a place, for the caller's mounts.
    pub(super) fn copy(&self, number: u64) -> Result<Mount, Error> {
        let place = self.place(number);
        self.outside(|| Ok(mount::tree(&place, false)?.private()?))
    }

    fn make_place(&self, number: u64) -> Result<PathBuf, Error> {
        let place = self.place(number);
        self.outside(|| {
            // Nobody else has a use for what is behind it.
            let mut folder = fs::DirBuilder::new();
            folder.recursive(true).mode(0o700);
            folder.create(&place).at("create", &place)?;
            Ok(place)
        })
    }

    /// Lets an overlay that is held show, and only that: it is attached beneath what shows, which then goes, so
    /// that at no moment there is nothing. What is mounted below `/etc` is carried along.
    pub(super) fn show(&self, number: u64) -> Result<(), Error> {
        loop {
            let stack = self.stack()?;
            let (top, below) = match stack.as_slice() {
                [only] if *only == number => return Ok(()),
                [.., below, top] => (*top, Some(*below)),
                [top] => (*top, None),
                [] => return Err(Error::Foreign(self.at.clone())),
            };
            if top != number && below != Some(number) {
                if !self.is_held(number)? {
                    return Err(Error::Gone(number));
                }
                let copy = self.copy(number)?;
                self.outside(move || Ok(copy.attach_beneath(&self.at)?))?;
            }
            self.outside(|| self.take_top())?;
        }
    }

    /// Detaches what shows, and gives what is mounted below it to what was beneath.
    fn take_top(&self) -> Result<(), Error> {
        let mounts = mounts()?;
        let stack = mountinfo::stack(&mounts, &self.at.to_string_lossy());
        let top = stack.last().map(|mount| mount.id);
        let on_top = mounts.iter().filter(|mount| Some(mount.parent) == top);
        let taken: Result<Vec<(PathBuf, Mount)>, MountError> = on_top
            .map(|mount| {
                let at = PathBuf::from(&mount.at);
                let copy = mount::tree(&at, true)?.private()?;
                Ok((at, copy))
            })
            .collect();
        let taken = taken?;
        mount::detach(&self.at)?;
        for (at, copy) in taken {
            // Where the new configuration has no such place there is nothing to show it at.
            if fs::symlink_metadata(&at).is_ok_and(|there| !there.is_symlink()) {
                copy.attach(&at)?;
            }
        }
        Ok(())
    }

    /// Holds none any more.
    pub(super) fn release(&self) -> Result<(), Error> {
        self.outside(|| {
            let prefix = format!("{}/", self.held.to_string_lossy());
            for mount in mounts()?.iter().filter(|m| m.at.starts_with(&prefix)) {
                mount::detach(Path::new(&mount.at))?;
            }
            Ok(())
        })
    }
}
