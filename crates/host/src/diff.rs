//! What differs between two generations: `elea diff`.

mod units;

use crate::error::Error;
use crate::live::Files;
use crate::machine::Machine;
use elea_formats::digest::Digest;
use elea_formats::generation::Generation;
use elea_formats::release::Package;
use elea_store::Change;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
pub use units::UnitChanges;

/// The value of `schema`.
pub const SCHEMA: &str = "elea.generation-diff/1";

/// What differs between the packages of two releases.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Packages {
    /// Only the new one has them.
    pub added: Vec<Package>,
    /// Only the old one has them.
    pub removed: Vec<Package>,
    /// Both have them, in another version.
    pub changed: Vec<PackageChange>,
}

/// A package in two versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackageChange {
    /// Its name.
    pub name: String,
    /// The old version.
    pub from: String,
    /// The new version.
    pub to: String,
}

/// One side.
#[derive(Debug, Clone, Serialize)]
pub struct Side {
    /// The generation.
    pub number: u64,
    /// Title of its release.
    pub title: String,
    /// Bytes of all its objects, each counted once.
    pub bytes: u64,
}

/// What differs.
#[derive(Debug, Clone, Serialize)]
pub struct Diff {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The old generation.
    pub from: Side,
    /// The new generation.
    pub to: Side,
    /// Packages.
    pub packages: Packages,
    /// Units of the two images, without the machine's edits of `/etc`.
    pub units: UnitChanges,
    /// Files of the two images.
    pub files: Vec<Change>,
    /// The kernel command lines, if they differ beyond the number.
    pub options: Option<(String, String)>,
    /// Whether kernel or initrd differ.
    pub kernel: bool,
    /// Bytes of objects that only the new one needs.
    pub new_bytes: u64,
    /// Bytes of objects that only the old one needs.
    pub old_bytes: u64,
}

/// Compares generation `a` with `b`. Without `b` it is what boots next; without both, what
/// runs with what boots next, or with the newest good one before it.
pub fn diff(machine: &Machine, a: Option<u64>, b: Option<u64>) -> Result<Diff, Error> {
    let view = machine.view()?;
    let (a, b) = sides(&view, machine.number(), a, b)?;
    let (old, new) = (known(&view, a)?, known(&view, b)?);
    let store = machine.store()?;
    let image = |generation: &Generation| {
        let number = generation.number;
        let image = store.image(&generation.image);
        image.map_err(|_| Error::Gone { number })
    };
    let (old_image, new_image) = (image(old)?, image(new)?);
    let (old_objects, new_objects) = (store.objects_of(&old.image)?, store.objects_of(&new.image)?);
    let only = |mine: &BTreeMap<Digest, u64>, other: &BTreeMap<Digest, u64>| {
        let mine = mine
            .iter()
            .filter(|(digest, _)| !other.contains_key(*digest));
        mine.map(|(_, size)| size).sum()
    };
    let files = if old.image == new.image {
        Vec::new()
    } else {
        store.diff(&old.image, &new.image)?
    };
    let units = if old.image == new.image {
        UnitChanges::default()
    } else {
        let load = |image: &Digest| machine.with_image(image, |root| Ok(Files::load(root)?));
        units::changes(load(&old.image)?, load(&new.image)?)
    };
    let packages = |image: &elea_formats::release::ImageManifest| {
        let release = image.release.as_ref();
        release.map(|r| r.packages.clone()).unwrap_or_default()
    };
    let side = |generation: &Generation, objects: &BTreeMap<_, u64>| Side {
        number: generation.number,
        title: generation.title.clone(),
        bytes: objects.values().sum(),
    };
    let same_options =
        old.repeated(0, String::new()).options == new.repeated(0, String::new()).options;
    Ok(Diff {
        schema: SCHEMA,
        from: side(old, &old_objects),
        to: side(new, &new_objects),
        packages: package_changes(&packages(&old_image), &packages(&new_image)),
        units,
        files,
        options: (!same_options).then(|| (old.options.clone(), new.options.clone())),
        kernel: old.kernel != new.kernel || old.initrds != new.initrds,
        new_bytes: only(&new_objects, &old_objects),
        old_bytes: only(&old_objects, &new_objects),
    })
}

fn known(view: &crate::view::View, number: u64) -> Result<&Generation, Error> {
    view.manifest(number).ok_or(Error::Unknown(number))
}

fn sides(
    view: &crate::view::View,
    booted: Option<u64>,
    a: Option<u64>,
    b: Option<u64>,
) -> Result<(u64, u64), Error> {
    let next = crate::generations::next(view);
    let newest = view.entries.good().next_back();
    let running = booted.or(newest).ok_or(Error::Unknown(0))?;
    match (a, b) {
        (Some(a), Some(b)) => Ok((a, b)),
        (Some(a), None) => Ok((a, running)),
        (None, _) => {
            if let Some(next) = next.filter(|n| *n != running) {
                return Ok((running, next));
            }
            let older = view.entries.good().rev().find(|n| *n < running);
            Ok((older.unwrap_or(running), running))
        }
    }
}

/// What differs between two lists of packages, by name and architecture.
pub fn package_changes(old: &[Package], new: &[Package]) -> Packages {
    let index = |list: &[Package]| -> BTreeMap<(String, String), Package> {
        let key = |p: &Package| (p.name.clone(), p.architecture.clone());
        list.iter().map(|p| (key(p), p.clone())).collect()
    };
    let (old, new) = (index(old), index(new));
    let keys: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let mut changes = Packages::default();
    for key in keys {
        match (old.get(key), new.get(key)) {
            (None, Some(package)) => changes.added.push(package.clone()),
            (Some(package), None) => changes.removed.push(package.clone()),
            (Some(a), Some(b)) if a.version != b.version => changes.changed.push(PackageChange {
                name: a.name.clone(),
                from: a.version.clone(),
                to: b.version.clone(),
            }),
            _ => {}
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str) -> Package {
        Package {
            name: name.into(),
            version: version.into(),
            architecture: "amd64".into(),
        }
    }

    #[test]
    fn packages_come_go_and_change() {
        let old = [package("a", "1"), package("b", "1"), package("c", "1")];
        let new = [package("b", "2"), package("c", "1"), package("d", "1")];
        let changes = package_changes(&old, &new);
        assert_eq!(changes.added, [package("d", "1")]);
        assert_eq!(changes.removed, [package("a", "1")]);
        assert_eq!(changes.changed.len(), 1);
        assert_eq!(changes.changed[0].to, "2");
        assert_eq!(package_changes(&new, &new), Packages::default());
    }
}
