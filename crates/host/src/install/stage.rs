//! Both partitions as folders, before anything is written to the disk: the first generation
//! staged as every later one is, and the store with its image and specialisations alone.

use super::contents::Contents;
use super::error::Error;
use super::layout::{Filesystem, Sealing, sealed_blocks};
use super::{Kind, Plan, check};
use crate::apply::{self, Context};
use crate::machine::ALGORITHM;
use crate::plan;
use crate::upgrade::TRUSTED;
use crate::view::{Disks, View};
use elea_formats::digest::Digest;
use elea_formats::verity::{BLOCK, Hasher, Measured};
use elea_store::Store;
use elea_sys::disk::Folder;
use elea_sys::progress::{Progress, Unit};
use elea_sys::{At as _, PathError};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{
    FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink,
};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Where the loader stands on the boot partition: its own place, and the one that firmware
/// starts without being told.
const LOADERS: [&str; 2] = ["EFI/systemd/systemd-bootx64.efi", "EFI/BOOT/BOOTX64.EFI"];
/// `loader.conf(5)`, systemd 258: a counted boot that the loader cannot start uses up a try, and
/// nobody changes a command line at the menu.
const LOADER_CONF: &str = "# Written by `elea install`.
timeout 1
editor no
reboot-on-error auto
";
/// ext4 and btrfs both begin the Merkle tree of a file at a multiple of this, in bytes
/// (`fs/ext4/verity.c`).
const TREE_ALIGN: u64 = 65_536;
/// Objects are read in pieces of this size.
const PIECE: usize = 1 << 20;
/// Room for names, manifests and the log, in bytes.
const ROOM: u64 = 16 << 20;

/// What the partitions are filled from.
#[derive(Debug)]
pub(super) struct Staged {
    /// The boot partition.
    pub(super) boot: PathBuf,
    /// The physical root.
    pub(super) root: PathBuf,
    /// A place for other files.
    pub(super) scratch: PathBuf,
    /// The objects whose files here hold a Merkle tree behind their content: path on the root, size of the content.
    pub(super) sealed: Vec<(String, u64)>,
}

impl Staged {
    /// Makes the folders in `staging`.
    pub(super) fn create(
        plan: &Plan,
        contents: &Contents,
        store: &Path,
        staging: &Path,
        context: &Context,
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        check_room(plan, contents, staging)?;
        let mut staged = Self {
            boot: folder(staging.join("boot"))?,
            root: folder(staging.join("root"))?,
            scratch: folder(staging.join("scratch"))?,
            sealed: Vec::new(),
        };
        progress.start("preparing the first generation", None, Unit::Items);
        staged.fill_boot(contents)?;
        let elea = folder(staged.root.join("elea"))?;
        for name in ["generations", "state", "log"] {
            folder(elea.join(name))?;
        }
        let (state, boot) = (Folder::new(&elea), Folder::new(&staged.boot));
        let disks = Disks {
            state: &state,
            boot: &boot,
        };
        let view = load(disks)?;
        let first = plan::stage(&view, &plan.generation, false, None)?;
        apply::apply(&first, disks, context, contents)?;
        if !plan.specialisations.is_empty() {
            let beside = load(disks)?;
            let of = plan.generation.number;
            let beside = plan::specialise(&beside, of, &plan.specialisations, None);
            apply::apply(&beside, disks, context, contents)?;
        }
        staged.trust(&plan.keys)?;
        if plan.sealing == Sealing::FirstBoot {
            write(&elea.join("state/sealing"), b"")?;
        }
        staged.fill_store(plan, contents, store, progress)?;
        Ok(staged)
    }

    /// The keys that whoever installed the machine named.
    fn trust(&self, keys: &[String]) -> Result<(), Error> {
        if keys.is_empty() {
            return Ok(());
        }
        let folder = folder(self.root.join("elea").join(TRUSTED))?;
        for (i, pem) in keys.iter().enumerate() {
            write(
                &folder.join(format!("install-{}.pub", i + 1)),
                pem.as_bytes(),
            )?;
        }
        Ok(())
    }

    fn fill_boot(&self, contents: &Contents) -> Result<(), Error> {
        for path in LOADERS {
            let path = self.boot.join(path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).at("create", parent)?;
            }
            write(&path, &contents.loader)?;
        }
        let loader = folder(self.boot.join("loader"))?;
        Ok(write(&loader.join("loader.conf"), LOADER_CONF.as_bytes())?)
    }

    fn fill_store(
        &mut self,
        plan: &Plan,
        contents: &Contents,
        from: &Path,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let to = self.root.join("elea/store");
        Store::init(&to)?;
        copy_records(from, &to, contents)?;
        // Whatever made them followed the caller's umask.
        open_modes(&self.root)?;
        let objects = to.join("objects");
        let contained = contents.all_objects();
        for digest in contained.keys() {
            let path = objects.join(digest.object_path());
            if let Some(parent) = path.parent() {
                folder(parent.to_owned())?;
            }
        }
        let total = contained.values().sum();
        progress.start("copying objects", Some(total), Unit::Bytes);
        let sealed = plan.sealing == Sealing::Born;
        let copy = |digest: &Digest, size: u64| {
            let place = digest.object_path();
            let (from, to) = (from.join("objects").join(&place), objects.join(&place));
            copy_object(digest, size, &from, &to, sealed, progress)
        };
        copy_all(&contained, &copy)?;
        if sealed {
            let path = |d: &Digest| format!("/elea/store/objects/{}", d.object_path());
            self.sealed = contained
                .iter()
                .map(|(digest, size)| (path(digest), *size))
                .collect();
        }
        // Objects hold what the image hides from its users (`/etc/shadow`), so they are root's.
        set_mode(&objects, 0o700)?;
        for contents in contents.all() {
            let image = contents.boots.image.image;
            let link = to.join("images").join(image.to_string());
            let target = format!("../objects/{}", image.object_path());
            symlink(target, &link).at("create", &link)?;
        }
        Ok(())
    }
}

/// What the folders say.
fn load(disks: Disks<'_>) -> Result<View, Error> {
    View::load(disks).map_err(|e| match e {
        crate::view::Error::Path(e) => Error::Path(e),
        other => Error::Staging(other.to_string()),
    })
}

/// Whether there is room for both partitions' content in `staging`, and, if the disk is a file, for
/// it where that is.
fn check_room(plan: &Plan, contents: &Contents, staging: &Path) -> Result<(), Error> {
    let objects = contents.all_objects();
    let objects = objects.into_values().map(sealed_blocks).sum::<u64>() * BLOCK as u64;
    let payloads = contents.all_payloads();
    let loaders = (contents.loader.len() * LOADERS.len()) as u64;
    let disk = objects + payloads + loaders + ROOM;
    // btrfs is made in a file of its own first.
    let prepared = match plan.filesystem {
        Filesystem::Ext4 => disk,
        Filesystem::Btrfs => disk + objects,
    };
    let parent = staging.parent().unwrap_or(staging);
    if plan.target.kind == Kind::Device {
        return room(parent, prepared, "to prepare the disk", 0);
    }
    let folder = plan.target.path.parent().unwrap_or(Path::new("/"));
    // What the file has now is given back first.
    let had = fs::metadata(&plan.target.path).map_or(0, |m| m.blocks() * 512);
    let device = |path: &Path| Ok::<_, PathError>(fs::metadata(path).at("look at", path)?.dev());
    if device(parent)? == device(folder)? {
        return room(
            parent,
            prepared + disk,
            "to prepare the disk and for its file",
            had,
        );
    }
    room(parent, prepared, "to prepare the disk", 0)?;
    room(folder, disk, "for the disk's file", had)
}

fn room(folder: &Path, needed: u64, what: &'static str, had: u64) -> Result<(), Error> {
    let stat = rustix::fs::statvfs(folder).at("ask for the free space of", folder)?;
    let free = stat
        .f_bavail
        .saturating_mul(stat.f_frsize)
        .saturating_add(had);
    if free < needed {
        return Err(Error::NoRoom {
            folder: folder.to_owned(),
            what,
            free,
            needed,
        });
    }
    Ok(())
}

/// Copies every object, on as many threads as there are processors; ends at the first error.
fn copy_all(
    objects: &BTreeMap<Digest, u64>,
    copy: &(dyn Fn(&Digest, u64) -> Result<(), Error> + Sync),
) -> Result<(), Error> {
    let queue = Mutex::new(objects.iter());
    let failed = AtomicBool::new(false);
    let next = || queue.lock().ok()?.next();
    let work = || {
        while !failed.load(Ordering::Relaxed)
            && let Some((digest, size)) = next()
        {
            copy(digest, *size).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    };
    let count = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(8);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..count).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .map(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .fold(Ok(()), Result::and)
    })
}

/// Copies an object and checks it against its name; with `sealed`, what fs-verity stores is
/// put behind the content.
fn copy_object(
    digest: &Digest,
    size: u64,
    from: &Path,
    to: &Path,
    sealed: bool,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let mut source = File::open(from).at("open", from)?.take(size + 1);
    let mut target = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o400)
        .open(to)
        .at("create", to)?;
    let mut hasher = if sealed {
        Hasher::keeping_tree(ALGORITHM)
    } else {
        Hasher::new(ALGORITHM)
    };
    let mut buffer = vec![0; PIECE.min(usize::try_from(size + 1).unwrap_or(PIECE))];
    loop {
        check(progress)?;
        let length = source.read(&mut buffer).at("read", from)?;
        if length == 0 {
            break;
        }
        hasher.update(&buffer[..length]);
        target.write_all(&buffer[..length]).at("write", to)?;
        progress.advance(length as u64);
    }
    let measured = hasher.finish();
    if measured.digest != *digest {
        return Err(Error::Damaged(*digest));
    }
    if sealed {
        seal(&target, to, &measured)?;
    }
    Ok(set_mode(to, 0o444)?)
}

/// Writes the Merkle tree and the descriptor where ext4 looks for them: the tree at the next
/// multiple of 64 KiB, the descriptor in the block behind it, and the descriptor's length in
/// the last four bytes of that block (`fs/ext4/verity.c`, `ext4_get_verity_descriptor_location`).
fn seal(file: &File, path: &Path, measured: &Measured) -> Result<(), PathError> {
    let tree = measured.size.div_ceil(TREE_ALIGN) * TREE_ALIGN;
    let descriptor = tree + measured.tree.len() as u64;
    let mut block = [0; BLOCK];
    block[..measured.descriptor.len()].copy_from_slice(&measured.descriptor);
    let length = u32::try_from(measured.descriptor.len()).unwrap_or(0);
    block[BLOCK - 4..].copy_from_slice(&length.to_le_bytes());
    file.write_all_at(&measured.tree, tree).at("write", path)?;
    file.write_all_at(&block, descriptor).at("write", path)
}

/// Copies what the store keeps beside the images, and the records of their layers, which spare the
/// next upgrade their download.
fn copy_records(from: &Path, to: &Path, contents: &Contents) -> Result<(), PathError> {
    let (from, to) = (from.join("manifests"), to.join("manifests"));
    for contents in contents.all() {
        let image = contents.boots.image.image.to_string();
        copy(&from.join(&image), &to.join(&image))?;
        for layer in &contents.layers {
            let place = Path::new("layers").join(layer.to_string());
            copy(&from.join(&place), &to.join(&place))?;
        }
    }
    Ok(())
}

/// Copies a file, or a folder and what is in it; what is neither is left out.
fn copy(from: &Path, to: &Path) -> Result<(), PathError> {
    let kind = fs::symlink_metadata(from).at("look at", from)?;
    if kind.is_file() {
        fs::copy(from, to).at("copy", from)?;
    } else if kind.is_dir() {
        fs::create_dir_all(to).at("create", to)?;
        for entry in fs::read_dir(from).at("list", from)? {
            let name = entry.at("list", from)?.file_name();
            copy(&from.join(&name), &to.join(&name))?;
        }
    }
    Ok(())
}

/// Makes folders 0755 and files 0644.
fn open_modes(path: &Path) -> Result<(), PathError> {
    let kind = fs::symlink_metadata(path).at("look at", path)?;
    if kind.is_file() {
        set_mode(path, 0o644)?;
    } else if kind.is_dir() {
        set_mode(path, 0o755)?;
        for entry in fs::read_dir(path).at("list", path)? {
            open_modes(&entry.at("list", path)?.path())?;
        }
    }
    Ok(())
}

/// A folder with a mode that does not depend on the caller's umask.
fn folder(path: PathBuf) -> Result<PathBuf, PathError> {
    fs::create_dir_all(&path).at("create", &path)?;
    set_mode(&path, 0o755)?;
    Ok(path)
}

fn write(path: &Path, content: &[u8]) -> Result<(), PathError> {
    fs::write(path, content).at("write", path)?;
    set_mode(path, 0o644)
}

fn set_mode(path: &Path, mode: u32) -> Result<(), PathError> {
    fs::set_permissions(path, Permissions::from_mode(mode)).at("set the mode of", path)
}
