//! Reads every object of a generation, on disks with and without fs-verity.

use super::terminal::Terminal;
use crate::disk::elea;
use crate::drivers::Drivers;
use crate::error::Error;
use crate::etc;
use crate::image::{Backing, Image};
use elea_formats::digest::{Algorithm, Digest};
use elea_formats::verity::Hasher;
use elea_sys::At as _;
use elea_sys::mount::detach;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

const METADATA: &str = "/run/elea/checked";
/// Entries of an image and its depth, as far as they are followed.
const ENTRIES: usize = 2_000_000;
const DEPTH: usize = 128;
/// Damaged objects that are named.
const NAMED: usize = 20;

/// Checks the image and each object; says what is damaged.
pub(crate) fn generation(
    number: u64,
    drivers: &mut Drivers,
    terminal: &mut Terminal,
) -> Result<(), Box<dyn std::error::Error>> {
    let digest = etc::image_of(number).ok_or("its manifest cannot be read")?;
    let image = Image::check(digest)?;
    terminal.say(&format!("  image {}: sound", digest.short()));
    let at = Path::new(METADATA);
    image.mount_metadata(at, Backing::File, drivers)?;
    let objects = objects(at);
    let _ = detach(at);
    let objects = objects?;
    let (mut done, mut bad) = (0_usize, 0_usize);
    for (digest, path) in &objects {
        if let Err(reason) = object(*digest) {
            bad += 1;
            if bad <= NAMED {
                terminal.say(&format!("  damaged: {}: {reason}", path.display()));
            }
        }
        done += 1;
        if done.is_multiple_of(1000) {
            terminal.say(&format!("  {done} of {} objects", objects.len()));
        }
    }
    terminal.say(&format!("  {done} objects, {bad} damaged"));
    Ok(())
}

/// Every object of a mounted image and one path that has it.
fn objects(at: &Path) -> Result<BTreeMap<Digest, PathBuf>, Error> {
    let mut found = BTreeMap::new();
    let mut folders = vec![(at.to_owned(), 0)];
    let mut seen = 0;
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(&folder).at("list", &folder)? {
            let path = entry.at("list", &folder)?.path();
            let meta = fs::symlink_metadata(&path).at("look at", &path)?;
            seen += 1;
            if seen > ENTRIES {
                return Ok(found);
            }
            if meta.is_dir() && depth < DEPTH {
                folders.push((path, depth + 1));
            } else if meta.is_file()
                && let Some(digest) = named_object(&path)
            {
                let shown = path.strip_prefix(at).unwrap_or(&path);
                found.insert(digest, Path::new("/").join(shown));
            }
        }
    }
    Ok(found)
}

/// The object that a file of the image names: `trusted.overlay.metacopy`, version 0, SHA-256.
fn named_object(path: &Path) -> Option<Digest> {
    let mut value = [0; 64];
    let length =
        rustix::fs::lgetxattr(path, "trusted.overlay.metacopy", value.as_mut_slice()).ok()?;
    let value = value.get(..length)?;
    match value {
        [0, 36, 0, 1, digest @ ..] => Algorithm::Sha256.digest(digest),
        _ => None,
    }
}

fn object(digest: Digest) -> Result<(), String> {
    let path = elea("store/objects").join(digest.object_path());
    let hashed = || -> io::Result<Digest> {
        let mut file = File::open(&path)?;
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let mut buffer = vec![0; 1 << 18];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hasher.finish().digest),
                length => hasher.update(&buffer[..length]),
            }
        }
    };
    match hashed() {
        Ok(found) if found == digest => Ok(()),
        Ok(found) => Err(format!("its content is {}", found.short())),
        Err(e) => Err(e.to_string()),
    }
}
