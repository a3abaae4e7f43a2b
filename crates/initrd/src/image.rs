//! An image: checked against its name, and mounted as a root.

use crate::disk::{PHYSICAL, elea};
use crate::drivers::Drivers;
use crate::error::Error;
use elea_formats::booted::Verity;
use elea_formats::digest::{Algorithm, Digest};
use elea_formats::verity::Hasher;
use elea_sys::At as _;
use elea_sys::loopdev::Loop;
use elea_sys::mount::{Attributes, Filesystem, detach};
use elea_sys::verity::{VerityError, measure};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// How an image file becomes an EROFS mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backing {
    /// Straight from the file (Linux 6.12 and later).
    File,
    /// Through a loop device: for older kernels, and for those that count a file-backed EROFS
    /// as a level of overlays.
    Loop,
}

/// A checked image.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    path: PathBuf,
    /// How its objects are checked from now on.
    pub(crate) verity: Verity,
}

impl Image {
    /// Reads the whole image and compares its digest with its name. A sealed file is read
    /// too, since the seal tells which file it is, not that its blocks are sound.
    pub(crate) fn check(digest: Digest) -> Result<Self, Error> {
        let path = elea("store/objects").join(digest.object_path());
        let mut file = File::open(&path).at("open the image", &path)?;
        let sealing = elea("state/sealing").exists();
        let verity = match measure(&file) {
            Ok(found) => {
                compare(&path, digest, &found)?;
                read(&mut file, &path, |_| {})?;
                if sealing {
                    Verity::Unsealed
                } else {
                    Verity::Required
                }
            }
            Err(VerityError::NotSealed) if !sealing => return Err(Error::NotSealed(path)),
            Err(e @ (VerityError::NotSealed | VerityError::Unsupported)) => {
                let mut hasher = Hasher::new(Algorithm::Sha256);
                read(&mut file, &path, |piece| hasher.update(piece))?;
                compare(&path, digest, hasher.finish().digest.as_bytes())?;
                match e {
                    VerityError::NotSealed => Verity::Unsealed,
                    _ => Verity::Unsupported,
                }
            }
            Err(source) => return Err(Error::Verity { path, source }),
        };
        Ok(Self { path, verity })
    }

    /// Mounts the image read-only at `root`, with its metadata alone at `metadata`, which the
    /// caller detaches when all overlays are made (Linux 6.12 refuses a lower layer without a
    /// place).
    pub(crate) fn mount(
        &self,
        root: &Path,
        metadata: &Path,
        backing: Backing,
        drivers: &mut Drivers,
    ) -> Result<(), Error> {
        self.mount_metadata(metadata, backing, drivers)?;
        fs::create_dir_all(root).at("create", root)?;
        let verity = match self.verity {
            Verity::Required => "require",
            Verity::Unsealed | Verity::Unsupported => "off",
        };
        let overlay = Filesystem::new("overlay")
            .source("elea")
            .flag("ro")
            .value("metacopy", "on")
            .value("redirect_dir", "on")
            .value("verity", verity)
            .value("lowerdir+", metadata)
            .value("datadir+", Path::new(PHYSICAL).join("elea/store/objects"))
            .attributes(Attributes::READ_ONLY.and(Attributes::NO_ACCESS_TIME));
        overlay.mount(root).inspect_err(|_| {
            let _ = detach(metadata);
        })?;
        Ok(())
    }

    /// Mounts the metadata alone: names, modes and the digests of contents.
    pub(crate) fn mount_metadata(
        &self,
        at: &Path,
        backing: Backing,
        drivers: &mut Drivers,
    ) -> Result<(), Error> {
        fs::create_dir_all(at).at("create", at)?;
        let erofs = |source: &Path| {
            Filesystem::new("erofs")
                .source(source)
                .flag("ro")
                .attributes(Attributes::READ_ONLY)
                .mount(at)
        };
        if backing == Backing::File {
            match erofs(&self.path) {
                Ok(()) => return Ok(()),
                // ENOTBLK: this kernel mounts EROFS from block devices alone.
                Err(e) if e.source.raw_os_error() != Some(15) => return Err(e.into()),
                Err(_) => {}
            }
        }
        drivers.load_loop();
        let device = Loop::read_only(&self.path)?;
        Ok(erofs(device.path())?)
    }
}

fn compare(path: &Path, wanted: Digest, found: &[u8]) -> Result<(), Error> {
    if wanted.as_bytes() == found {
        return Ok(());
    }
    let mut shown = String::new();
    for byte in found {
        // Writing to a string does not fail.
        let _ = write!(shown, "{byte:02x}");
    }
    Err(Error::Damaged {
        path: path.to_owned(),
        wanted,
        found: shown,
    })
}

fn read(file: &mut File, path: &Path, mut take: impl FnMut(&[u8])) -> Result<(), Error> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).at("read the image", path)? {
            0 => return Ok(()),
            length => take(&buffer[..length]),
        }
    }
}
