//! The `/usr` of another image over that of the booted one: a mount of its own, read-only, one at a time.
//!
//! It is found in the list of mounts, by the image that the mount names as its source, so whoever comes after a crash
//! goes on from what is there. Nothing of it outlives the boot.

use super::overlay::{Error, mounts};
use crate::machine::Machine;
use elea_formats::digest::Digest;
use elea_formats::mountinfo::{self, Mounted};
use elea_store::{Backing, mounted_image};
use elea_sys::At as _;
use elea_sys::mount::{self, Mount, MountError};
use elea_sys::namespace::Namespace;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

const USR: &str = "/usr";
/// Where the modules of kernels are in it.
const MODULES: &str = "lib/modules";
/// Where this process alone puts a new one together.
const NEW: &str = "/run/elea/new-usr";
/// More bytes than a kernel has.
const MAX_KERNEL: u64 = 1 << 30;

/// The image whose `/usr` a mount shows.
fn image(mount: &Mounted) -> Option<Digest> {
    mounted_image(&mount.source).filter(|_| mount.kind == "overlay")
}

/// The image whose `/usr` is over that of the booted one, as process 1 sees it.
pub(crate) fn of_init() -> Option<Digest> {
    let text = fs::read("/proc/1/mountinfo").ok()?;
    let mounts = mountinfo::parse(&String::from_utf8_lossy(&text));
    image(mountinfo::stack(&mounts, USR).last()?)
}

/// The images at `/usr` over the booted one, the lowest first.
fn stack(mounts: &[Mounted]) -> Result<Vec<Digest>, Error> {
    let images = mountinfo::stack(mounts, USR).into_iter().map(image);
    let images: Option<Vec<Digest>> = images.collect();
    images.ok_or_else(|| Error::Foreign(USR.into()))
}

/// Lets the calling thread, whose mounts are its own, see what shows now.
pub(super) fn look() -> Result<(), Error> {
    let outside = Namespace::of_init()?;
    let copy = outside.run(|| {
        stack(&mounts()?)?;
        Ok::<_, Error>(mount::tree(Path::new(USR), true)?.private()?)
    })??;
    Ok(copy.attach(Path::new(USR))?)
}

/// Makes the `/usr` of an image the one that shows, and the only one over that of the booted image; of the booted image,
/// none. It may be repeated, and goes on from wherever another was cut off.
pub(super) fn show(machine: &Machine, wanted: &Digest) -> Result<(), crate::Error> {
    let outside = Namespace::of_init()?;
    let booted = machine.booted().map(|booted| booted.image);
    let base = booted.as_ref() == Some(wanted);
    loop {
        let stack = outside.run(|| stack(&mounts()?))??;
        match stack.as_slice() {
            [] if base => return Ok(()),
            [only] if !base && only == wanted => return Ok(()),
            [] => {
                let new = assemble(machine, wanted, &outside)?;
                outside.run(move || new.attach(Path::new(USR)))??;
            }
            [.., top] if !base && top != wanted && !stack.contains(wanted) => {
                let new = assemble(machine, wanted, &outside)?;
                outside.run(move || new.attach_beneath(Path::new(USR)))??;
                outside.run(take_top)??;
            }
            _ => outside.run(take_top)??,
        }
    }
}

/// What a death between the two halves of an exchange leaves.
#[cfg(test)]
pub(super) fn half(machine: &Machine, wanted: &Digest) -> Result<(), crate::Error> {
    let outside = Namespace::of_init()?;
    let new = assemble(machine, wanted, &outside)?;
    Ok(outside.run(move || new.attach_beneath(Path::new(USR)))??)
}

/// The places of what is mounted below what shows at `/usr`: not what a switch put there itself.
fn mounted_on(mounts: &[Mounted]) -> Vec<PathBuf> {
    let over = mountinfo::stack(mounts, USR);
    let root = mountinfo::stack(mounts, "/");
    let under = over.last().or(root.last()).map(|mount| mount.id);
    let modules = Path::new(USR).join(MODULES);
    let below = mounts.iter().filter(|mount| Some(mount.parent) == under);
    let places = below.map(|mount| PathBuf::from(&mount.at));
    let others = places.filter(|at| at.starts_with(USR) && at != Path::new(USR));
    others
        .filter(|at| over.is_empty() || *at != modules)
        .collect()
}

/// Copies of these, with their places.
fn copies() -> Result<Vec<(PathBuf, Mount)>, Error> {
    let places = mounted_on(&mounts()?).into_iter();
    let copies: Result<Vec<_>, MountError> = places
        .map(|at| {
            let copy = mount::tree(&at, true)?.private()?;
            Ok((at, copy))
        })
        .collect();
    Ok(copies?)
}

/// The `/usr` of an image with what is mounted below the one that shows, and the modules of the kernel that runs.
fn assemble(machine: &Machine, image: &Digest, outside: &Namespace) -> Result<Mount, crate::Error> {
    let keeps = keeps_modules(machine, image)?;
    let root = machine.image(image, Backing::File)?;
    let below = outside.run(copies)??;
    let new = Path::new(NEW);
    fs::create_dir_all(new).at("create", new)?;
    mount::tree(&root.join("usr"), false)?.attach(new)?;
    let put = || -> Result<Mount, crate::Error> {
        for (at, copy) in below {
            let place = at
                .strip_prefix(USR)
                .map_or_else(|_| at.clone(), |rest| new.join(rest));
            // Where the new image has no such place there is nothing to show it at.
            if fs::symlink_metadata(&place).is_ok_and(|there| !there.is_symlink()) {
                copy.attach(&place)?;
            }
        }
        if keeps {
            let modules = machine.lower()?.join("usr").join(MODULES);
            mount::tree(&modules, false)?.attach(&new.join(MODULES))?;
        }
        Ok(mount::tree(new, true)?)
    };
    let put = put();
    mount::detach(new)?;
    put
}

/// Detaches what shows at `/usr`; what was mounted below it since it came goes to what was beneath.
fn take_top() -> Result<(), Error> {
    let below = copies()?;
    mount::detach(Path::new(USR))?;
    for (at, copy) in below {
        let there = mounted_on(&mounts()?);
        if !there.contains(&at) && fs::symlink_metadata(&at).is_ok_and(|there| !there.is_symlink())
        {
            copy.attach(&at)?;
        }
    }
    Ok(())
}

/// Whether an image shows no modules of the kernel that runs, so that those of the booted image stay; an error if they
/// have no place in it.
pub(super) fn keeps_modules(machine: &Machine, image: &Digest) -> Result<bool, crate::Error> {
    let path = "/proc/sys/kernel/osrelease";
    let release = fs::read_to_string(path).at("read", path)?;
    let folder = Path::new("usr").join(MODULES).join(release.trim());
    let (booted, root) = (machine.lower()?, machine.image(image, Backing::File)?);
    let own = booted.join(&folder);
    if !own.is_dir() {
        return Ok(false);
    }
    let kernel = |root: &Path| root.join(&folder).join("vmlinuz");
    if root.join(&folder).is_dir() && is_same(&kernel(booted), &kernel(&root))? {
        return Ok(false);
    }
    let place = root.join("usr").join(MODULES);
    if fs::symlink_metadata(&place).is_ok_and(|there| there.is_dir()) {
        return Ok(true);
    }
    Err(crate::Error::NotLive(format!(
        "its image has another kernel and no folder /usr/lib/modules, where the modules of the kernel that runs ({}) would stay",
        release.trim()
    )))
}

/// Whether two files are there and say the same.
fn is_same(a: &Path, b: &Path) -> Result<bool, crate::Error> {
    let read = |path: &Path| -> io::Result<Option<Vec<u8>>> {
        let file = match fs::File::open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut bytes = Vec::new();
        file.take(MAX_KERNEL).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    };
    let (a, b) = (read(a).at("read", a)?, read(b).at("read", b)?);
    Ok(a.is_some() && a == b)
}
