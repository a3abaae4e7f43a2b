//! Images as file systems: EROFS for names and metadata, an overlay for contents.

use crate::fsck::{self, PIECE};
use crate::store::in_parallel;
use crate::{Error, Store};
use elea_formats::digest::Digest;
use elea_formats::tree::Content;
use elea_sys::At as _;
use elea_sys::loopdev::Loop;
use elea_sys::mount::{Attributes, Filesystem, detach};
use elea_sys::progress::{Progress, Unit};
use elea_sys::verity::measure;
use rayon::prelude::*;
use std::collections::BTreeMap;
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
        self.open_image(digest)?.mount(target, backing)
    }

    /// Mounts an image whose file was read.
    pub(crate) fn mount_read(
        &self,
        digest: &Digest,
        target: &Path,
        backing: Backing,
    ) -> Result<(), Error> {
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

    /// Reads the contents of an image's files where the kernel would not check them when they are read through a mount:
    /// all are what was sealed, or the first damaged one is named.
    pub fn check_contents(&self, image: &Digest, progress: &dyn Progress) -> Result<(), Error> {
        if measure(&self.open_object(image)?).is_ok() {
            // Then it is mounted so that every object needs its seal.
            return Ok(());
        }
        let tree = self.tree(image)?;
        let contents = tree.leaves().filter_map(|id| match tree.content(id) {
            Content::Object { digest, size } => Some((digest, size)),
            _ => None,
        });
        let objects: BTreeMap<Digest, u64> = contents.collect();
        progress.start(
            "check kept files",
            Some(objects.values().sum()),
            Unit::Bytes,
        );
        let check = |buffer: &mut Vec<u8>, (digest, size): (&Digest, &u64)| {
            if progress.cancelled() {
                return Err(Error::Cancelled);
            }
            let path = self.object_path(digest);
            let file = self.open_object(digest)?;
            let (found, length) =
                fsck::measure(&file, self.algorithm(), buffer).at("read", &path)?;
            progress.advance(length);
            if found == *digest && length == *size {
                return Ok(());
            }
            Err(Error::Damaged { path, found })
        };
        in_parallel(|| {
            objects
                .par_iter()
                .try_for_each_init(|| vec![0; PIECE], check)
        })?;
        progress.finish();
        Ok(())
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
