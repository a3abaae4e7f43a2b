//! A generation's `/etc`: its own upper layer over the image's `/etc`.
//!
//! An upper never lies over another image than the one it was made for. On the first boot of
//! a generation its upper is made from the edits of the generation that ran last: in a new
//! folder that gets its name when it is complete, so a power cut means doing it again.

use crate::console;
use crate::disk::{elea, generation, make_folder};
use crate::drivers::Drivers;
use crate::error::Error;
use crate::image::{Backing, Image};
use crate::request::Target;
use elea_etc::{Report, Sides};
use elea_formats::booted::Etc;
use elea_formats::digest::Digest;
use elea_formats::generation::Generation;
use elea_sys::mount::{Filesystem, detach};
use elea_sys::{At as _, durable};
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

const OLD_ROOT: &str = "/run/elea/old";
const OLD_METADATA: &str = "/run/elea/old-image";

/// Makes the generation's upper if it has none; says what was done.
pub(crate) fn prepare(
    target: Target,
    root: &Path,
    backing: Backing,
    drivers: &mut Drivers,
) -> Result<Etc, Error> {
    let folder = generation(target.number).join("etc");
    if folder.join("upper").is_dir() {
        // Work folders hold nothing that lasts.
        fs::create_dir_all(folder.join("work")).at("create", folder.join("work"))?;
        return Ok(Etc::Kept);
    }
    let other = |n: &u64| *n != target.number && has_upper(*n);
    // After an ephemeral one, which has no edits to carry, what this generation repeats has them.
    let repeats = || manifest(target.number)?.from.filter(other);
    let from = last_run().filter(other).or_else(repeats);
    let carried = match from {
        Some(from) => carry_from(from, target, root, backing, drivers),
        None => fresh(target.number, root).map(drop),
    };
    match (carried, from) {
        (Ok(()), Some(from)) => Ok(Etc::Carried { from }),
        (Ok(()), None) => Ok(Etc::Fresh),
        (Err(e), _) => Err(e),
    }
}

/// The folder with a generation's upper.
pub(crate) fn folder(number: u64) -> PathBuf {
    generation(number).join("etc")
}

/// Puts an upper over the image's `/etc`.
pub(crate) fn mount(folder: &Path, root: &Path) -> Result<(), Error> {
    let at = root.join("etc");
    let overlay = Filesystem::new("overlay")
        .source("elea-etc")
        .value("metacopy", "off")
        .value("redirect_dir", "off")
        .value("index", "off")
        .value("xino", "off")
        .value("lowerdir+", &at)
        .value("upperdir", folder.join("upper"))
        .value("workdir", folder.join("work"));
    Ok(overlay.mount(&at)?)
}

/// The generation whose `/etc` was last in use.
pub(crate) fn last_run() -> Option<u64> {
    fs::read_to_string(elea("state/last-run"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// Whether the generation has run.
pub(crate) fn has_upper(number: u64) -> bool {
    generation(number).join("etc/upper").is_dir()
}

/// The generation's manifest, if it can be read.
pub(crate) fn manifest(number: u64) -> Option<Generation> {
    let text = fs::read(generation(number).join("manifest.json")).ok()?;
    serde_json::from_slice(&text).ok()
}

/// The image of a generation by its manifest alone, whatever else its schema holds.
pub(crate) fn image_of(number: u64) -> Option<Digest> {
    let text = fs::read(generation(number).join("manifest.json")).ok()?;
    let value: serde_json::Value = serde_json::from_slice(&text).ok()?;
    value.get("image")?.as_str()?.parse().ok()
}

fn carry_from(
    from: u64,
    target: Target,
    root: &Path,
    backing: Backing,
    drivers: &mut Drivers,
) -> Result<(), Error> {
    let digest = image_of(from).ok_or_else(|| Error::Carry {
        from,
        source: "its manifest cannot be read, so its image is not known".into(),
    })?;
    let upper = generation(from).join("etc/upper");
    if digest == target.image {
        return make(from, target.number, &upper, &root.join("etc"), root);
    }
    let (old, metadata) = (Path::new(OLD_ROOT), Path::new(OLD_METADATA));
    Image::check(digest)
        .and_then(|image| image.mount(old, metadata, backing, drivers))
        .map_err(|e| Error::Carry {
            from,
            source: e.into(),
        })?;
    let made = make(from, target.number, &upper, &old.join("etc"), root);
    let _ = detach(old);
    let _ = detach(metadata);
    made
}

/// An upper without edits.
pub(crate) fn fresh(number: u64, root: &Path) -> Result<(), Error> {
    let empty = Path::new("/run/elea/no-edits");
    fs::create_dir_all(empty).at("create", empty)?;
    let lower = root.join("etc");
    make(number, number, empty, &lower, root)
}

/// Makes `etc.new` complete and durable, then gives it its name.
fn make(from: u64, number: u64, upper: &Path, lower: &Path, root: &Path) -> Result<(), Error> {
    let parent = generation(number);
    let (folder, new) = (parent.join("etc"), parent.join("etc.new"));
    remove(&new)?;
    make_folder(&new)?;
    let new_upper = new.join("upper");
    fs::DirBuilder::new()
        .mode(0o755)
        .create(&new_upper)
        .at("create", &new_upper)?;
    // A umask of whoever started us must not show in /etc.
    fs::set_permissions(&new_upper, fs::Permissions::from_mode(0o755)).at("set", &new_upper)?;
    let work = new.join("work");
    fs::create_dir(&work).at("create", &work)?;
    let report =
        elea_etc::carry(&Sides { upper, lower }, &root.join("etc"), &new_upper).map_err(|e| {
            Error::Carry {
                from,
                source: e.into(),
            }
        })?;
    tell(&report, from);
    if from != number {
        let path = new.join("report.json");
        let text = serde_json::to_vec(&report).unwrap_or_default();
        fs::write(&path, text).at("write", &path)?;
    }
    durable::sync_filesystem(&new)?;
    // Whatever has the name now has no upper, so it was never in use.
    remove(&folder)?;
    fs::rename(&new, &folder).at("rename", &new)?;
    durable::sync_folder(&parent)?;
    Ok(())
}

fn tell(report: &Report, from: u64) {
    if report.carried > 0 || !report.merged.is_empty() {
        console::note(&format!(
            "/etc: {} edits carried from generation {from}, {} merged",
            report.carried,
            report.merged.len()
        ));
    }
    for line in report.conflicts.iter().chain(&report.clashes).take(20) {
        console::warn(&format!("/etc/{line}"));
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => Ok(result.at("remove", path)?),
    }
}
