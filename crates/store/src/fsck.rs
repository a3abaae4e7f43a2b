//! Checking: every byte is read, and everything that is wrong is named.

use crate::image::load;
use crate::lease;
use crate::object::MODE;
use crate::refs::is_reference;
use crate::store::{in_parallel, list};
use crate::{Error, Store};
use elea_formats::digest::{Algorithm, Digest};
use elea_formats::release::ImageManifest;
use elea_formats::table::{Map, read_u64};
use elea_formats::verity::Hasher;
use elea_sys::PathError;
use elea_sys::progress::{Progress, Unit};
use rayon::prelude::*;
use rustix::fs::{Advice, FlockOperation};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// What kind of damage a finding is: it says what a repair has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Damage {
    /// An object is missing or has other content: it is needed again from elsewhere.
    Content,
    /// An object has the wrong mode.
    Mode,
    /// Something stands where it does not belong.
    Stranger,
    /// An image's link leads elsewhere.
    Link,
    /// An image's manifest is missing or wrong.
    Manifest,
    /// An image's file is as its name says and cannot be read.
    Unreadable,
    /// What an operation that died has left; a collection takes it.
    Leftover,
    /// A reference leads nowhere.
    Reference,
}

/// Something that a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The object, link or file.
    pub path: PathBuf,
    /// What kind of damage it is.
    pub damage: Damage,
    /// What is wrong with it, and what to do.
    pub what: String,
    /// The object that it concerns.
    pub object: Option<Digest>,
    /// The size in bytes that the object should have, where an image says so.
    pub size: Option<u64>,
    /// The images that use it.
    pub images: Vec<Digest>,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Check {
    /// `elea.store-check/1`.
    pub schema: &'static str,
    /// How many objects were read.
    pub objects: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Everything that is wrong.
    pub findings: Vec<Finding>,
}

/// The objects that images use: each with its size in bytes, if that is known, and whether it is there.
#[derive(Debug)]
struct Used(Map);

impl Used {
    const THERE: usize = 8;
    const SIZED: usize = 9;

    fn use_object(&mut self, digest: &Digest, size: Option<u64>) {
        let value = self.0.entry(digest.as_bytes());
        if let Some(size) = size {
            value[..8].copy_from_slice(&size.to_le_bytes());
            value[Self::SIZED] = 1;
        }
    }

    fn size(&self, digest: &Digest) -> Option<u64> {
        let value = self.0.get(digest.as_bytes())?;
        (value[Self::SIZED] == 1).then(|| read_u64(value, 0))
    }

    fn is_there(&mut self, digest: &Digest) {
        if let Some(value) = self.0.get_mut(digest.as_bytes()) {
            value[Self::THERE] = 1;
        }
    }

    fn missing(&self, algorithm: Algorithm) -> impl Iterator<Item = Digest> {
        let missing = self.0.iter().filter(|(_, value)| value[Self::THERE] == 0);
        missing.filter_map(move |(key, _)| algorithm.digest(key))
    }
}

/// A file in an object folder.
#[derive(Debug)]
struct Found {
    path: PathBuf,
    digest: Option<Digest>,
}

/// At least so many objects are checked side by side before others are listed.
const TOGETHER: usize = 4096;

impl Store {
    /// Reads every byte and names everything that is wrong.
    pub fn fsck(&self, progress: &dyn Progress) -> Result<Check, Error> {
        let _lock = self.lock(FlockOperation::LockShared)?;
        let mut findings = Vec::new();
        let algorithm = self.algorithm();
        let mut used = Used(Map::new(&self.room(), algorithm.bytes(), Used::SIZED + 1));
        self.check_images(&mut findings, &mut used)?;
        self.check_refs(&mut findings)?;
        let mut check = Check {
            schema: "elea.store-check/1",
            ..Check::default()
        };
        let folders = list(&self.path().join("objects"))?;
        let count = folders.iter().map(|folder| count_files(folder)).sum();
        progress.start("check", Some(count), Unit::Items);
        in_parallel(|| {
            let mut some = Vec::new();
            for folder in folders {
                self.found_in(folder, &mut some)?;
                if some.len() >= TOGETHER {
                    check.objects(&mut some, &mut used, &mut findings, progress)?;
                }
            }
            check.objects(&mut some, &mut used, &mut findings, progress)
        })?;
        for digest in used.missing(algorithm) {
            findings.push(Finding {
                path: self.object_path(&digest),
                damage: Damage::Content,
                what: "is missing; import the image again".into(),
                object: Some(digest),
                size: used.size(&digest),
                images: Vec::new(),
            });
        }
        self.name_images(&mut findings)?;
        findings.sort_by(|a, b| (&a.path, &a.what).cmp(&(&b.path, &b.what)));
        progress.finish();
        check.findings = findings;
        Ok(check)
    }

    /// Says which images use the objects that something is wrong with. Few are, so nobody remembers
    /// it of the others.
    fn name_images(&self, findings: &mut [Finding]) -> Result<(), Error> {
        let objects = findings.iter().filter_map(|finding| finding.object);
        let mut users: BTreeMap<Digest, BTreeSet<Digest>> =
            objects.map(|object| (object, BTreeSet::new())).collect();
        if users.is_empty() {
            return Ok(());
        }
        let links = list(&self.path().join("images"))?;
        for image in links.iter().filter_map(|path| self.image_name(path)) {
            if let Some(users) = users.get_mut(&image) {
                users.insert(image);
            }
            // What cannot be read is a finding already.
            let _ = self.each_object_of(&image, |object, _| {
                if let Some(users) = users.get_mut(&object) {
                    users.insert(image);
                }
            });
        }
        for finding in findings {
            if let Some(users) = finding.object.and_then(|object| users.get(&object)) {
                finding.images = users.iter().copied().collect();
            }
        }
        Ok(())
    }

    /// Checks the links and manifests of images, and gathers what each image needs.
    fn check_images(&self, findings: &mut Vec<Finding>, used: &mut Used) -> Result<(), Error> {
        let mut named = BTreeSet::new();
        for path in list(&self.path().join("images"))? {
            // composefs keeps its references here.
            if path.ends_with("refs") && path.is_dir() {
                continue;
            }
            let mut wrong = |damage, image: Option<Digest>, what: String| {
                findings.push(Finding {
                    path: path.clone(),
                    damage,
                    what,
                    object: image,
                    size: None,
                    images: image.into_iter().collect(),
                });
            };
            let Some(image) = self.image_name(&path) else {
                if is_unfinished(&path) {
                    wrong(Damage::Leftover, None, LEFTOVER.into());
                } else {
                    wrong(
                        Damage::Stranger,
                        None,
                        "is not named by a digest; remove it".into(),
                    );
                }
                continue;
            };
            named.insert(image);
            let to = Path::new("../objects").join(image.object_path());
            if fs::read_link(&path).ok().as_ref() != Some(&to) {
                wrong(
                    Damage::Link,
                    Some(image),
                    format!(
                        "is not a link to {}; remove it and import the image again",
                        to.display()
                    ),
                );
                continue;
            }
            used.use_object(&image, None);
            // What is wrong with the object itself is found where objects are read.
            let read = self.each_object_of(&image, |object, size| {
                used.use_object(&object, Some(size));
            });
            if let Err(Error::Image { source, .. }) = read {
                used.use_object(&image, self.object_size(&image));
                wrong(Damage::Unreadable, Some(image), source.to_string());
            }
            let manifest = self.manifest_folder(&image).join("image.json");
            match load::<ImageManifest>(&manifest) {
                Ok(Some(manifest)) if manifest.image == image => {}
                Ok(Some(_)) => wrong(
                    Damage::Manifest,
                    Some(image),
                    "has the manifest of another image".into(),
                ),
                Ok(None) => wrong(
                    Damage::Manifest,
                    Some(image),
                    "has no manifest; import the image again".into(),
                ),
                Err(e) => wrong(Damage::Manifest, Some(image), e.to_string()),
            }
        }
        // An image that is being made has a manifest before it has a name.
        for held in lease::Reader::default().news(self)? {
            named.extend(held.images);
        }
        for path in list(&self.path().join("manifests"))? {
            if !path.ends_with("layers")
                && self.image_name(&path).is_none_or(|i| !named.contains(&i))
            {
                findings.push(Finding {
                    path,
                    damage: Damage::Leftover,
                    what: "is of no image; `elea gc` removes it".into(),
                    object: None,
                    size: None,
                    images: Vec::new(),
                });
            }
        }
        Ok(())
    }

    fn check_refs(&self, findings: &mut Vec<Finding>) -> Result<(), Error> {
        for path in list(&self.path().join("refs"))? {
            let image = self.target(&path)?;
            let (damage, what) = if is_unfinished(&path) {
                (Damage::Leftover, LEFTOVER.into())
            } else if !is_reference(&path) {
                let what = "is not the name of a reference; remove it";
                (Damage::Stranger, what.into())
            } else if image.is_none_or(|image| !self.names_image(&image)) {
                (Damage::Reference, self.lost(image))
            } else {
                continue;
            };
            findings.push(Finding {
                path,
                damage,
                what,
                object: None,
                size: None,
                images: image.into_iter().collect(),
            });
        }
        Ok(())
    }

    /// What is known of an image that a reference names and that is not there.
    fn lost(&self, image: Option<Digest>) -> String {
        let Some(image) = image else {
            return "is a reference and does not say to which image; remove it".into();
        };
        let manifest = load::<ImageManifest>(&self.manifest_folder(&image).join("image.json"));
        let from = match manifest {
            Ok(Some(manifest)) if manifest.image == image => {
                format!(", which came from {}", manifest.source)
            }
            _ => String::new(),
        };
        format!(
            "is a reference to an image that is not there, {image}{from}; import it again, or remove the reference"
        )
    }

    /// The files of an object folder.
    fn found_in(&self, folder: PathBuf, found: &mut Vec<Found>) -> Result<(), PathError> {
        // A link is a stranger: what it leads to is not the store's.
        if folder.is_symlink() || !folder.is_dir() {
            found.push(Found {
                path: folder,
                digest: None,
            });
            return Ok(());
        }
        found.extend(list(&folder)?.into_iter().map(|path| Found {
            digest: self.object_name(&folder, &path),
            path,
        }));
        Ok(())
    }
}

impl Check {
    /// Checks some objects side by side, and takes in what is found; `some` is empty afterwards.
    fn objects(
        &mut self,
        some: &mut Vec<Found>,
        used: &mut Used,
        findings: &mut Vec<Finding>,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let one = |buffer: &mut Vec<u8>, one: &Found| {
            if progress.cancelled() {
                return Err(Error::Cancelled);
            }
            let expected = one.digest.and_then(|digest| used.size(&digest));
            let result = check(one, expected, buffer);
            progress.advance(1);
            Ok(result)
        };
        let checked = some.par_iter().map_init(|| vec![0; PIECE], one);
        let checked = checked.collect::<Result<Vec<_>, _>>()?;
        for (one, (size, wrong)) in some.drain(..).zip(checked) {
            self.bytes += size;
            if let Some(digest) = &one.digest {
                self.objects += 1;
                used.is_there(digest);
            }
            let size = one.digest.and_then(|digest| used.size(&digest));
            findings.extend(wrong.into_iter().map(|(damage, what)| Finding {
                path: one.path.clone(),
                damage,
                what,
                object: one.digest,
                size,
                images: Vec::new(),
            }));
        }
        Ok(())
    }
}

/// How many there are about, for the person who waits.
fn count_files(folder: &Path) -> u64 {
    fs::read_dir(folder).map_or(1, |entries| entries.count() as u64)
}

/// What is said of files that were to get a name.
const LEFTOVER: &str = "was left by an operation that died; `elea gc` removes it";

/// Whether a file was to be renamed into place.
pub(crate) fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.as_encoded_bytes().starts_with(b".new-")
}

/// The size of an object in bytes, and what is wrong with it.
fn check(one: &Found, expected: Option<u64>, buffer: &mut [u8]) -> (u64, Vec<(Damage, String)>) {
    let one_wrong = |damage, what: String| (0, vec![(damage, what)]);
    let Some(wanted) = one.digest else {
        return one_wrong(
            Damage::Stranger,
            "is not named by a digest; remove it".into(),
        );
    };
    let status = match fs::symlink_metadata(&one.path) {
        Ok(status) if status.is_file() => status,
        Ok(_) => {
            let what = "is not a regular file; remove it and import what used it again";
            return one_wrong(Damage::Content, what.into());
        }
        Err(e) => return one_wrong(Damage::Content, format!("cannot be looked at: {e}")),
    };
    let mut wrong = Vec::new();
    let mode = status.permissions().mode() & 0o7777;
    if mode != MODE {
        let what = format!("has the mode {mode:04o}; it should be {MODE:04o}");
        wrong.push((Damage::Mode, what));
    }
    let content = match read(&one.path, wanted.algorithm(), buffer) {
        Ok((digest, _)) if digest == wanted => None,
        Ok((digest, size)) => Some(match expected {
            Some(expected) if expected > size => {
                format!("is truncated: {size} bytes of {expected}; import what uses it again")
            }
            Some(expected) if expected < size => {
                format!("has {size} bytes and should have {expected}; import what uses it again")
            }
            _ => format!("is damaged: its content is {digest}; import what uses it again"),
        }),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            // Nobody knows that its content is wrong.
            let what = format!("cannot be read: {e}; check the store as its owner");
            wrong.push((Damage::Mode, what));
            None
        }
        Err(e) => Some(format!("cannot be read: {e}; import what uses it again")),
    };
    wrong.extend(content.map(|what| (Damage::Content, what)));
    (status.len(), wrong)
}

/// The digest and the size of what the disk has, not of what memory remembers.
fn read(path: &Path, algorithm: Algorithm, buffer: &mut [u8]) -> io::Result<(Digest, u64)> {
    let file = File::open(path)?;
    let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
    measure(&file, algorithm, buffer)
}

/// How much is read at once, in bytes: what a core's own cache holds.
pub(crate) const PIECE: usize = 128 << 10;

/// The digest and the size of a file from where it stands, read in pieces of the buffer's size.
pub(crate) fn measure(
    mut file: &File,
    algorithm: Algorithm,
    buffer: &mut [u8],
) -> io::Result<(Digest, u64)> {
    let mut hasher = Hasher::new(algorithm);
    loop {
        match file.read(buffer) {
            Ok(0) => break,
            Ok(length) => hasher.update(&buffer[..length]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    let measured = hasher.finish();
    Ok((measured.digest, measured.size))
}
