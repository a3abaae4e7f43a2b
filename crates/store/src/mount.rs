//! Images as file systems: EROFS for names and metadata, an overlay for contents.

use crate::{Error, Store};
use elea_formats::digest::Digest;
use elea_sys::At as _;
use elea_sys::loopdev::Loop;
use elea_sys::mount::{Attributes, Filesystem, detach};
use elea_sys::verity::measure;
use std::path::Path;

/// This kernel mounts EROFS from block devices alone.
const ENOTBLK: i32 = 15;

/// How an image file becomes an EROFS mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backing {
    /// Straight from the file where the kernel can (Linux 6.12), else through a loop device.
    File,
    /// Through a loop device: some kernels count a file-backed EROFS as a level of overlays, and leave none for
    /// an overlay on the image.
    Loop,
}

/// What the list of mounts calls the mount of an image, before the image's digest.
const SOURCE: &str = "elea:";

/// The image that a mount shows which the list of mounts calls `source`: one that [`Store::mount`] made.
pub fn mounted_image(source: &str) -> Option<Digest> {
    source.strip_prefix(SOURCE)?.parse().ok()
}

impl Store {
    /// Mounts an image read-only at a folder: EROFS, and an overlay with the objects as its data.
    /// Needs root; reads are checked by fs-verity where the file system has it.
    pub fn mount(&self, digest: &Digest, target: &Path) -> Result<(), Error> {
        self.mount_by(digest, target, Backing::File)
    }

    /// The same, with a choice of what the EROFS is on.
    pub fn mount_by(&self, digest: &Digest, target: &Path, backing: Backing) -> Result<(), Error> {
        // Read whole first: the kernel does not check a file that is not sealed.
        self.check_image(digest)?;
        let image = self.object_path(digest);
        let sealed = measure(&self.open_object(digest)?).is_ok();
        // A lower layer needs a place of its own until the overlay is made.
        let metadata = tempfile::tempdir().at("create", std::env::temp_dir())?;
        mount_erofs(&image, metadata.path(), backing)?;
        let mounted = Filesystem::new("overlay")
            .source(format!("{SOURCE}{digest}"))
            .flag("ro")
            .value("metacopy", "on")
            .value("redirect_dir", "on")
            .value("verity", if sealed { "require" } else { "off" })
            .value("lowerdir+", metadata.path())
            .value("datadir+", self.path().join("objects"))
            .attributes(Attributes::READ_ONLY.and(Attributes::NO_ACCESS_TIME))
            .mount(target);
        detach(metadata.path())?;
        Ok(mounted?)
    }
}

fn mount_erofs(image: &Path, at: &Path, backing: Backing) -> Result<(), Error> {
    let erofs = |source: &Path| {
        Filesystem::new("erofs")
            .source(source)
            .flag("ro")
            .attributes(Attributes::READ_ONLY)
            .mount(at)
    };
    if backing == Backing::File {
        match erofs(image) {
            Err(e) if e.source.raw_os_error() == Some(ENOTBLK) => {}
            mounted => return Ok(mounted?),
        }
    }
    let device = Loop::read_only(image)?;
    Ok(erofs(device.path())?)
}
