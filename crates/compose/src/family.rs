//! A system and its specialisations: locked and built together, since the system's image names the others.
//!
//! All of them have the same `/var`, so an account has one number in all: what one of them gives, the others know.

use crate::build::{self, Built};
use crate::config::Config;
use crate::lock::{self, Error, Lock, Options};
use elea_formats::digest::{Algorithm, Digest};
use elea_formats::erofs;
use elea_store::Store;
use elea_sys::progress::Progress;
use std::collections::BTreeMap;

/// The locks of a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locks {
    /// That of the system itself.
    pub system: Lock,
    /// Those of its specialisations by name. One that asks the same of archives has the system's.
    pub specialisations: BTreeMap<String, Lock>,
}

/// What was built of a config.
#[derive(Debug, Clone)]
pub struct Family {
    /// The system itself.
    pub system: Built,
    /// Its specialisations by name.
    pub specialisations: BTreeMap<String, Built>,
    /// The locks with the numbers of accounts that are new in this build.
    pub locks: Locks,
}

/// The locks that lie beside a config, if they still fit, or new ones. Nothing is written; see [`save`].
pub fn resolve(
    config: &Config,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Locks, Error> {
    let system = lock::resolve(config, options, progress)?;
    let one = |(name, special): (&String, &Config)| {
        let lock = lock::resolve_beside(special, &system, options, progress)?;
        Ok((name.clone(), lock))
    };
    let specialisations = config.specialisation.iter().map(one);
    Ok(Locks {
        specialisations: specialisations.collect::<Result<_, Error>>()?,
        system,
    })
}

/// Writes those locks beside a config that are not there like this.
pub fn save(config: &Config, locks: &Locks) -> Result<(), Error> {
    let write = |config: &Config, lock: &Lock| match lock::load(config)? {
        Some(there) if there.own && there.lock == *lock => Ok(()),
        _ => lock::save(config, lock),
    };
    write(config, &locks.system)?;
    for (name, lock) in &locks.specialisations {
        if let Some(special) = config.specialisation.get(name)
            && lock.request != locks.system.request
        {
            write(special, lock)?;
        }
    }
    Ok(())
}

/// Builds the specialisations of a config, and then the system's image, which names them.
///
/// The caller's lease keeps all of them.
pub fn build(
    config: &Config,
    locks: &Locks,
    store: &Store,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Family, Error> {
    let mut locks = locks.clone();
    loop {
        let mut known = locks.system.clone();
        let mut options = options.clone();
        let mut specialisations = BTreeMap::new();
        for (name, special) in &config.specialisation {
            let lock = locks.specialisations.entry(name.clone());
            let lock = lock.or_insert_with(|| known.clone());
            learn(lock, &known);
            let built = build::build(special, lock, store, &options, progress)?;
            lock.clone_from(&built.lock);
            learn(&mut known, lock);
            specialisations.insert(name.clone(), built);
        }
        for (name, built) in &specialisations {
            let digest = named(store, &built.image)?;
            options.specialisations.insert(name.clone(), digest);
        }
        let system = build::build(config, &known, store, &options, progress)?;
        let same = system.lock == locks.system;
        locks.system.clone_from(&system.lock);
        // An image has its lock in it: those that were built first know the later ones' numbers only now.
        if same || specialisations.is_empty() {
            return Ok(Family {
                system,
                specialisations,
                locks,
            });
        }
    }
}

/// What an image names another one by: the digest that machines have, whatever the store's is.
fn named(store: &Store, image: &Digest) -> Result<Digest, Error> {
    if store.algorithm() == Algorithm::Sha256 {
        return Ok(*image);
    }
    let tree = store.tree(image)?;
    Ok(store.digest_by(Algorithm::Sha256, &tree, erofs::Version::V1)?)
}

/// Takes over the numbers of names that a lock does not know, unless another name has them.
fn learn(lock: &mut Lock, from: &Lock) {
    for (own, other) in [
        (&mut lock.users, &from.users),
        (&mut lock.groups, &from.groups),
    ] {
        let taken = |own: &BTreeMap<String, u32>, number: &u32| {
            let mut holders = own.iter().filter(|(_, n)| *n == number);
            holders.any(|(name, n)| other.get(name) != Some(n))
        };
        for (name, number) in other {
            if !own.contains_key(name) && !taken(own, number) {
                own.insert(name.clone(), *number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use elea_formats::digest::Sha256;
    use std::path::Path;

    fn lock(request: Sha256, users: &[(&str, u32)]) -> Lock {
        let users = users.iter().map(|(name, n)| ((*name).to_owned(), *n));
        Lock {
            schema: lock::SCHEMA.into(),
            request,
            architecture: "amd64".into(),
            epoch: 1_760_000_000,
            archives: Vec::new(),
            packages: Vec::new(),
            stages: Vec::new(),
            loader: None,
            users: users.collect(),
            groups: BTreeMap::new(),
        }
    }

    #[test]
    fn numbers_are_shared_and_none_is_changed_or_given_twice() {
        let request = Sha256::of(b"request");
        let system = lock(
            request,
            &[("root", 0), ("toor", 0), ("ada", 1000), ("bo", 1001)],
        );
        let mut own = lock(request, &[("ada", 1002), ("cem", 1001)]);
        learn(&mut own, &system);
        assert_eq!(
            own,
            lock(
                request,
                &[("ada", 1002), ("cem", 1001), ("root", 0), ("toor", 0)]
            )
        );
        let mut more = lock(request, &[("root", 0)]);
        learn(&mut more, &system);
        assert_eq!(more, system);
    }

    fn options(folder: &Path) -> Options {
        Options {
            cache: folder.join("cache/packages"),
            work: folder.join("work"),
            locked: true,
            update: lock::Update::Keep,
            fresh: false,
            clock_ahead: std::time::Duration::ZERO,
            tools: None,
            elea: folder.join("elea"),
            initrd: folder.join("initrd"),
            specialisations: BTreeMap::new(),
        }
    }

    #[test]
    fn a_specialisation_that_asks_the_same_of_archives_has_the_lock_of_the_system() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        let text = "[system]\nname = \"a\"\nversion = \"1\"\n\
                    [specialisation.quiet.system]\ntitle = \"Quiet\"\n\
                    [specialisation.debug.packages]\ninstall = [\"gdb\"]\n";
        std::fs::write(&path, text).unwrap();
        let config = config::load(&path).unwrap();
        let special = |name: &str| &config.specialisation[name];
        let resolved = || {
            resolve(
                &config,
                &options(folder.path()),
                &elea_sys::progress::Silent,
            )
        };
        let system = lock(lock::request(&config), &[("ada", 1000)]);
        lock::save(&config, &system).unwrap();
        // What asks for more has a lock of its own, which `--locked` does not make.
        let error = resolved().unwrap_err();
        assert!(matches!(error, Error::NoLock { .. }), "{error}");
        let own = lock(
            lock::request(special("debug")),
            &[("ada", 1000), ("gdb", 999)],
        );
        lock::save(special("debug"), &own).unwrap();
        let locks = resolved().unwrap();
        assert_eq!(locks.system, system);
        assert_eq!(locks.specialisations["quiet"], system);
        assert_eq!(locks.specialisations["debug"], own);
        // It is the same for who builds it alone, and is written where it was read.
        let alone = lock::load(special("quiet")).unwrap().unwrap();
        assert!(alone.own && alone.lock == system);
        save(&config, &locks).unwrap();
        let names = |ending: &str| folder.path().join(format!("a.{ending}")).exists();
        assert!(names("debug.lock") && !names("quiet.lock"));
    }
}
