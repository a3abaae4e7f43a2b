//! What an image is made of, from the package database inside it.

use crate::{Error, Store};
use elea_formats::control::{self, Stanza};
use elea_formats::copyright;
use elea_formats::digest::{Digest, Sha256};
use elea_formats::sbom::{Bill, Part, Source, purl};
use elea_formats::tree::{Node, Tree};
use serde::Deserialize;
use sha2::Digest as _;
use std::collections::{BTreeMap, HashMap};
use std::io;

/// Where dpkg keeps its database, below an image's root: in images of Elea, whose `/var` is empty, and elsewhere.
/// Images without dpkg itself have a folder of control files.
const STATUS: [&str; 2] = ["usr/lib/sysimage/dpkg/status", "var/lib/dpkg/status"];
const STATUS_FOLDER: &str = "var/lib/dpkg/status.d";
/// The largest database that is read, in bytes.
const MAX_STATUS: u64 = 64 << 20;
/// The largest copyright file; the licence of a package with a larger one is not said.
const MAX_COPYRIGHT: u64 = 4 << 20;
const MAX_RELEASE: u64 = 1 << 20;
/// Licences that SPDX does not know are kept with their texts up to this many bytes in all.
const MAX_TEXTS: usize = 64 << 20;
/// The lock that an image was built from.
const LOCK: &str = "usr/lib/elea/source/elea.lock";
const MAX_LOCK: u64 = 16 << 20;
/// The program that the build laid into the image.
const PROGRAM: &str = "usr/bin/elea";
const MAX_PROGRAM: u64 = 1 << 30;

/// What is read of a lock (`docs/formats/lock.md`).
#[derive(Debug, Deserialize)]
struct Lock {
    packages: Vec<Locked>,
    loader: Locked,
}

#[derive(Debug, Clone, Deserialize)]
struct Locked {
    name: String,
    version: String,
    architecture: String,
    sha256: Sha256,
}

/// The distribution, as far as package URLs name it.
struct Vendor {
    id: String,
    release: Option<String>,
}

impl Store {
    /// What an image is made of: every package of its database, its licences, its source. `tool` is the version of
    /// the program that asks. One copyright file at a time is in memory.
    ///
    /// # Errors
    /// An image without dpkg's database is refused.
    pub fn bill(&self, image: &Digest, tool: &str) -> Result<Bill, Error> {
        let manifest = self.image(image)?;
        let tree = self.tree(image)?;
        let (status, time) = self.status(&tree, image)?;
        let vendor = self.vendor(&tree)?;
        let lock = self.lock_inside(&tree)?;
        let release = manifest.release.as_ref();
        let mut bill = Bill {
            image: *image,
            name: release.map_or_else(|| vendor.id.clone(), |r| r.name.clone()),
            version: release.map_or_else(|| vendor.release.clone(), |r| Some(r.version.clone())),
            time,
            tool: tool.to_owned(),
            parts: Vec::new(),
            texts: BTreeMap::new(),
        };
        let mut parts = BTreeMap::new();
        let mut texts = 0;
        for stanza in control::parse(&status) {
            let Some(mut part) = part(&stanza, &vendor) else {
                continue;
            };
            let locked = lock
                .as_ref()
                .and_then(|lock| lock.digests.get(part.name.as_str()));
            let locked = locked.filter(|l| Some(&l.version) == part.version.as_ref());
            part.sha256 = locked.map(|l| l.sha256);
            let licences = self.licences(&tree, &part.name)?;
            texts += licences.texts.values().map(|t| t.text.len()).sum::<usize>();
            if texts <= MAX_TEXTS {
                part.licence = licences.expression;
                bill.texts.extend(licences.texts);
            }
            parts.insert((part.name.clone(), part.architecture.clone()), part);
        }
        bill.parts.extend(parts.into_values());
        if release.is_some() {
            bill.parts
                .extend(self.laid_beside(&tree, lock.as_ref(), &vendor)?);
        }
        bill.parts.sort();
        Ok(bill)
    }

    /// What a build lays into an image beside packages: the loader's file of a package, and Elea itself.
    fn laid_beside(
        &self,
        tree: &Tree,
        lock: Option<&Index>,
        vendor: &Vendor,
    ) -> Result<Vec<Part>, Error> {
        let mut out = Vec::new();
        if let Some(Locked {
            name,
            version,
            architecture,
            sha256,
        }) = lock.map(|lock| &lock.loader)
        {
            out.push(Part {
                purl: Some(purl(&vendor.id, name, version, &[("arch", architecture)])),
                name: name.clone(),
                architecture: architecture.clone(),
                version: Some(version.clone()),
                sha256: Some(*sha256),
                summary: Some("the boot loader's file; the package is not installed".into()),
                ..nothing()
            });
        }
        let mut hasher = Sum(sha2::Sha256::new());
        if self.copy_file(tree, PROGRAM, MAX_PROGRAM, &mut hasher)? {
            out.push(Part {
                name: "elea".into(),
                licence: Some("MIT OR Apache-2.0".into()),
                sha256: Some(Sha256::new(hasher.0.finalize().into())),
                summary: Some(format!("/{PROGRAM}")),
                ..nothing()
            });
        }
        Ok(out)
    }

    /// dpkg's database as one text, and when it was written, in seconds since 1970.
    fn status(&self, tree: &Tree, image: &Digest) -> Result<(String, i64), Error> {
        let mut text = Vec::new();
        for path in STATUS {
            if text.is_empty() {
                text.extend(self.read_file(tree, path, MAX_STATUS)?.unwrap_or_default());
            }
        }
        if let Some(folder) = tree.directory(STATUS_FOLDER.as_bytes()) {
            for (name, _) in tree.entries(folder) {
                let Some(name) = std::str::from_utf8(name)
                    .ok()
                    .filter(|n| !n.ends_with(".md5sums"))
                else {
                    continue;
                };
                let left = MAX_STATUS.saturating_sub(text.len() as u64);
                if let Some(one) = self.read_file(tree, &format!("{STATUS_FOLDER}/{name}"), left)? {
                    text.extend(b"\n\nStatus: install ok installed\n");
                    text.extend(one);
                }
            }
        }
        if text.is_empty() {
            return Err(Error::NoPackages { image: *image });
        }
        // The newest of what stands where databases stand.
        let places = STATUS.into_iter().chain([STATUS_FOLDER]);
        let time = places.filter_map(|path| {
            Some(match tree.get(path.as_bytes())? {
                Node::Leaf(id) => tree.leaf(id).meta.mtime.seconds,
                Node::Directory(id) => tree.meta(id).mtime.seconds,
            })
        });
        let time = time.max().unwrap_or(0).clamp(0, 253_402_300_799);
        Ok((String::from_utf8_lossy(&text).into_owned(), time))
    }

    fn vendor(&self, tree: &Tree) -> Result<Vendor, Error> {
        let mut text = None;
        for path in ["etc/os-release", "usr/lib/os-release"] {
            if text.is_none() {
                text = self.read_file(tree, path, MAX_RELEASE)?;
            }
        }
        let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
        let field = |name: &str| {
            let line = text
                .lines()
                .find_map(|l| l.strip_prefix(name)?.strip_prefix('='));
            line.map(|value| value.trim_matches(['"', '\'']).to_lowercase())
        };
        let plain = |value: &String| {
            !value.is_empty()
                && value
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c))
        };
        let id = field("ID").filter(plain);
        let release = field("VERSION_ID").or_else(|| field("VERSION_CODENAME"));
        Ok(Vendor {
            id: id.unwrap_or_else(|| "debian".into()),
            release: release.filter(plain),
        })
    }

    fn licences(&self, tree: &Tree, package: &str) -> Result<copyright::Licences, Error> {
        let path = format!("usr/share/doc/{package}/copyright");
        let bytes = match self.read_file(tree, &path, MAX_COPYRIGHT) {
            Err(Error::TooLarge { .. } | Error::Links { .. }) => None,
            bytes => bytes?,
        };
        Ok(match bytes {
            Some(bytes) => copyright::parse(package, &String::from_utf8_lossy(&bytes)),
            None => copyright::Licences::default(),
        })
    }

    fn lock_inside(&self, tree: &Tree) -> Result<Option<Index>, Error> {
        let Some(bytes) = self.read_file(tree, LOCK, MAX_LOCK)? else {
            return Ok(None);
        };
        // A lock of a later Elea may have another shape; then it says nothing here.
        let Ok(lock) = toml::from_slice::<Lock>(&bytes) else {
            return Ok(None);
        };
        let digests = lock.packages.into_iter().map(|p| (p.name.clone(), p));
        Ok(Some(Index {
            digests: digests.collect(),
            loader: lock.loader,
        }))
    }
}

/// A lock's packages by name.
struct Index {
    digests: HashMap<String, Locked>,
    loader: Locked,
}

struct Sum(sha2::Sha256);

impl io::Write for Sum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn nothing() -> Part {
    Part {
        name: String::new(),
        architecture: String::new(),
        version: None,
        purl: None,
        source: None,
        licence: None,
        sha256: None,
        summary: None,
        maintainer: None,
        homepage: None,
    }
}

/// A package that is installed; none if it is not, or has no name.
fn part(stanza: &Stanza<'_>, vendor: &Vendor) -> Option<Part> {
    let field = |name: &str| stanza.get(name).filter(|value| !value.is_empty());
    if field("Status")?.split(' ').nth(2) != Some("installed") {
        return None;
    }
    let (name, version) = (field("Package")?, field("Version")?);
    let is_name = |c: char| c.is_ascii_alphanumeric() || "+.-".contains(c);
    if name.starts_with('.') || !name.chars().all(is_name) {
        return None;
    }
    let architecture = field("Architecture").unwrap_or("all");
    let distro = vendor
        .release
        .as_ref()
        .map(|release| format!("{}-{release}", vendor.id));
    let url = |name: &str, version: &str, architecture: &str| {
        let mut qualifiers = vec![("arch", architecture)];
        qualifiers.extend(distro.as_deref().map(|distro| ("distro", distro)));
        purl(&vendor.id, name, version, &qualifiers)
    };
    // `Source` is absent where it would be the package's own name and version (Debian Policy 5.6.1).
    let (source, of) = match field("Source").map(|s| s.split_once(' ').unwrap_or((s, ""))) {
        Some((source, of)) => (source, of.trim_matches(['(', ')', ' '])),
        None => (name, ""),
    };
    let of = if of.is_empty() { version } else { of };
    Some(Part {
        name: name.to_owned(),
        architecture: architecture.to_owned(),
        version: Some(version.to_owned()),
        purl: Some(url(name, version, architecture)),
        source: Some(Source {
            name: source.to_owned(),
            version: of.to_owned(),
            purl: url(source, of, "source"),
        }),
        summary: field("Description")
            .and_then(|d| d.lines().next())
            .map(str::to_owned),
        maintainer: field("Maintainer").map(str::to_owned),
        homepage: field("Homepage").map(str::to_owned),
        ..nothing()
    })
}
