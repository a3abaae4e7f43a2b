//! What a store costs: each image alone and shared, what a collection would free, and the rest.
//!
//! Two objects that the same images hold are of one *set*. So an object needs no more in memory than its
//! name, size and set; what an image has for itself, and what it shares with which others, are sums over sets.

mod holders;

use crate::lease;
use crate::store::list;
use crate::{Error, Store};
use elea_formats::digest::{Digest, Sha256};
use elea_sys::progress::{Progress, Unit};
use elea_sys::{At as _, PathError};
use holders::{Set, Sets};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Of so many sets of images it is told what they share; of the others the sum is.
const TOLD: usize = 256;

/// What a store costs, in bytes of files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// `elea.store-stats/2`.
    pub schema: &'static str,
    /// The store's folder.
    pub store: PathBuf,
    /// The images, by the time of import.
    pub images: Vec<Cost>,
    /// Each name, and what `image rm NAME` and a collection would free by it.
    pub names: BTreeMap<String, Freed>,
    /// Everything in `objects/`, each once. The sum of `sets` and `smaller_sets`.
    pub objects: Sum,
    /// What the images would take without sharing: the sum of their `total`.
    pub apparent: Sum,
    /// What a collection would remove now.
    pub free: Free,
    /// What is held by the same images, the largest first.
    pub sets: Vec<Shared>,
    /// The sum of all further sets.
    pub smaller_sets: Sum,
    /// How many objects are named and not there, counted once for each image that names them.
    pub missing: u64,
    /// What is in the store beside objects.
    pub beside: Beside,
    /// How many commands are at work in it.
    pub leases: usize,
    /// Objects and what is beside them, in bytes.
    pub total: u64,
}

/// A number of files and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// How many.
    pub count: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

/// What an image costs. `total` is `alone` and `shared`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// The image.
    pub image: Digest,
    /// Its names.
    pub names: Vec<String>,
    /// The version of the system in it.
    pub version: Option<String>,
    /// What keeps it; nothing, if a collection would remove it.
    pub kept_by: BTreeSet<Keeper>,
    /// The objects that stay because of it: its own file, its contents, and those of its layers.
    pub total: Sum,
    /// Of these, the objects that are not in the image, but in a layer that it was made of.
    pub of_layers: Sum,
    /// Of these, what nothing else that is kept holds: freed when it goes.
    pub alone: Sum,
    /// Of these, what something else that is kept holds too.
    pub shared: Sum,
    /// With how many other images it shares anything.
    pub shared_with: u64,
}

/// What keeps an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keeper {
    /// A reference.
    Name,
    /// A machine's generation.
    Generation,
    /// A command that is at work.
    Command,
}

/// What taking a name away frees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Freed {
    /// What it names.
    pub image: Digest,
    /// Nothing, while something else keeps the image.
    pub frees: Sum,
}

/// What a collection would remove now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Free {
    /// How many images.
    pub images: u64,
    /// Their objects, and those of no image.
    pub objects: Sum,
}

/// What the same images hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shared {
    /// The images, in the order of [`Stats::images`]; none for objects of no image.
    pub images: Vec<Digest>,
    /// Whether something keeps it: one of the images, or a command that is at work.
    pub kept: bool,
    /// The objects.
    pub objects: Sum,
}

/// What is in a store beside objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Beside {
    /// Documents about images: manifests, layers' names, signatures.
    pub documents: Sum,
    /// Records of layers.
    pub layers: Sum,
    /// Downloads to be gone on with.
    pub partial: Sum,
    /// Files that are being written, or that dead processes left.
    pub unfinished: Sum,
    /// Caches.
    pub cache: Sum,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.bytes += other.bytes;
    }
}

impl Beside {
    /// Each with what people call it.
    pub fn named(&self) -> [(&'static str, Sum); 5] {
        [
            ("documents", self.documents),
            ("layer records", self.layers),
            ("partial downloads", self.partial),
            ("unfinished files", self.unfinished),
            ("caches", self.cache),
        ]
    }
}

impl Store {
    /// Reads what the store costs. `roots` are the images that no name keeps but the caller does, as for
    /// [`Store::gc`]. Sizes are those of the files, as a collection counts them.
    pub fn stats(&self, roots: &[Digest], progress: &dyn Progress) -> Result<Stats, Error> {
        progress.start("count", None, Unit::Items);
        let mut sets = self.sized_objects(progress)?;
        let names = self.refs()?;
        let leases = lease::Reader::default().news(self)?;
        let mut images = self.costs()?;
        for cost in &mut images {
            let its = names.iter().filter(|(_, image)| **image == cost.image);
            cost.names = its.map(|(name, _)| name.clone()).collect();
            let held = leases.iter().any(|held| held.images.contains(&cost.image));
            for (keeper, keeps) in [
                (Keeper::Name, !cost.names.is_empty()),
                (Keeper::Generation, roots.contains(&cost.image)),
                (Keeper::Command, held),
            ] {
                if keeps {
                    cost.kept_by.insert(keeper);
                }
            }
        }
        for (holder, cost) in images.iter_mut().enumerate() {
            if progress.cancelled() {
                return Err(Error::Cancelled);
            }
            self.each_object_of(&cost.image, |object, _| sets.hold(holder, &object))?;
            let own = sets.held_by(holder);
            for blob in self.layers_of(&cost.image)? {
                self.hold_layer(&mut sets, holder, &blob)?;
            }
            cost.total = sets.held_by(holder);
            cost.of_layers = Sum {
                count: cost.total.count - own.count,
                bytes: cost.total.bytes - own.bytes,
            };
            progress.advance(1);
        }
        // What commands at work hold beside images is held by one more holder.
        let commands = images.len();
        for held in &leases {
            for object in &held.objects {
                sets.hold(commands, object);
            }
            for blob in &held.layers {
                self.hold_layer(&mut sets, commands, blob)?;
            }
        }
        let missing = sets.missing();
        let mut stats = summed(self.path(), images, &sets.sums(), names);
        stats.missing = missing;
        stats.beside = self.beside()?;
        stats.leases = leases.len();
        let beside = stats.beside.named().map(|(_, sum)| sum.bytes);
        stats.total = stats.objects.bytes + beside.iter().sum::<u64>();
        progress.finish();
        Ok(stats)
    }

    /// The objects that are there, held by nobody yet.
    fn sized_objects(&self, progress: &dyn Progress) -> Result<Sets, Error> {
        let mut sets = Sets::new(&self.room(), self.algorithm());
        for folder in list(&self.path().join("objects"))? {
            // What is no object is for `fsck` to say.
            if folder.is_symlink() || !folder.is_dir() {
                continue;
            }
            for path in list(&folder)? {
                if let Some(digest) = self.object_name(&folder, &path) {
                    sets.add(&digest, size(&path)?);
                }
            }
            if progress.cancelled() {
                return Err(Error::Cancelled);
            }
        }
        Ok(sets)
    }

    fn hold_layer(&self, sets: &mut Sets, holder: usize, blob: &Sha256) -> Result<(), Error> {
        if let Some(layer) = self.recorded_layer(blob)? {
            for (object, _) in layer.objects() {
                sets.hold(holder, &object);
            }
        }
        Ok(())
    }

    /// The images, by the time of import, with nothing counted.
    fn costs(&self) -> Result<Vec<Cost>, Error> {
        let mut costs = Vec::new();
        for image in self.image_names()? {
            // One without a manifest was being sealed when the power went.
            let manifest = self.image(&image).ok();
            let release = manifest.as_ref().and_then(|m| m.release.as_ref());
            let cost = Cost {
                image,
                names: Vec::new(),
                version: release.map(|release| release.version.clone()),
                kept_by: BTreeSet::new(),
                total: Sum::default(),
                of_layers: Sum::default(),
                alone: Sum::default(),
                shared: Sum::default(),
                shared_with: 0,
            };
            costs.push((manifest.map(|m| m.imported), cost));
        }
        costs.sort_by(|a, b| (&a.0, a.1.image).cmp(&(&b.0, b.1.image)));
        Ok(costs.into_iter().map(|(_, cost)| cost).collect())
    }

    fn beside(&self) -> Result<Beside, PathError> {
        let at = |name: &str| self.path().join(name);
        let mut documents = Sum::default();
        for path in list(&at("manifests"))? {
            if self.image_name(&path).is_some() {
                documents.add(below(&path)?);
            }
        }
        Ok(Beside {
            documents,
            layers: below(&at("manifests/layers"))?,
            partial: below(&at("partial"))?,
            unfinished: below(&at("tmp"))?,
            cache: below(&at("cache"))?,
        })
    }
}

/// The sums over sets.
fn summed(
    store: &Path,
    mut images: Vec<Cost>,
    sets: &[Set],
    names: BTreeMap<String, Digest>,
) -> Stats {
    let kept: Vec<bool> = images.iter().map(|cost| !cost.kept_by.is_empty()).collect();
    // The holder after the images is the commands at work.
    let is_kept = |holder: usize| kept.get(holder).is_none_or(|kept| *kept);
    let (mut objects, mut free) = (Sum::default(), Free::default());
    free.images = kept.iter().filter(|kept| !**kept).count() as u64;
    let mut partners: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); images.len()];
    let mut told = Vec::new();
    for set in sets {
        objects.add(set.objects);
        let keepers = set
            .holders
            .iter()
            .filter(|holder| is_kept(**holder))
            .count();
        if keepers == 0 {
            free.objects.add(set.objects);
        }
        let of: Vec<usize> = set
            .holders
            .iter()
            .copied()
            .filter(|h| *h < images.len())
            .collect();
        for holder in &of {
            let cost = &mut images[*holder];
            if keepers > usize::from(is_kept(*holder)) {
                cost.shared.add(set.objects);
            } else {
                cost.alone.add(set.objects);
            }
            partners[*holder].extend(of.iter().filter(|other| *other != holder));
        }
        told.push(Shared {
            images: of.iter().map(|holder| images[*holder].image).collect(),
            kept: keepers > 0,
            objects: set.objects,
        });
    }
    for (cost, partners) in images.iter_mut().zip(partners) {
        cost.shared_with = partners.len() as u64;
    }
    told.sort_by(|a, b| {
        (b.objects.bytes, &a.images, a.kept).cmp(&(a.objects.bytes, &b.images, b.kept))
    });
    let mut smaller_sets = Sum::default();
    for set in told.drain(TOLD.min(told.len())..) {
        smaller_sets.add(set.objects);
    }
    let mut apparent = Sum::default();
    for cost in &images {
        apparent.add(cost.total);
    }
    let freed = |image: &Digest| {
        let cost = images.iter().find(|cost| cost.image == *image);
        let alone = |cost: &&Cost| cost.names.len() == 1 && cost.kept_by.len() == 1;
        cost.filter(alone)
            .map_or_else(Sum::default, |cost| cost.alone)
    };
    let names = names.into_iter().map(|(name, image)| {
        let frees = freed(&image);
        (name, Freed { image, frees })
    });
    Stats {
        schema: "elea.store-stats/2",
        store: store.to_owned(),
        names: names.collect(),
        images,
        objects,
        apparent,
        free,
        sets: told,
        smaller_sets,
        missing: 0,
        beside: Beside::default(),
        leases: 0,
        total: 0,
    }
}

/// A file's size in bytes; nothing, if it went meanwhile.
fn size(path: &Path) -> Result<u64, PathError> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(0),
        status => Ok(status.at("look at", path)?.len()),
    }
}

/// The files below a folder.
fn below(folder: &Path) -> Result<Sum, PathError> {
    let mut sum = Sum::default();
    for path in list(folder)? {
        if path.is_dir() && !path.is_symlink() {
            sum.add(below(&path)?);
        } else {
            sum.add(Sum {
                count: 1,
                bytes: size(&path)?,
            });
        }
    }
    Ok(sum)
}
